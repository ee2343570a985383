"""Text for the terminal: the result of a run, and the list of versions."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stream_scorer.model.versions.listing import PROMOTED, VersionLine
from stream_scorer.runtime.text import printable
from trainer.commands.console import DONE, FAILED
from trainer.fitting.decisions import BY_REFITS


def show_run(result: Mapping[str, Any], arguments: argparse.Namespace) -> int:
    """Print the result of ``train`` or ``import``, and why the gate refused it; the exit code."""
    print(json.dumps(result) if arguments.json else "\n".join(describe_run(result)))
    if result["gate"]["passed"] or arguments.force:
        return DONE
    for reason in result["gate"]["refusals"]:
        print(f"fraud-trainer: not promoted: {reason}", file=sys.stderr)
    return FAILED


def describe_run(result: Mapping[str, Any]) -> Iterator[str]:
    """The lines that describe a training run."""
    yield from describe_metrics(result["version"], result["metrics"], result["thresholds"])
    if "evaluation" in result:  # an imported model was trained elsewhere
        yield from _describe_folds(result["evaluation"])
    yield _describe_calibration(result["calibration"])
    if "served" in result:
        yield _describe_served(result["served"], result["rows"])
    if "history" in result:
        yield from _describe_history(result["history"])
    for note in result["gate"]["notes"]:
        yield f"gate: {note}"
    for refusal in result["gate"]["refusals"]:
        yield f"gate: refused: {refusal}"
    state = "promoted" if result["promoted"] else "published, not promoted"
    yield (
        f"{result['version']} {state} in {result['store']} "
        f"({result['rows']:,} rows, {result['trees']} trees, {result['seconds']:.1f} s)"
    )


def describe_metrics(
    version: str, test: Mapping[str, Any], thresholds: Mapping[str, Any]
) -> Iterator[str]:
    """The lines with a version's test metrics."""
    kind = thresholds.get("split", "test")  # an imported model is judged on given rows
    yield f"{version} on {test['rows']:,} {kind} rows with {test['frauds']:,} frauds:"
    for name, key in (("average precision", "average_precision"), ("ROC AUC", "roc_auc")):
        interval = test[f"{key}_interval"]
        if interval is None:
            between = "too few frauds for an interval"
        else:
            between = "95 %: {:.4f} to {:.4f}".format(*interval)
        yield f"  {name:<18} {test[key]:.4f}  ({between})"
    yield f"  {'log loss':<18} {test['log_loss']:.4f}"
    for share, at in test["top"].items():
        yield f"  {'top ' + _percent(float(share)):<18} " + _precision_and_recall(at)
    for name in ("review", "block"):
        at, score = test[name], thresholds[name]
        label = f"{name} at {score:.4f}"
        share = f"{_percent(at['share'])} of rows, "
        yield f"  {label:<18} {share}{_precision_and_recall(at)}{_scored_by(thresholds)}"
    if "block_method" in thresholds:
        yield from describe_choice(thresholds)


def describe_choice(chosen: Mapping[str, Any]) -> Iterator[str]:
    """How thresholds were chosen, and what they mean on the rows they were chosen on."""
    yield f"  review threshold: {chosen['review_method']}{_asked(chosen)}"
    yield f"  block threshold: {chosen['block_method']}"
    precision = "none" if chosen["precision"] is None else f"{chosen['precision']:.3f}"
    recall = "none" if chosen["recall"] is None else f"{chosen['recall']:.3f}"
    yield (
        f"  on {chosen['rows']:,} {chosen['split']} rows of {chosen['days']:.1f} days"
        f"{_scored_by(chosen)}: "
        f"{chosen['alerts_per_day']:.1f} alerts a day, {chosen['reviews_per_day']:.1f} of them "
        f"for review (most on one day: {chosen['reviews_on_busiest_day']}), precision {precision}, "
        f"recall {recall}"
    )
    money = chosen.get("money")
    if money is not None:
        yield (
            f"  money: saved {money['saved']:,.2f} of {money['fraud_loss']:,.2f} in frauds, missed "
            f"{money['missed']:,.2f}; {money['reviews']:,} reviews cost "
            f"{money['reviews_cost']:,.2f}, {_blocked(money)}; net "
            f"{money['net_saving']:,.2f} ({money['net_saving_per_day']:,.2f} a day)"
        )


def _scored_by(thresholds: Mapping[str, Any]) -> str:
    """What scored the rows, if it was not what the other figures are of."""
    return f" (by {BY_REFITS})" if thresholds.get("scored_by") == BY_REFITS else ""


