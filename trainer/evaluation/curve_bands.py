"""Bands of confidence around the curves, from a bootstrap over rows."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.quality.estimates import CONFIDENCE
from trainer.evaluation.measures import Ranking

Floats = NDArray[np.float64]

RESAMPLES: Final = 100
RECALLS: Final = np.linspace(0.02, 1.0, 50)
FALSE_SHARES: Final = np.concatenate([np.linspace(0, 0.1, 21)[1:], np.linspace(0.1, 1, 37)[1:]])
_DIGITS: Final = 4


def curve_bands(ranking: Ranking, seed: int) -> dict[str, Any]:
    """95 % bands: precision at each recall, and the share of frauds at each share of false alarms.

    Each row of a band is a position on the horizontal axis, the lower and the upper end.
    """
    rng = np.random.default_rng(seed)
    precisions, shares = [], []
    for _ in range(RESAMPLES):
        weights = rng.poisson(1.0, len(ranking.labels)).astype(float)
        taken = np.cumsum(weights)[ranking.ends]
        hits = np.cumsum(weights * ranking.labels)[ranking.ends]
        misses = taken - hits
        if not (hits[-1] > 0 and misses[-1] > 0):
            continue
        at = np.searchsorted(hits, RECALLS * hits[-1] * (1 - 1e-12)).clip(0, len(hits) - 1)
        precisions.append(hits[at] / np.maximum(taken[at], 1))
        curve_x, curve_y = np.r_[0, misses / misses[-1]], np.r_[0, hits / hits[-1]]
        shares.append(np.interp(FALSE_SHARES, curve_x, curve_y))
    if not precisions:
        return {}
    return {
        "precision_recall_band": _band(RECALLS, precisions),
        "roc_band": _band(FALSE_SHARES, shares),
    }


def _band(x: Floats, drawn: list[Floats]) -> list[list[float]]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.array(drawn), [tail, 1 - tail], axis=0)
    rows = zip(x.tolist(), low.tolist(), high.tolist(), strict=True)
    return [[float(f"{value:.{_DIGITS}g}") for value in row] for row in rows]
