"""One figure with its interval, or why there is none. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stream_scorer.quality.estimates import estimate_weighted, wilson
from stream_scorer.quality.rows import Flags, Floats

NOT_ESTIMABLE = "not estimable from these labels"


@dataclass(frozen=True, slots=True)
class Figure:
    """An estimate; None where it cannot be estimated, and then ``reason`` says why.

    Attributes:
        value: the estimate.
        low: low end of the 95 % interval; None if there is no interval.
        high: high end.
        n: rows that it rests on.
        reason: why there is no value, or what to know about it.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """The figure as JSON."""
        found: dict[str, Any] = {
            "value": self.value,
            "interval": None if self.low is None else [self.low, self.high],
            "n": self.n,
        }
        return found | ({"reason": self.reason} if self.reason else {})


def unknown(why: str) -> Figure:
    """A figure that cannot be estimated."""
    return Figure(None, reason=f"{NOT_ESTIMABLE}: {why}")


def share(hits: int, n: int, why_not: str) -> Figure:
    """A proportion of rows that count one each; ``why_not`` is said if there are none."""
    if n <= 0:
        return unknown(why_not)
    low, high = wilson(hits, n)
    return Figure(hits / n, float(low), float(high), n)


def weighted_share(is_hit: Flags, weights: Floats, why_not: str) -> Figure:
    """A proportion of rows that stand for many."""
    if not len(weights):
        return unknown(why_not)
    found = estimate_weighted(
        np.array([weights[is_hit].sum()]),
        np.array([weights.sum()]),
        np.array([np.square(weights).sum()]),
        np.array([len(weights)]),
    )
    return Figure(float(found.value[0]), float(found.low[0]), float(found.high[0]), len(weights))
