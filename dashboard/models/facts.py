"""What a version's metadata says, as labelled rows. Two versions give the same rows side by side.

Anyone may have written the metadata, so each value is checked before it is shown: what is absent or
of another kind is shown as missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from stream_scorer.model.store.succession import gate_refusals, has_gate
from stream_scorer.runtime.json_limits import shown
from stream_scorer.runtime.text import printable

Metadata = Mapping[str, Any]

MISSING: Final = "—"
MAX_FEATURES: Final = 60
_MAX_TEXT: Final = 400
_MAX_NOTES: Final = 20
_DAY_SECONDS: Final = 86_400


def find(value: Any, *names: str) -> Any:
    """The value under a path of names. None if there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def number(value: Any) -> float | None:
    """A finite number. None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        return None
    return float(value) if math.isfinite(value) else None


def text(value: Any) -> str:
    """Text that is safe to show, of any value."""
    return printable(shown(value)[:_MAX_TEXT])


def as_time(words: str) -> str:
    """A time in ISO 8601 as ``2026-11-23 14:03:21 UTC``. Any other text as it is."""
    try:
        when = datetime.fromisoformat(words) if words[:1].isdigit() and "T" in words else None
    except ValueError:
        return words
    if when is None or when.tzinfo is None:
        return words
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def as_ratio(value: float) -> str:
    """``0.3933``."""
    return f"{value:.4f}"


def as_percent(value: float) -> str:
    """``29.6 %``."""
    return f"{value * 100:.1f} %"


def as_count(value: float) -> str:
    """``20,000``."""
    return f"{value:,.0f}"


def as_plain(value: float) -> str:
    """``2.19``, and ``31`` without a decimal point."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.3g}"


def as_days(value: float) -> str:
    """``182 days``."""
    return f"{value:,.0f} {'day' if round(value) == 1 else 'days'}"


Format = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Fact:
    """One row: where its value is, how it is shown, and whether more of it is better.

    A fact without ``form`` is text.
    """

    label: str
    path: tuple[str, ...]
    form: Format | None = None
    is_more_better: bool | None = None


_TEST: Final = ("metrics", "test")
SECTIONS: Final[tuple[tuple[str, tuple[Fact, ...]], ...]] = (
    (
        "Quality on the test split",
        (
            Fact("Average precision", (*_TEST, "average_precision"), as_ratio, True),
            Fact("ROC AUC", (*_TEST, "roc_auc"), as_ratio, True),
            Fact("Log loss", (*_TEST, "log_loss"), as_ratio, False),
            Fact("Recall in the top 2 %", (*_TEST, "top", "0.02", "recall"), as_percent, True),
            Fact(
                "Calibration error",
                ("calibration", "after", "expected_calibration_error"),
                as_ratio,
                False,
            ),
            Fact("Test rows", (*_TEST, "rows"), as_count),
            Fact("Test frauds", (*_TEST, "frauds"), as_count),
        ),
    ),
    (
        "At the review threshold",
        (
            Fact("Review threshold", ("thresholds", "review"), as_ratio),
            Fact("Flagged", (*_TEST, "review", "share"), as_percent),
            Fact("Precision", (*_TEST, "review", "precision"), as_percent, True),
            Fact("Recall", (*_TEST, "review", "recall"), as_percent, True),
            Fact("Reviews a day", ("thresholds", "reviews_per_day"), as_plain),
            Fact("On the busiest day", ("thresholds", "reviews_on_busiest_day"), as_count),
            Fact("How it was chosen", ("thresholds", "review_method")),
        ),
    ),
    (
        "At the block threshold",
        (
            Fact("Block threshold", ("thresholds", "block"), as_ratio),
            Fact("Blocked", (*_TEST, "block", "share"), as_percent),
            Fact("Precision", (*_TEST, "block", "precision"), as_percent, True),
            Fact("Recall", (*_TEST, "block", "recall"), as_percent, True),
            Fact("How it was chosen", ("thresholds", "block_method")),
        ),
    ),
    (
        "Training data",
        (
            Fact("Source", ("training", "source")),
            Fact("Rows", ("training", "rows"), as_count),
            Fact("Frauds", ("training", "frauds"), as_count),
            Fact("Time span", ("training", "window_seconds"), as_days),
            Fact("Duplicates dropped", ("training", "duplicates_dropped"), as_count),
        ),
    ),
    (
        "Model",
        (
            Fact("Learner", ("parameters", "model", "learner")),
            Fact("Trees", ("served", "trees"), as_count),
            Fact("Leaves", ("parameters", "model", "leaves"), as_count),
            Fact("Learning rate", ("parameters", "model", "learning_rate"), as_plain),
            Fact("Feature program", ("features", "program")),
            Fact("Features", ("feature_gain", "total"), as_count),
            Fact("Features with gain", ("feature_gain", "used"), as_count),
            Fact("Calibration", ("calibration", "method")),
            Fact(
                "Time to score a row, µs",
                ("gate", "latency", "candidate_us_per_row"),
                as_plain,
                False,
            ),
        ),
    ),
    (
        "Why it was trained",
        (
            Fact("Reason", ("requested", "reason")),
            Fact("Started by", ("requested", "trigger")),
            Fact("Requested by", ("requested", "by")),
            Fact("Training", ("requested", "id")),
        ),
    ),
    (
        "Build",
        (
            Fact("Created", ("created_at",)),
            Fact("Python", ("python",)),
            Fact("LightGBM", ("libraries", "lightgbm")),
        ),
    ),
)


