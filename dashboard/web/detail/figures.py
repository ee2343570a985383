"""Distances from the thresholds, as text."""

from __future__ import annotations

from dashboard.web.texts import MINUS


def describe_distance(score: float, threshold: float) -> str:
    """``+0.0700``, or with a minus sign, or ``reached exactly``."""
    if score == threshold:
        return "reached exactly"
    distance = abs(score - threshold)
    shown = f"{distance:.4f}"
    if float(shown) == 0:
        shown = f"{distance:.1g}"
    return f"{'+' if score > threshold else MINUS}{shown}"
