"""Proportions with their Wilson score intervals [Wilson 1927], for whole curves at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

Z: Final = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: intervals have 95 % confidence."""

FEW: Final = 50
"""With fewer rows a proportion is shown greyed: its interval is too wide to decide on."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A proportion at each threshold; NaN where it cannot be estimated.

    Attributes:
        value: the estimate.
        low: lower end of the interval.
        high: upper end of the interval.
        n: rows that the estimate rests on.
    """

    value: Floats
    low: Floats
    high: Floats
    n: Counts

    def only_where(self, is_known: NDArray[np.bool_]) -> Estimate:
        """The same estimates, with NaN and no rows elsewhere."""
        low, high = np.where(is_known, self.low, np.nan), np.where(is_known, self.high, np.nan)
        value = np.where(is_known, self.value, np.nan)
        return Estimate(value, low, high, np.where(is_known, self.n, 0))

    def is_few(self) -> NDArray[np.bool_]:
        """Where fewer than ``FEW`` rows are behind an estimate."""
        return (self.n < FEW) & ~np.isnan(self.low)


def wilson(hits: Floats | Counts, trials: Floats | Counts) -> tuple[Floats, Floats]:
    """Both ends of the interval of ``hits / trials``; NaN without trials."""
    n = np.asarray(trials, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.asarray(hits, np.float64) / n
        middle = share + Z * Z / (2 * n)
        half = Z * np.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
        scale = 1 + Z * Z / n
        low, high = (middle - half) / scale, (middle + half) / scale
    is_known = n > 0
    return (
        np.where(is_known, np.clip(np.minimum(low, share), 0.0, 1.0), np.nan),
        np.where(is_known, np.clip(np.maximum(high, share), 0.0, 1.0), np.nan),
    )


def estimate(hits: Counts, trials: Counts) -> Estimate:
    """The proportion of hits among rows that count one each."""
    low, high = wilson(hits, trials)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(trials > 0, hits / trials, np.nan)
    return Estimate(value, low, high, np.broadcast_to(trials, value.shape).astype(np.int64))


def estimate_weighted(hits: Floats, total: Floats, squares: Floats, rows: Counts) -> Estimate:
    """The proportion among weighted rows.

    The interval is that of as many equal rows as the weights are worth: the squared sum of weights
    over the sum of their squares [Kish 1965].

    Args:
        hits: sum of the weights of the hits.
        total: sum of all weights.
        squares: sum of all squared weights.
        rows: number of rows.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(total > 0, hits / total, np.nan)
        worth = np.where(squares > 0, total * total / squares, 0.0)
    value = np.clip(value, 0.0, 1.0)
    low, high = wilson(np.nan_to_num(value) * worth, worth)
    return Estimate(value, low, high, np.broadcast_to(rows, value.shape).astype(np.int64))
