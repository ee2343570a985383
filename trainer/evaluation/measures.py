"""Quality measures of a ranking: exact values, and confidence intervals where they are cheap."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.quality.estimates import CONFIDENCE, INTERVAL_MIN_ROWS, precision_sum
from stream_scorer.quality.estimates import wilson as wilson_ends

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]

TOP_SHARES: Final = (0.005, 0.01, 0.02, 0.05)
RESAMPLES: Final = 200
"""Enough for the ends of a 95 % interval to about one digit."""

_LOG_LOSS_FLOOR: Final = 1e-15


@dataclass(frozen=True, slots=True)
class Ranking:
    """Rows in descending order of score; ``ends`` are the last positions of equal scores."""

    scores: Floats
    labels: NDArray[np.int64]
    ends: NDArray[np.int64]

    @property
    def hits(self) -> NDArray[np.int64]:
        """The number of frauds at or above each distinct score."""
        found: NDArray[np.int64] = np.cumsum(self.labels)[self.ends]
        return found

    @property
    def taken(self) -> NDArray[np.int64]:
        """The number of rows at or above each distinct score."""
        return self.ends + 1


def rank(scores: Floats, labels: Labels) -> Ranking:
    """Sort rows by descending score."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    return Ranking(ordered, labels[order].astype(np.int64), ends)


def average_precision(ranking: Ranking, weights: Floats | None = None) -> float:
    """Sum of precision times the increase in recall, over distinct scores."""
    hits, taken = _cumulated(ranking, weights)
    return precision_sum(hits, taken)


def roc_auc(ranking: Ranking, weights: Floats | None = None) -> float:
    """Probability that a fraud scores above a legitimate row; ties count half."""
    hits, taken = _cumulated(ranking, weights)
    misses = taken - hits
    if hits[-1] <= 0 or misses[-1] <= 0:
        return float("nan")
    return float(np.trapezoid(np.r_[0, hits], np.r_[0, misses]) / (hits[-1] * misses[-1]))


def _cumulated(ranking: Ranking, weights: Floats | None) -> tuple[Floats, Floats]:
    if weights is None:
        return ranking.hits.astype(float), ranking.taken.astype(float)
    hits = np.cumsum(ranking.labels * weights)[ranking.ends]
    return hits, np.cumsum(weights)[ranking.ends]


def log_loss(scores: Floats, labels: Labels) -> float:
    """Mean negative log likelihood."""
    p = np.clip(scores, _LOG_LOSS_FLOOR, 1 - _LOG_LOSS_FLOOR)
    return float(-np.mean(np.where(labels == 1, np.log(p), np.log1p(-p))))


def wilson(hits: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Two-sided Wilson score interval of a proportion (Wilson 1927); (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    low, high = wilson_ends(hits, trials, confidence)
    return float(low), float(high)


def wilson_lower(hits: NDArray[np.int64], trials: NDArray[np.int64], confidence: float) -> Floats:
    """One-sided lower Wilson bounds of many proportions at once."""
    z = NormalDist().inv_cdf(confidence)
    share = hits / trials
    half = z * np.sqrt(share * (1 - share) / trials + z * z / (4.0 * trials * trials))
    lower: Floats = (share + z * z / (2 * trials) - half) / (1 + z * z / trials)
    return lower


def has_intervals(ranking: Ranking) -> bool:
    """Whether both classes have enough rows for an interval that does not mislead."""
    frauds = int(ranking.labels.sum())
    return min(frauds, len(ranking.labels) - frauds) >= INTERVAL_MIN_ROWS


def intervals(ranking: Ranking, seed: int) -> dict[str, tuple[float, float] | None]:
    """95 % intervals of both ranking measures, from a Poisson bootstrap over rows.

    None if a class has fewer than ``INTERVAL_MIN_ROWS`` rows.
    """
    if not has_intervals(ranking):
        return {"average_precision": None, "roc_auc": None}
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLES):
        weights = rng.poisson(1.0, len(ranking.labels)).astype(float)
        drawn.append((average_precision(ranking, weights), roc_auc(ranking, weights)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(np.array(drawn), [tail, 1 - tail], axis=0)
    return {
        "average_precision": (float(low[0]), float(high[0])),
        "roc_auc": (float(low[1]), float(high[1])),
    }


def top(ranking: Ranking, share: float) -> dict[str, Any]:
    """Precision and recall among the rows with the highest scores (at least one row)."""
    taken = max(1, int(len(ranking.labels) * share))
    return _at(ranking, taken)


def above(ranking: Ranking, threshold: float) -> dict[str, Any]:
    """Precision and recall among the rows at or above a threshold."""
    return _at(ranking, int(np.searchsorted(-ranking.scores, -threshold, side="right")))


def _at(ranking: Ranking, taken: int) -> dict[str, Any]:
    n, frauds = len(ranking.labels), int(ranking.labels.sum())
    hits = int(ranking.labels[:taken].sum())
    return {
        "rows": taken,
        "frauds": hits,
        "share": taken / n,
        "precision": hits / taken if taken else None,
        "precision_interval": wilson(hits, taken),
        "recall": hits / frauds if frauds else None,
        "recall_interval": wilson(hits, frauds),
    }
