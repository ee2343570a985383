"""Distances from the thresholds, as text."""

from __future__ import annotations


def describe_distance(score: float, threshold: float) -> str:
    """``0.0700 above``, ``0.0100 below`` or ``reached exactly``."""
    if score == threshold:
        return "reached exactly"
    distance = abs(score - threshold)
    shown = f"{distance:.4f}"
    if float(shown) == 0:
        shown = f"{distance:.1g}"
    return f"{shown} {'above' if score > threshold else 'below'}"
