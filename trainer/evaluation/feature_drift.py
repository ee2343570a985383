"""Drift of features between earlier rows and the evaluated rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.drift.reference import stability_index
from stream_scorer.features.feature_set import FeatureSet
from trainer.evaluation.described import describe
from trainer.evaluation.reference import histogram

Floats = NDArray[np.float64]

TOP_FEATURES: Final = 20
_DIGITS: Final = 5


def drift_facts(
    before: Floats, after: Floats, features: FeatureSet, ranked: Sequence[str]
) -> dict[str, Any]:
    """The population stability index (PSI) of the first features in ``ranked``.

    ``before`` and ``after`` are feature matrices of earlier and of evaluated rows. Bins are the
    deciles of the earlier rows, and one bin for missing values.
    """
    position = {name: i for i, name in enumerate(features.names)}
    return {
        "rows_before": len(before),
        "rows_after": len(after),
        "features": [
            describe(features, name) | _drift(before[:, position[name]], after[:, position[name]])
            for name in ranked[:TOP_FEATURES]
        ],
    }


def _drift(before: Floats, after: Floats) -> dict[str, Any]:
    reference = histogram(before)
    edges = np.array(reference["edges"])
    present = after[~np.isnan(after)]
    expected = np.array([*reference["counts"], reference["missing"]])
    counts = np.bincount(
        np.searchsorted(edges, present, side="right"), minlength=len(edges) + 1
    ).tolist()
    found = np.array([*counts, len(after) - len(present)])
    is_used = (expected + found) > 0  # an empty bin says nothing
    expected, found = expected[is_used], found[is_used]
    shares = (expected + 0.5) / (expected.sum() + 0.5 * len(expected))
    by_chance = (len(expected) - 1) * (1 / max(len(before), 1) + 1 / max(len(after), 1))
    return {
        "psi": _short(stability_index(found, shares)),
        "psi_by_chance": _short(by_chance),
        "missing_before": _short(float(np.isnan(before).mean())),
        "missing_after": _short(float(np.isnan(after).mean())),
        "median_before": _median(before),
        "median_after": _median(after),
    }


def _median(values: Floats) -> float | None:
    present = values[~np.isnan(values)]
    return _short(float(np.median(present))) if len(present) else None


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
