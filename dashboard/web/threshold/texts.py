"""The measures in words, as the page shows them, and ``static/threshold-text.js`` too."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from dashboard.web.texts import MISSING

NOT_ESTIMABLE: Final = "Not estimable"
_MINUS: Final = "\N{MINUS SIGN}"
_DASH: Final = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Measure:
    """One row of the comparison: its key in the API, its name, and how it is shown."""

    key: str
    name: str
    kind: str
    explanation: str


MEASURES: Final = (
    Measure("alerts_per_day", "Alerts a day", "rate", "transactions with score ≥ threshold"),
    Measure("precision", "Precision", "share", "share of alerts that are fraud"),
    Measure("recall", "Recall", "share", "share of fraud that is flagged"),
    Measure("caught_per_day", "Fraud caught a day", "amount", "amount of labelled fraud flagged"),
    Measure(
        "missed_per_day", "Fraud missed a day", "amount", "amount of labelled fraud not flagged"
    ),
    Measure(
        "legitimate_per_day", "Good customers flagged a day", "rate", "alerts that are not fraud"
    ),
    Measure("hours", "Analyst hours a day", "rate", "at the minutes that an alert takes"),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A value, its interval and the number of rows behind it, as text."""

    main: str
    interval: str = ""
    n: str = ""
    is_few: bool = False


def build_cell(
    measure: Measure, at: Mapping[str, Any], minutes: float, at_least: Collection[str]
) -> Cell:
    """The value of a measure at one threshold. Those in ``at_least`` are lower bounds."""
    if measure.key == "hours":
        return Cell(format_rate(hours(at, minutes)))
    value = at[measure.key]
    if value is None:
        return Cell(NOT_ESTIMABLE)
    if not isinstance(value, Mapping):
        return Cell(f"≥ {format_rate(value)}" if measure.key in at_least else format_rate(value))
    show = format_share if measure.kind == "share" else format_rate
    if value["low"] is None:
        return Cell(NOT_ESTIMABLE)
    ends = format_range(show(value["low"]), show(value["high"]))
    n = f"n = {value['n']:,}"
    if value["value"] is None:
        return Cell(ends, "", n, value["few"])
    return Cell(show(value["value"]), ends, n, value["few"])


def format_change(
    measure: Measure, live: Mapping[str, Any], proposed: Mapping[str, Any], minutes: float
) -> str:
    """``+28 %``, or ``+2.1 points`` of a share."""
    before, after = (_value(measure, at, minutes) for at in (live, proposed))
    if before is None or after is None:
        return MISSING
    if measure.kind == "share":
        return f"{_sign(round_half_up((after - before) * 100, 1))} points"
    if before == after:
        return "0 %"
    if before == 0:
        return MISSING
    change = (after - before) / before * 100
    return f"{_sign(round_half_up(change, 0 if abs(change) >= 10 else 1))} %"


def hours(at: Mapping[str, Any], minutes: float) -> float:
    """What the alerts of a day take."""
    return float(at["alerts_per_day"]) * minutes / 60


def format_rate(value: float | None) -> str:
    """``1,240``, ``35.2`` or ``0.41``: two or three digits that count."""
    if value is None:
        return MISSING
    size = abs(value)
    return round_half_up(value, 0 if size >= 100 or size == 0 else 1 if size >= 10 else 2)


def format_share(value: float | None) -> str:
    """``41.2 %``."""
    return MISSING if value is None else f"{round_half_up(value * 100, 1)} %"


def format_range(low: str, high: str) -> str:
    """Both ends with a dash between them, and the unit once."""
    unit = " %" if low.endswith(" %") else ""
    return f"{low.removesuffix(' %')}{_DASH}{high.removesuffix(' %')}{unit}"


def format_threshold(value: float, live: float) -> str:
    """With as many digits as the threshold in use has, and at least three."""
    digits = max(3, len(f"{live:.6f}".rstrip("0").partition(".")[2]))
    return f"{value:.{digits}f}"


def round_half_up(value: float, digits: int) -> str:
    """As browsers round: half away from zero, with separators."""
    if not math.isfinite(value):
        return MISSING
    # Browsers round the shortest decimal that stands for the number, not the number itself.
    exact = Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    return f"{exact:,.{digits}f}".replace("-", _MINUS)


def _value(measure: Measure, at: Mapping[str, Any], minutes: float) -> float | None:
    value = hours(at, minutes) if measure.key == "hours" else at[measure.key]
    return value["value"] if isinstance(value, Mapping) else value


def _sign(text: str) -> str:
    if not set("123456789") & set(text):
        return text.removeprefix(_MINUS)
    return text if text.startswith(_MINUS) else f"+{text}"
