"""A LightGBM model as arrays, read from its text form.

The text form ("LightGBM model format v4") holds every number with the digits that give it back
exactly. What the compiled loops can walk (binary objective, numeric splits with any handling
of missing values) becomes a :class:`Forest`; anything else is refused by name, and
:mod:`stream_scorer.model.predictor` falls back to LightGBM itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_CATEGORICAL: Final = 1  # bits of decision_type
_DEFAULT_LEFT: Final = 2
_MISSING_SHIFT: Final = 2
MISSING_NONE: Final = 0
MISSING_ZERO: Final = 1
MISSING_NAN: Final = 2

_MAX_CODES: Final = 65534  # ranks are 16 bits wide, and the last one means "missing, right"
_MAX_NODES: Final = 32767  # of one tree: positions within it are 16 bits wide


class UnsupportedModel(ValueError):
    """The compiled loops do not cover this model; the message says what it uses."""


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees over rank codes.

    A row becomes one 16-bit code for each *slot*: a feature with one way of treating missing
    values. ``code = number of the feature's thresholds below the value``, so ``value <=
    threshold[j]`` exactly when ``code <= j``; a missing value gets 0 (goes left everywhere) or
    65535 (right everywhere).

    Attributes:
        n_features: columns of the feature matrix.
        n_trees: trees.
        thresholds: all features' sorted distinct thresholds, one after the other.
        threshold_start: int32 ``[n_features + 1]``.
        slot_feature, slot_missing, slot_left: for each slot.
        nodes: int64, packed ``slot | rank << 16 | left << 32``; the right child follows the
            left one, and a leaf points at itself with a rank no code exceeds.
        tree_start: int32 ``[n_trees]``, first node of each tree.
        values: float64 by node: a leaf's output, an inner node's expected output.
        node_feature: int32 by node; -1 for leaves.
    """

    n_features: int
    n_trees: int
    thresholds: NDArray[np.float64]
    threshold_start: NDArray[np.int32]
    slot_feature: NDArray[np.int32]
    slot_missing: NDArray[np.int8]
    slot_left: NDArray[np.bool_]
    nodes: NDArray[np.int64]
    tree_start: NDArray[np.int32]
    values: NDArray[np.float64]
    node_feature: NDArray[np.int32]

    @property
    def base(self) -> float:
        """The raw score before any split: the sum of the trees' root values, in tree order."""
        return float(np.cumsum(self.values[self.tree_start])[-1])


@dataclass(frozen=True, slots=True)
class _Tree:
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    decision: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    leaf: NDArray[np.float64]
    inner: NDArray[np.float64]


def parse_forest(text: str) -> Forest:
    """Arrays from a model's text.

    Raises:
        UnsupportedModel: see the module's text.
        ValueError: not a LightGBM model.
    """
    header, *blocks = text.partition("\nend of trees")[0].split("\nTree=")
    if not blocks:
        raise ValueError("not a LightGBM model: it has no trees")
    facts = _pairs(header)
    _check(facts)
    if "average_output" in header.splitlines():  # a word alone: no pair
        raise UnsupportedModel("averaged output (random forest)")
    n_features = int(facts["max_feature_idx"]) + 1
    trees = [_tree(_pairs(block)) for block in blocks]
    for tree in trees:
        _check_tree(tree, n_features)
    return _assemble(trees, n_features)


def feature_names_in(text: str) -> tuple[str, ...]:
    """The feature names a model's text carries."""
    return tuple(_pairs(text.partition("\nTree=")[0]).get("feature_names", "").split())


def gives_log_odds(text: str) -> bool:
    """Whether the sigmoid of a model's raw score is its probability."""
    facts = _pairs(text.partition("\nTree=")[0])
    one_class = facts.get("num_class", "1") == facts.get("num_tree_per_iteration", "1") == "1"
    return one_class and facts.get("objective") in ("binary sigmoid:1", "cross_entropy")


def _pairs(block: str) -> dict[str, str]:
    lines = (line.partition("=") for line in block.splitlines())
    return {key: value for key, equals, value in lines if equals}


def _check(facts: Mapping[str, str]) -> None:
    if facts.get("num_class", "1") != "1" or facts.get("num_tree_per_iteration", "1") != "1":
        raise UnsupportedModel("several classes")
    objective = facts.get("objective", "")
    if objective.split() != ["binary", "sigmoid:1"]:
        raise UnsupportedModel(f"objective {objective!r}")


