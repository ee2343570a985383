"""Reference distributions to compare the live stream with, and golden rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from stream_scorer.features.feature_set import FeatureSet

DECILES: Final = tuple(n / 10 for n in range(1, 10))

TAILS: Final = (0.001, 0.01, 0.05, *DECILES, 0.95, 0.99, 0.999)
"""Deciles cannot tell a value above 99 % of all rows from one above 90 %."""

TOP_FEATURES: Final = 30
GOLDEN_ROWS: Final = 48
MOST_ROWS: Final = 50_000
"""A sample of this size determines these bins as well as millions of rows: 50 rows are in each of
the smallest ones."""


def histogram(values: NDArray[np.float64], quantiles: Sequence[float] = DECILES) -> dict[str, Any]:
    """A histogram of the values over bins between their own quantiles.

    ``counts[0]`` is below the first edge and ``counts[-1]`` at or above the last;
    ``missing`` counts NaN.
    """
    present = values[~np.isnan(values)]
    edges = np.empty(0)
    if len(present):
        edges = np.unique(np.quantile(present, quantiles, method="lower"))
    counts = np.bincount(np.searchsorted(edges, present, side="right"), minlength=len(edges) + 1)
    return {
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "missing": int(len(values) - len(present)),
    }


def reference_facts(
    batch: TransactionBatch,
    scores: NDArray[np.float64],
    features: FeatureSet,
    ranked: Sequence[str],
    part: str,
) -> dict[str, Any]:
    """Histograms of the scores, and of the most important features on some of the same rows."""
    step = max(1, -(-len(batch) // MOST_ROWS))
    matrix = features.transform(batch.take(slice(None, None, step)))
    position = {name: i for i, name in enumerate(features.names)}
    return {
        "split": part,
        "rows": len(matrix),
        "scores": histogram(scores),
        "features": {
            name: histogram(matrix[:, position[name]], TAILS) for name in ranked[:TOP_FEATURES]
        },
    }


def golden_rows(batch: TransactionBatch, scores: NDArray[np.float64]) -> TransactionBatch:
    """Rows across the whole range of scores, and as many with the highest scores."""
    order = np.argsort(scores, kind="stable")
    n, half = len(order), GOLDEN_ROWS // 2
    spread = order[np.linspace(0, n - 1, min(half, n)).astype(int)]
    highest = order[-half:]
    return batch.take(np.unique(np.concatenate([spread, highest])))
