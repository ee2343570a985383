"""A curve as plain data: two thresholds side by side, and columns for drawing."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dashboard.whatif.curve import Curve
from stream_scorer.quality.estimates import Estimate, Floats

_DIGITS: Final = 6
"""Significant digits of a number that is drawn or shown; scores are never rounded."""


def describe_at(curve: Curve, position: int) -> dict[str, Any]:
    """Every measure at one threshold. None is not known; amounts and counts are a day's."""
    per_day = curve.per_day
    return {
        "threshold": float(curve.thresholds[position]),
        "alerts": int(curve.alerts[position]),
        "alerts_per_day": _number(curve.alerts_per_day[position]),
        "labelled": int(curve.labelled[position]),
        "precision": _estimate_at(curve.precision, position),
        "recall": _estimate_at(curve.recall, position),
        "legitimate_per_day": _estimate_at(curve.legitimate_per_day, position),
        "caught_per_day": _number(curve.money.caught[position] * per_day),
        "missed_per_day": _number(curve.money.missed[position] * per_day),
        "missed_without_amount": int(curve.money.unknown[position]),
    }


def describe_columns(curve: Curve) -> dict[str, list[Any]]:
    """The same measures at every threshold: a list for each, in the order of ``threshold``."""
    legitimate, per_day = curve.legitimate_per_day, curve.per_day
    return {
        "threshold": curve.thresholds.tolist(),
        "alerts": curve.alerts.tolist(),
        "alerts_per_day": _column(curve.alerts_per_day),
        "labelled": curve.labelled.tolist(),
        **_estimate_columns("precision", curve.precision),
        **_estimate_columns("recall", curve.recall),
        **_estimate_columns("legitimate_per_day", legitimate),
        "caught_per_day": _column(curve.money.caught * per_day),
        "missed_per_day": _column(curve.money.missed * per_day),
        "missed_without_amount": curve.money.unknown.tolist(),
    }


def describe_bounds(curve: Curve) -> list[str]:
    """The measures that are lower bounds, because some fraud or its amount is not known."""
    money = curve.money
    bounds = {"caught_per_day": money.caught_is_bound, "missed_per_day": money.missed_is_bound}
    return [name for name, is_bound in bounds.items() if is_bound]


def _estimate_at(found: Estimate, position: int) -> dict[str, Any]:
    return {
        "value": _number(found.value[position]),
        "low": _number(found.low[position]),
        "high": _number(found.high[position]),
        "n": int(found.n[position]),
        "few": bool(found.is_few()[position]),
    }


def _estimate_columns(name: str, found: Estimate) -> dict[str, list[Any]]:
    return {
        name: _column(found.value),
        f"{name}_low": _column(found.low),
        f"{name}_high": _column(found.high),
        f"{name}_n": found.n.tolist(),
    }


def _column(values: Floats) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float | np.floating[Any]) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None
