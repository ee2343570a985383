"""An ablation as JSON and as lines for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from stream_scorer.runtime.text import printable
from trainer.ablation.run import Ablation
from trainer.ablation.summary import RULE, Summary
from trainer.programs.chosen import ChosenProgram

_WIDTH: Final = 100


def build_report(
    ablation: Ablation, chosen: ChosenProgram, candidates: Sequence[ChosenProgram]
) -> dict[str, Any]:
    """The tables, how they were made, and the finished fits with which a run continues.

    ``rows`` and ``raw`` are what ``fraud-trainer report --ablation`` shows.
    """
    summary, variants = Summary(ablation), ablation.variants
    everything, stateless = variants.everything, variants.stateless
    plan = {
        **chosen.facts(),
        "candidates": [candidate.facts() for candidate in candidates],
        "data": ablation.source.facts(),
        "unit": summary.unit,
        "windows": list(ablation.source.names),
        **{name: value for name, value in asdict(ablation.plan).items() if name != "jobs"},
        "rule": RULE,
        "is_complete": not ablation.missing(),
    }
    return {
        "rows": summary.rows(),
        "raw": summary.reference(variants.raw),
        "whole": summary.reference(variants.whole),
        "with_candidates": None if everything is None else summary.reference(everything),
        "stateless": None if stateless is None else summary.reference(stateless),
        "with_space": {name: summary.reference(one) for name, one in variants.alone.items()},
        "plan": plan,
        "kept": ablation.results.plain(),
    }


def describe_report(report: Mapping[str, Any]) -> Iterator[str]:
    """The tables as text."""
    plan, data = report["plan"], report["plan"]["data"]
    if "rows" in data:
        last = plan["seed_from"] + plan["seeds"] - 1
        where = f"{data['rows']:,} synthetic rows, data seeds {plan['seed_from']} to {last}"
    else:
        windows = len(plan["windows"])
        where = f"{printable(data['source'])}, time windows: {windows}, seeds: {plan['seeds']}"
    yield f"program {printable(plan['program'])} on {where}"
    yield f"{plan['trees']} trees x {plan['leaves']} leaves, learning rate {plan['learning_rate']}"
    if not plan["is_complete"]:
        yield "not all fits are finished"
    yield ""
    yield from _references(report)
    yield ""
    yield from _groups(report["rows"])
    yield ""
    yield f"change: of average precision when the group is left out, over {plan['unit']}s"
    if any(row["is_candidate"] for row in report["rows"]):
        yield "+: a candidate, added to the program alone"
    yield from textwrap.wrap(RULE, _WIDTH)


def _references(report: Mapping[str, Any]) -> Iterator[str]:
    pattern = "{:<24} {:>8} {:>8}  {:<18} {:>10}  {}"
    head = ("", "features", "AP", "95 % interval", "to whole", "95 % interval")
    yield pattern.format(*head).rstrip()
    named = (
        ("whole program", report["whole"]),
        ("with all candidates", report["with_candidates"]),
        *((f"only {name} history", found) for name, found in report["with_space"].items()),
        ("without card history", report["stateless"]),
        ("raw columns", report["raw"]),
    )
    for label, found in named:
        if found is not None:
            is_whole = found is report["whole"]
            yield pattern.format(
                printable(label),
                found["features"],
                f"{found['average_precision']:.4f}",
                _interval(found["average_precision_interval"], ".4f"),
                "" if is_whole else f"{found['difference']:+.4f}",
                "" if is_whole else _interval(found["interval"], "+.4f"),
            ).rstrip()


def _groups(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    width = max([len("group left out"), *(len(row["group"]) + 2 for row in rows)])
    pattern = f"{{:<{width}}} {{:>8}} {{:>9}}  {{:<20}} {{:>9}} {{:>8}}  {{}}"
    yield pattern.format(
        "group left out", "features", "change", "95 % interval", "gained on", "µs a row", "verdict"
    )
    for row in rows:
        cost = row["microseconds"]
        yield pattern.format(
            row["group"] + (" +" if row["is_candidate"] else ""),
            row["features"],
            f"{row['difference']:+.4f}",
            _interval(row["interval"], "+.4f"),
            f"{row['gained_on']} of {row['seeds']}",
            "" if cost is None else f"{cost:.3f}",
            row["verdict"],
        )


def _interval(interval: Sequence[float] | None, style: str) -> str:
    if interval is None:
        return "none"
    low, high = interval
    return f"{low:{style}} to {high:{style}}"
