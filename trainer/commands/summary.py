"""Text for the terminal: the result of a run, and the list of versions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trainer.publishing.versions import VersionLine


def describe_run(result: Mapping[str, Any]) -> Iterator[str]:
    """The lines that describe a training run."""
    yield from describe_metrics(result["version"], result["metrics"], result["thresholds"])
    yield from _describe_folds(result["evaluation"])
    yield _describe_calibration(result["calibration"])
    yield _describe_served(result["served"], result["rows"])
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
    yield f"{version} on {test['rows']:,} test rows with {test['frauds']:,} frauds:"
    for name, key in (("average precision", "average_precision"), ("ROC AUC", "roc_auc")):
        low, high = test[f"{key}_interval"]
        yield f"  {name:<18} {test[key]:.4f}  (95 %: {low:.4f} to {high:.4f})"
    yield f"  {'log loss':<18} {test['log_loss']:.4f}"
    for share, at in test["top"].items():
        yield f"  {'top ' + _percent(float(share)):<18} " + _precision_and_recall(at)
    for name in ("review", "block"):
        at, score = test[name], thresholds[name]
        label = f"{name} at {score:.4f}"
        yield f"  {label:<18} {_percent(at['share'])} of rows, " + _precision_and_recall(at)
    if "block_method" in thresholds:
        yield f"  block threshold: {thresholds['block_method']}"


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
        return f"  served: refit on all {rows:,} rows with {served['trees']} trees"
    return (
        f"  served: the last window's model, with --no-refit. It learned from {served['rows']:,} "
        f"of {rows:,} rows and has not seen the newest ones, which costs average precision"
    )


def describe_versions(lines: Iterable[VersionLine]) -> Iterator[str]:
    """A table of versions."""
    pattern = "{:<8} {:<26} {:>10} {:>8} {:>12}  {}"
    yield pattern.format("version", "created", "rows", "AP", "recall@2%", "status")
    for line in lines:
        yield pattern.format(
            line.version,
            line.created_at,
            "" if line.rows is None else f"{line.rows:,}",
            "" if line.average_precision is None else f"{line.average_precision:.4f}",
            "" if line.recall_top_2_percent is None else f"{line.recall_top_2_percent:.4f}",
            line.status if line.rejection is None else f"{line.status}: {line.rejection}",
        ).rstrip()


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"


def _precision_and_recall(at: Mapping[str, Any]) -> str:
    precision = "none" if at["precision"] is None else f"{at['precision']:.3f}"
    return f"precision {precision}, recall {at['recall']:.3f}"
