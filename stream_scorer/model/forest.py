"""A LightGBM model as arrays, read from its text form.

The text form ("LightGBM model format v4") holds every number with the digits that give it back
exactly. What the compiled loops can walk (binary objective, numeric splits with any handling
of missing values) becomes a :class:`Forest`; anything else is refused by name, and
:mod:`stream_scorer.model.predictor` falls back to LightGBM itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.model.forest_layout import Forest, Tree, UnsupportedModel, assemble

__all__ = ["Forest", "UnsupportedModel", "feature_names_in", "gives_log_odds", "parse_forest"]

_DEFAULT_LEFT: Final = 2  # bits of decision_type
_MISSING_SHIFT: Final = 2


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
    return assemble(trees, n_features)


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


def _tree(facts: Mapping[str, str]) -> Tree:
    if facts.get("num_cat", "0") != "0":
        raise UnsupportedModel("categorical splits")
    if facts.get("is_linear", "0") != "0":
        raise UnsupportedModel("linear trees")

    def numbers(name: str) -> NDArray[np.float64]:
        return np.array(facts.get(name, "").split(), np.float64)

    def integers(name: str) -> NDArray[np.int64]:
        return np.array(facts.get(name, "").split(), np.int64)

    decision = integers("decision_type")
    return Tree(
        integers("split_feature"),
        numbers("threshold"),
        decision >> _MISSING_SHIFT & 3,
        (decision & _DEFAULT_LEFT) != 0,
        integers("left_child"),
        integers("right_child"),
        numbers("leaf_value"),
        numbers("internal_value"),
    )


def _check_tree(tree: Tree, n_features: int) -> None:
    """That a tree is one: the compiled loops follow it without looking.

    Raises:
        ValueError: it is not.
    """
    splits = len(tree.feature)
    columns = (tree.threshold, tree.missing, tree.left, tree.right, tree.inner)
    if any(len(column) != splits for column in columns) or len(tree.leaf) != splits + 1:
        raise ValueError("a tree's lists differ in length")
    if splits and not 0 <= tree.feature.min() <= tree.feature.max() < n_features:
        raise ValueError("a tree splits on a feature that the model does not have")
    # Every node but the root is the child of exactly one other.
    children = np.sort(np.concatenate([tree.left, tree.right]))
    every = np.concatenate([np.arange(-splits - 1, 0), np.arange(1, splits)])
    if splits and not np.array_equal(children, every):
        raise ValueError("a tree's nodes do not form a tree")