def _tree(facts: Mapping[str, str]) -> _Tree:
    if facts.get("num_cat", "0") != "0":
        raise UnsupportedModel("categorical splits")
    if facts.get("is_linear", "0") != "0":
        raise UnsupportedModel("linear trees")

    def numbers(name: str) -> NDArray[np.float64]:
        return np.array(facts.get(name, "").split(), np.float64)

    def integers(name: str) -> NDArray[np.int64]:
        return np.array(facts.get(name, "").split(), np.int64)

    return _Tree(
        integers("split_feature"),
        numbers("threshold"),
        integers("decision_type"),
        integers("left_child"),
        integers("right_child"),
        numbers("leaf_value"),
        numbers("internal_value"),
    )


def _check_tree(tree: _Tree, n_features: int) -> None:
    """That a tree is one: the compiled loops follow it without looking.

    Raises:
        ValueError: it is not.
    """
    splits = len(tree.feature)
    columns = (tree.threshold, tree.decision, tree.left, tree.right, tree.inner)
    if any(len(column) != splits for column in columns) or len(tree.leaf) != splits + 1:
        raise ValueError("a tree's lists differ in length")
    if splits and not 0 <= tree.feature.min() <= tree.feature.max() < n_features:
        raise ValueError("a tree splits on a feature that the model does not have")
    # Every node but the root is the child of exactly one other.
    children = np.sort(np.concatenate([tree.left, tree.right]))
    every = np.concatenate([np.arange(-splits - 1, 0), np.arange(1, splits)])
    if splits and not np.array_equal(children, every):
        raise ValueError("a tree's nodes do not form a tree")


def _assemble(trees: Sequence[_Tree], n_features: int) -> Forest:
    distinct = _distinct_thresholds(trees, n_features)
    start = np.cumsum([0, *(len(d) for d in distinct)]).astype(np.int32)
    if max((len(d) for d in distinct), default=0) > _MAX_CODES:
        raise UnsupportedModel("a feature with more than 65,534 thresholds")
    slots: dict[tuple[int, int, bool], int] = {}
    nodes: list[NDArray[np.int64]] = []
    values: list[NDArray[np.float64]] = []
    features: list[NDArray[np.int32]] = []
    tree_start: list[int] = []
    total = 0
    for tree in trees:
        packed, value, feature = _lay_out(tree, distinct, slots)
        tree_start.append(total)
        total += len(packed)
        nodes.append(packed)
        values.append(value)
        features.append(feature)
    return Forest(
        n_features,
        len(trees),
        np.concatenate([np.empty(0), *distinct]),
        start,
        np.array([s[0] for s in slots], np.int32),
        np.array([s[1] for s in slots], np.int8),
        np.array([s[2] for s in slots], np.bool_),
        np.concatenate(nodes),
        np.array(tree_start, np.int32),
        np.concatenate(values),
        np.concatenate(features),
    )


def _distinct_thresholds(trees: Sequence[_Tree], n_features: int) -> list[NDArray[np.float64]]:
    feature = np.concatenate([t.feature for t in trees])
    threshold = np.concatenate([t.threshold for t in trees])
    order = np.argsort(feature, kind="stable")
    bounds = np.searchsorted(feature[order], np.arange(n_features + 1))
    return [
        np.unique(threshold[order[a:b]])
        for a, b in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    ]


def _lay_out(
    tree: _Tree, distinct: Sequence[NDArray[np.float64]], slots: dict[tuple[int, int, bool], int]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int32]]:
    """Nodes breadth first, children side by side: (packed, values, features)."""
    order = list(_breadth_first(tree))
    if len(order) > _MAX_NODES:
        raise UnsupportedModel("a tree with more than 16,384 leaves")
    position = {node: k for k, node in enumerate(order)}
    packed = np.empty(len(order), np.int64)
    values = np.empty(len(order))
    features = np.full(len(order), -1, np.int32)
    for k, node in enumerate(order):
        if node < 0:
            packed[k] = 0xFFFF << 16 | k << 32
            values[k] = tree.leaf[~node]
            continue
        feature, decision = int(tree.feature[node]), int(tree.decision[node])
        missing = decision >> _MISSING_SHIFT & 3
        left = bool(decision & _DEFAULT_LEFT) and missing != MISSING_NONE
        slot = slots.setdefault((feature, missing, left), len(slots))
        rank = int(np.searchsorted(distinct[feature], tree.threshold[node]))
        packed[k] = slot | rank << 16 | position[int(tree.left[node])] << 32
        values[k] = tree.inner[node]
        features[k] = feature
    if len(slots) > _MAX_CODES:
        raise UnsupportedModel("more than 65,534 feature slots")
    return packed, values, features


def _breadth_first(tree: _Tree) -> Iterator[int]:
    """Node numbers as LightGBM has them (leaves complemented), the root first."""
    level = [0 if len(tree.feature) else ~0]
    while level:
        yield from level
        level = [
            int(child)
            for node in level
            if node >= 0
            for child in (tree.left[node], tree.right[node])
        ]