def describe(fact: Fact, metadata: Metadata) -> dict[str, Any]:
    """The value of a fact in one version, as number and text, with its interval if there is one."""
    found = find(metadata, *fact.path)
    if fact.form is None:
        words = MISSING if found is None else as_time(text(found))
        return {"value": None, "text": words, "interval": None}
    value = _span(found) if fact.form is as_days else number(found)
    if value is None:
        return {"value": None, "text": MISSING, "interval": None}
    parent = find(metadata, *fact.path[:-1])
    interval = _interval(find(parent, f"{fact.path[-1]}_interval"), fact.form)
    return {"value": value, "text": fact.form(value), "interval": interval}


def compare(metadata: Metadata, other: Metadata | None) -> list[dict[str, Any]]:
    """The sections of a version. With ``other``, each row also has its value and the change."""
    sections = []
    for title, facts in SECTIONS:
        rows = []
        for fact in facts:
            row: dict[str, Any] = {
                "label": fact.label,
                "is_number": fact.form is not None,
                "this": describe(fact, metadata),
            }
            if other is not None:
                row["other"] = describe(fact, other)
                row["change"] = _change(fact, row["this"]["value"], row["other"]["value"])
            if (
                row["this"]["text"] != MISSING
                or row.get("other", {}).get("text", MISSING) != MISSING
            ):
                rows.append(row)
        if rows:
            sections.append({"title": title, "rows": rows})
    return sections


def describe_gate(metadata: Metadata) -> dict[str, Any]:
    """What the gate decided: ``passed`` is None if the version has no gate."""
    notes = find(metadata, "gate", "notes")
    lines = [text(note) for note in notes[:_MAX_NOTES]] if isinstance(notes, list) else []
    refusals = list(gate_refusals(metadata))
    champion = find(metadata, "gate", "champion", "version")
    return {
        "passed": not refusals if has_gate(metadata) else None,
        "refusals": refusals,
        "notes": lines,
        "champion": text(champion) if isinstance(champion, str) else None,
    }


def describe_features(metadata: Metadata) -> list[dict[str, Any]]:
    """The features with most gain: name, text in words, group and share of the gain."""
    found = find(metadata, "feature_gain", "features")
    rows = []
    for feature in found[:MAX_FEATURES] if isinstance(found, list) else []:
        name, gain = find(feature, "name"), number(find(feature, "gain"))
        if isinstance(name, str) and gain is not None:
            words = find(feature, "text")
            rows.append(
                {
                    "name": text(name),
                    "text": text(words) if isinstance(words, str) else text(name),
                    "group": text(find(feature, "group") or ""),
                    "gain": gain,
                }
            )
    return rows


def _span(value: Any) -> float | None:
    """The days of a window in seconds."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    first, last = number(value[0]), number(value[1])
    return None if first is None or last is None else (last - first) / _DAY_SECONDS


def _interval(value: Any, form: Format) -> str | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    low, high = number(value[0]), number(value[1])
    return None if low is None or high is None else f"{form(low)} to {form(high)}"


def _change(fact: Fact, this: float | None, other: float | None) -> dict[str, Any] | None:
    """The change from ``other`` to ``this``. None if either is missing, or they are equal."""
    if fact.form is None or this is None or other is None or this == other:
        return None
    sign = "+" if this > other else "\N{MINUS SIGN}"
    size = fact.form(abs(this - other))
    if size == fact.form(0.0):
        return None
    if fact.form is as_percent:
        size = size.replace(" %", " points")
    is_better = None if fact.is_more_better is None else (this > other) == fact.is_more_better
    return {"text": sign + size, "is_better": is_better}
