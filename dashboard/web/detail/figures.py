"""Distances and durations of the details, as text."""

from __future__ import annotations

from typing import Final

_SECOND_MS: Final = 1000
_UNITS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"))


def describe_distance(score: float, threshold: float) -> str:
    """``0.0700 above``, ``0.0100 below`` or ``reached exactly``."""
    if score == threshold:
        return "reached exactly"
    distance = abs(score - threshold)
    shown = f"{distance:.4f}"
    if float(shown) == 0:
        shown = f"{distance:.1g}"
    return f"{shown} {'above' if score > threshold else 'below'}"


def describe_duration(start: int | None, end: int | None) -> str | None:
    """``38 ms``, ``1.2 s`` or ``3 min``. None if a time is missing or the end is before the start.

    Args:
        start: epoch milliseconds.
        end: epoch milliseconds.
    """
    if start is None or end is None or end < start:
        return None
    millis = end - start
    for size, unit in _UNITS:
        if millis >= 2 * size:
            return f"{millis // size:,} {unit}"
    return f"{millis / _SECOND_MS:.1f} s" if millis >= _SECOND_MS else f"{millis} ms"
