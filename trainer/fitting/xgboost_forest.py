"""An XGBoost model as a LightGBM model's text, so that one forest scores both.

XGBoost rounds a value to single precision and sends it left if it is below a threshold of single
precision. LightGBM compares doubles with ``<=``. For each threshold there is a largest double that
still goes left, and it becomes LightGBM's threshold: so both send every double the same way. The
one exception: LightGBM, and so the forest, reads a number of at most 1e-35 in magnitude as 0.

XGBoost adds outputs in single precision, the forest in double. The outputs are the same numbers,
so the sums differ by XGBoost's rounding only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.model.forest.layout import MISSING_NAN, UnsupportedModel
from stream_scorer.model.forest.model_text import LOG_ODDS, ModelText, TreeText, checked_text
from trainer.fitting.xgboost_model import XGBoostModel, XGBoostTree

ZERO: Final = float(np.float32(1e-35))
"""LightGBM's kZeroThreshold: a number of at most this magnitude is 0."""

_DEFAULT_LEFT: Final = 2  # bits of LightGBM's decision_type
_DECISION: Final = MISSING_NAN << 2
_BEYOND_SINGLE: Final = 2.0**128  # the double that rounding treats as single precision's infinity
_LARGEST: Final = float(np.finfo(np.float64).max)
_ROOT_COUNT: Final = 2.0**30  # covers are scaled to counts, which must fit 31 bits

Floats = NDArray[np.float64]


def forest_text(model: XGBoostModel, names: Sequence[str]) -> str:
    """The model as LightGBM's text, with these feature names.

    The base is a tree with one leaf, so that the sum over trees stays a plain sum.

    Raises:
        UnsupportedModel: a split cannot be written exactly; the message names it.
    """
    if len(names) != model.n_features:
        raise ValueError(f"{len(names)} names for {model.n_features} features")
    trees = tuple(_tree(tree, names) for tree in model.trees)
    base = (_single_leaf(model.base),) if model.base else ()
    return checked_text(ModelText(model.n_features, 1, LOG_ODDS[0], False, base + trees), names)


def largest_left(thresholds: NDArray[np.float32]) -> Floats:
    """For each threshold, the largest double ``d`` with ``float32(d) < threshold``.

    Rounding is to the nearest, ties to even (IEEE 754), and to infinity from half a step beyond the
    largest number of single precision. No double is below ``-inf``, which gives NaN.
    """
    with np.errstate(over="ignore"):  # below the lowest number is -inf
        below = np.nextafter(thresholds, np.float32(-np.inf))
    low, high = (
        np.clip(side.astype(np.float64), -_BEYOND_SINGLE, _BEYOND_SINGLE)
        for side in (below, thresholds)
    )
    middle = (low + high) / 2  # exact: one bit more than single precision has
    is_even = (below.view(np.uint32) & 1) == 0
    found = np.where(is_even, middle, np.nextafter(middle, -np.inf))
    return np.where(np.isneginf(thresholds), np.nan, found)


def total_gains(model: XGBoostModel, names: Sequence[str]) -> dict[str, float]:
    """The loss that each feature's splits saved in training, the largest first."""
    gains = np.zeros(model.n_features)
    for tree in model.trees:
        inner = tree.left >= 0
        np.add.at(gains, tree.feature[inner], tree.gain[inner])
    ranked = sorted(zip(names, gains.tolist(), strict=True), key=lambda item: -item[1])
    return dict(ranked)


def _tree(tree: XGBoostTree, names: Sequence[str]) -> TreeText:
    inner = tree.left >= 0
    # LightGBM's numbering: inner nodes from 0, leaves as complements.
    number = np.where(inner, np.cumsum(inner) - 1, -np.cumsum(~inner, dtype=np.int64))
    left, right = number[tree.left[inner]], number[tree.right[inner]]
    default_left = tree.default_left[inner]
    feature, given = tree.feature[inner], tree.value[inner]
    threshold = largest_left(given)
    _check_zeros(threshold, given, feature, names)
    # Nothing is below -inf: the sides change places, and every number goes to the left one.
    nothing = np.isnan(threshold)
    left, right = np.where(nothing, right, left), np.where(nothing, left, right)
    default_left = default_left ^ nothing
    threshold = np.where(nothing, _LARGEST, threshold)
    count, expected = _expected(tree, inner)
    none = np.empty(0, np.int64)
    return TreeText(
        feature,
        threshold,
        _DECISION | default_left * _DEFAULT_LEFT,
        left,
        right,
        tree.value[~inner].astype(np.float64),
        expected[inner],
        count[~inner],
        count[inner],
        none,
        none,
        is_linear=False,
    )


def _check_zeros(
    threshold: Floats, given: NDArray[np.float32], feature: NDArray[np.int64], names: Sequence[str]
) -> None:
    """Refuse splits between numbers that the forest reads as 0. A split at 0 itself is fine."""
    bad = np.flatnonzero((threshold >= -ZERO) & (threshold < ZERO) & (given != 0))
    if len(bad):
        name, value = names[int(feature[bad[0]])], given[bad[0]]
        raise UnsupportedModel(
            f"the split {name} < {value:.3g}: numbers from -1e-35 to 1e-35 are read as 0"
        )


def _expected(tree: XGBoostTree, inner: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Floats]:
    """Each node's count and expected output, from the covers and outputs of the leaves below.

    XGBoost keeps no counts of rows. The covers, scaled to whole numbers, take their place.
    """
    cover = np.where(inner, 0.0, tree.cover)
    total = cover.sum()
    scale = _ROOT_COUNT / total if total > 0 else 0.0
    count = np.where(inner, 0, np.maximum(np.rint(cover * scale), 1)).astype(np.int64)
    value = np.where(inner, 0.0, tree.value).astype(np.float64)
    for node in np.flatnonzero(inner)[::-1].tolist():  # children come after their parent
        a, b = tree.left[node], tree.right[node]
        count[node] = count[a] + count[b]
        value[node] = (count[a] * value[a] + count[b] * value[b]) / count[node]
    return count, value


def _single_leaf(output: float) -> TreeText:
    none, nothing = np.empty(0, np.int64), np.empty(0)
    one = np.ones(1, np.int64)
    return TreeText(
        none, nothing, none, none, none, np.array([output]), nothing, one, none, none, none,
        is_linear=False,
    )  # fmt: skip
