"""What other thresholds mean on the test rows of a version, from what its metadata keeps. Pure.

The metadata has a histogram of the test scores by class (``plots.score_histogram``: bins of equal
width in log-odds). Counts at a threshold inside a bin are interpolated, so figures are estimates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_MOST_BINS: Final = 1000
_NEAREST: Final = 1e-12  # to 0 and 1: the log-odds of a score, as the histogram was made


def estimate_figures(metadata: Mapping[str, Any], threshold: float) -> dict[str, Any] | None:
    """Share, precision and recall at a threshold; None if the metadata has no usable histogram."""
    found = _histogram(metadata)
    if found is None:
        return None
    edges, honest, fraud = found
    legitimate, caught = _above(edges, honest, threshold), _above(edges, fraud, threshold)
    taken, frauds = legitimate + caught, float(fraud.sum())
    return {
        "is_estimate": True,
        "rows": round(taken),
        "frauds": round(caught),
        "share": taken / float(honest.sum() + fraud.sum()),
        "precision": caught / taken if taken else None,
        "recall": caught / frauds if frauds else None,
    }


def _above(edges: NDArray[np.float64], counts: NDArray[np.float64], threshold: float) -> float:
    """Scores at or above a threshold."""
    if threshold > 1:
        return 0.0
    score = min(max(threshold, _NEAREST), 1 - _NEAREST)
    log_odds = math.log(score) - math.log1p(-score)
    below = np.concatenate([[0.0], np.cumsum(counts)])
    return float(below[-1] - np.interp(log_odds, edges, below))


def _histogram(
    metadata: Mapping[str, Any],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None:
    plots = metadata.get("plots")
    found = plots.get("score_histogram") if isinstance(plots, Mapping) else None
    if not isinstance(found, Mapping):
        return None
    try:
        edges, honest, fraud = (
            np.array(found[name], np.float64) for name in ("edges", "honest", "fraud")
        )
    except (LookupError, TypeError, ValueError, OverflowError):
        return None
    if not edges.ndim == honest.ndim == fraud.ndim == 1 or not 2 <= len(edges) <= _MOST_BINS:
        return None
    is_usable = (
        len(honest) == len(fraud) == len(edges) - 1
        and bool(np.isfinite(edges).all() and (np.diff(edges) > 0).all())
        and bool(np.isfinite(honest).all() and np.isfinite(fraud).all())
        and bool((honest >= 0).all() and (fraud >= 0).all())
        and 0 < honest.sum() + fraud.sum() < 1e15
    )
    return (edges, honest, fraud) if is_usable else None