def _asked(chosen: Mapping[str, Any]) -> str:
    """The limits beside what was reached."""
    limits = []
    if chosen["review_budget"] is not None:
        asked, flagged = _percent(chosen["review_budget"]), _percent(chosen["flagged_share"])
        limits.append(f"{asked} asked, {flagged} flagged")
    if chosen["capacity_per_day"] is not None:
        limits.append(
            f"{chosen['capacity_per_day']:g} reviews a day allowed, "
            f"{chosen['reviews_per_day']:.1f} needed"
        )
    return f" ({'; '.join(limits)})" if limits else ""


def _blocked(money: Mapping[str, Any]) -> str:
    wrong, cost = money["blocked_legitimate"], money["blocked_legitimate_cost"]
    if cost is None:
        return f"{wrong:,} blocked legitimate ones are not counted (no --block-cost)"
    return f"{wrong:,} blocked legitimate ones cost {cost:,.2f}"


def _describe_folds(evaluation: Mapping[str, Any]) -> Iterator[str]:
    for number, fold in enumerate(evaluation["folds"], 1):
        train, test = fold["train"], fold["test"]
        yield (
            f"  window {number}: average precision {fold['average_precision']:.4f} on "
            f"{test['rows']:,} rows with {test['frauds']:,} frauds, after training on "
            f"{train['rows']:,} earlier rows ({fold['trees']} trees)"
        )
    yield from (f"  {note}" for note in evaluation["notes"])


def _describe_calibration(calibration: Mapping[str, Any]) -> str:
    if calibration["method"] is None:
        return f"  scores are not probabilities: {calibration['reason']}"
    before, after = (
        calibration[name]["expected_calibration_error"] for name in ("before", "after")
    )
    return (
        f"  scores are probabilities: calibration error {before:.4f} before the map and "
        f"{after:.4f} after it, on later rows than those it was fitted on"
    )


def _describe_served(served: Mapping[str, Any], rows: int) -> str:
    if served["is_refit"]:
        which = f"all {rows:,}" if served["rows"] == rows else f"{served['rows']:,} of {rows:,}"
        return f"  served: refit on {which} rows with {served['trees']} trees"
    return (
        f"  served: the last window's model, with --no-refit. It learned from {served['rows']:,} "
        f"of {rows:,} rows and has not seen the newest ones, which costs average precision"
    )


def _describe_history(history: Mapping[str, Any]) -> Iterator[str]:
    """Keys and bytes of the card histories, the rows that built them up, and the seed."""
    sizes = history["bytes_a_key"]
    keys = (f"{n:,} {name} keys of {sizes[name]} bytes" for name, n in history["keys"].items())
    burn_in = history["burn_in"]
    yield f"  card history: {', '.join(keys)}"
    yield f"  the first {burn_in['rows']:,} rows only built it up; no model learned from them"
    seed = history["seed"]
    if seed is None:
        yield "  no seed is published: scorers begin without card histories"
    else:
        size = f"{seed['bytes'] / 1e6:,.1f} MB"
        yield f"  seed: {size}, up to TransactionDT {seed['as_of']} (personal data)"


def describe_versions(lines: Iterable[VersionLine]) -> Iterator[str]:
    """A table of versions."""
    pattern = "{:<8} {:<26} {:>10} {:>8} {:>12}  {}"
    yield pattern.format("version", "created", "rows", "AP", "recall@2%", "status")
    for line in lines:
        yield pattern.format(
            line.version,
            printable(line.created_at),
            "" if line.rows is None else f"{line.rows:,}",
            "" if line.average_precision is None else f"{line.average_precision:.4f}",
            "" if line.recall_top_2_percent is None else f"{line.recall_top_2_percent:.4f}",
            describe_status(line),
        ).rstrip()


def describe_status(line: VersionLine) -> str:
    """A version's status with the reasons; texts from the store are escaped for the terminal."""
    status = line.status
    if line.forced is not None:
        # The last forced promotion of a version that another one has replaced is in the past.
        was = "" if status.startswith(PROMOTED) else "was "
        status = status.removeprefix(PROMOTED).removeprefix(", ")
        status = "; ".join(filter(None, (f"{was}promoted by force {line.forced}", status)))
    if line.rejection is not None:
        status = f"{status}: {line.rejection}"
    if line.accepted is not None:
        status = "; ".join(filter(None, (status, f"accepted {line.accepted}")))
    return printable(status)


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"


def _precision_and_recall(at: Mapping[str, Any]) -> str:
    precision = "none" if at["precision"] is None else f"{at['precision']:.3f}"
    return f"precision {precision}, recall {at['recall']:.3f}"
