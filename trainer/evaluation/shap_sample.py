"""The contributions of the features to the scores of a sample of rows."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.model.bundle import Bundle
from stream_scorer.model.forest.forest import UnsupportedModel, parse_forest
from trainer.evaluation.described import describe

Floats = NDArray[np.float64]

MOST_ROWS: Final = 500
LEAST_EXACT_ROWS: Final = 100
"""If fewer rows fit into the budget, contributions along the decision path are used."""

EXACT_SECONDS: Final = 20.0
_EXACT_SECONDS_PER_STEP: Final = 5e-9
"""Of TreeSHAP on one row and one leaf, times the square of the leaf's depth: 3.4 to 4.8 ns measured
with 100 to 300 trees of 31 to 200 leaves."""

TOP_FEATURES: Final = 20
SHOWN_ROWS: Final = 150
"""Points in the plot of one feature."""

EXACT: Final = "exact TreeSHAP"
PATH: Final = "attribution along the decision path"
_DIGITS: Final = 4


def shap_facts(matrix: Floats, bundle: Bundle, seed: int) -> dict[str, Any]:
    """Mean size and direction of each feature's contributions, in log-odds.

    The rows are drawn at random from ``matrix``. How many, and by which method, depends on the
    model's size alone and not on the clock, so the result is the same on every machine.
    """
    rows, method = choose_method(bundle)
    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(len(matrix))[:rows])
    sample = np.ascontiguousarray(matrix[some])
    explainer = bundle.reference if method == EXACT else bundle.predictor
    contributions = explainer.contributions(sample)
    strength = np.abs(contributions).mean(axis=0)
    order = np.argsort(-strength, kind="stable")[:TOP_FEATURES]
    return {
        "method": method,
        "rows": len(sample),
        "features": [
            describe(bundle.features, bundle.features.names[i])
            | _summary(sample[:, i], contributions[:, i])
            for i in order.tolist()
            if strength[i] > 0
        ],
    }


def choose_method(bundle: Bundle) -> tuple[int, str]:
    """The number of rows and the method."""
    try:
        forest = parse_forest(bundle.reference.booster.model_to_string())
    except UnsupportedModel:  # its cost is unknown, and its predictor is exact as well
        return LEAST_EXACT_ROWS, EXACT
    steps = float(np.square(forest.leaf_depth.astype(float)).sum())
    affordable = int(EXACT_SECONDS / (max(steps, 1.0) * _EXACT_SECONDS_PER_STEP))
    if affordable < LEAST_EXACT_ROWS:
        return MOST_ROWS, PATH
    return min(MOST_ROWS, affordable), EXACT


def _summary(values: Floats, contributions: Floats) -> dict[str, Any]:
    """One feature: strength, direction, and points for the plot.

    ``direction`` is the rank correlation of value and contribution over rows with a value: above
    zero, high values raise the score. A point is a contribution and the value's rank, 0 (lowest)
    to 100; -1 is a missing value.
    """
    present = ~np.isnan(values)
    ranks = np.full(len(values), -1.0)
    direction = 0.0
    if present.any():
        kinds, place = np.unique(values[present], return_inverse=True)
        ranks[present] = np.round(place / max(len(kinds) - 1, 1) * 100)
        direction = _correlation(_ranks(values[present]), _ranks(contributions[present]))
    shown = np.linspace(0, len(values) - 1, min(SHOWN_ROWS, len(values))).astype(int)
    return {
        "mean_absolute": _short(float(np.abs(contributions).mean())),
        "direction": _short(direction),
        "points": [
            [_short(c), int(r)]
            for c, r in zip(contributions[shown].tolist(), ranks[shown].tolist(), strict=True)
        ],
    }


def _ranks(values: Floats) -> Floats:
    """Ranks; equal values share their mean rank."""
    _, place, seen = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(seen)
    mean: Floats = (last - (seen - 1) / 2)[place]
    return mean


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
