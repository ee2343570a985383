"""XGBoost's JSON model, read and checked: the numbers of its trees, and nothing else.

The file may come from anywhere, so everything that is used is checked: sizes, types, ranges, and
that the children form trees. Source: XGBoost's documentation, "Introduction to Model IO", and its
``doc/model.schema``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.model.forest.layout import UnsupportedModel
from stream_scorer.model.forest.model_text import MAX_LEAVES, MAX_TREES
from stream_scorer.model.forest.tree_shape import MAX_DEPTH
from stream_scorer.runtime.json_limits import parse_object, shown

MAX_BYTES: Final = 512 * 1024 * 1024
"""Of a file. A model of 1,000 trees with 200 leaves has about 30 MiB."""

MAX_VALUES: Final = 20_000_000
"""Of a file; a node has 13. Each takes about 40 bytes while the file is read."""

OBJECTIVE: Final = "binary:logistic"
_LEAF: Final = -1  # as a child
_MAX_FEATURES: Final = 100_000


@dataclass(frozen=True, slots=True)
class XGBoostTree:
    """One tree: the nodes that its root reaches, the root first, each after its parent.

    Attributes:
        left, right: int64, the children; -1 for a leaf.
        feature: int64, the column that an inner node compares.
        value: float32, an inner node's threshold (smaller values go left), a leaf's output.
        default_left: whether a missing value goes left.
        gain: float64, the loss that an inner node's split saved in training.
        cover: float64, the sum of the second derivatives of the training rows in a node.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    feature: NDArray[np.int64]
    value: NDArray[np.float32]
    default_left: NDArray[np.bool_]
    gain: NDArray[np.float64]
    cover: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class XGBoostModel:
    """A model for one probability, as a sum of trees.

    Attributes:
        n_features: columns of the matrix.
        names: their names; empty if the model has none.
        base: log-odds before any tree.
        trees: up to the best iteration if training stopped early, else all.
        all_trees: the number of trees in the file.
    """

    n_features: int
    names: tuple[str, ...]
    base: float
    trees: tuple[XGBoostTree, ...]
    all_trees: int


def read_xgboost(content: bytes) -> XGBoostModel:
    """Read and check XGBoost's JSON model.

    Raises:
        UnsupportedModel: it uses something that cannot be scored exactly; the message names it.
        ValueError: it is not a valid model of XGBoost.
    """
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has {len(content)} bytes; the limit is {MAX_BYTES}")
    learner = _object(parse_object(content, MAX_VALUES), "learner")
    _check_objective(learner)
    booster = _object(learner, "gradient_booster")
    if booster.get("name") != "gbtree":
        raise UnsupportedModel(f"the booster {shown(booster.get('name'))!r}, not gbtree")
    model = _object(booster, "model")
    param = _object(learner, "learner_model_param")
    n_features = _count(param, "num_feature", _MAX_FEATURES)
    _check_outputs(param, model)
    names = _names(learner, n_features)
    given = model.get("trees")
    if not isinstance(given, list) or not given:
        raise ValueError("it has no trees")
    trees, nodes = [], 0
    for tree in given[: _trees_used(learner, model, len(given))]:
        trees.append(_read_tree(tree, n_features))
        nodes += len(trees[-1].left)
        if nodes > 2 * MAX_LEAVES or len(trees) >= MAX_TREES:  # one tree more for the base
            raise ValueError(f"it has more than {MAX_TREES - 1} trees or {MAX_LEAVES} leaves")
    return XGBoostModel(n_features, names, _base(param), tuple(trees), len(given))


def _check_objective(learner: Mapping[str, Any]) -> None:
    name = _object(learner, "objective").get("name")
    if name != OBJECTIVE:
        raise UnsupportedModel(f"the objective {shown(name)!r}, not {OBJECTIVE}")
    types = learner.get("feature_types")
    if isinstance(types, list) and "c" in types:
        raise UnsupportedModel("categorical columns (feature type c)")


def _check_outputs(param: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    if _count(param, "num_class", MAX_TREES, 0) > 1:
        raise UnsupportedModel("several classes")
    if _count(param, "num_target", MAX_TREES, 1) > 1:
        raise UnsupportedModel("several targets")
    groups = model.get("tree_info", [])
    if not isinstance(groups, list) or any(group != 0 for group in groups):
        raise UnsupportedModel("trees of several outputs")


def _names(learner: Mapping[str, Any], n_features: int) -> tuple[str, ...]:
    names = learner.get("feature_names") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("feature_names is not a list of texts")
    if len(names) not in (0, n_features):
        raise ValueError(f"it has {len(names)} feature names for {n_features} features")
    return tuple(names)


def _base(param: Mapping[str, Any]) -> float:
    """``base_score`` is a probability: a text, and since XGBoost 3.1 a list of one in a text."""
    given = param.get("base_score")
    text = str(given[0] if isinstance(given, list) and len(given) == 1 else given)
    try:
        with np.errstate(over="ignore"):
            probability = float(np.float32(text.strip().removeprefix("[").removesuffix("]")))
    except ValueError:
        raise ValueError(f"base_score is {shown(given)!r}, not a number") from None
    if not 0 < probability < 1:
        raise ValueError(f"base_score is {shown(given)}, not a probability between 0 and 1")
    return -math.log(1 / probability - 1)


def _trees_used(learner: Mapping[str, Any], model: Mapping[str, Any], trees: int) -> int:
    """The trees up to the best iteration, which ``XGBClassifier.predict_proba`` uses too."""
    attributes = learner.get("attributes")
    if not isinstance(attributes, dict) or "best_iteration" not in attributes:
        return trees
    param = _object(model, "gbtree_model_param")
    a_round = _count(param, "num_parallel_tree", MAX_TREES, 1) or 1
    return min(trees, a_round * (_count(attributes, "best_iteration", MAX_TREES) + 1))


def _read_tree(tree: Any, n_features: int) -> XGBoostTree:
    if not isinstance(tree, dict):
        raise ValueError("a tree is not an object")
    if _count(_object(tree, "tree_param"), "size_leaf_vector", MAX_TREES, 1) > 1:
        raise UnsupportedModel("leaves with several values")
    left = _integers(tree, "left_children", None)
    n = len(left)
    right = _integers(tree, "right_children", n)
    order = _reached(left, right)
    inner = left[order] != _LEAF
    if np.any(_integers(tree, "split_type", n, 0)[order][inner]):
        raise UnsupportedModel("categorical splits")
    place = np.full(n + 1, _LEAF, np.int64)  # the last is where the child -1 points
    place[order] = np.arange(len(order))
    found = XGBoostTree(
        place[left[order]],
        place[right[order]],
        _integers(tree, "split_indices", n)[order],
        _singles(tree, "split_conditions", n)[order],
        _integers(tree, "default_left", n)[order] != 0,
        _singles(tree, "loss_changes", n, 0.0)[order].astype(np.float64),
        _singles(tree, "sum_hessian", n, 0.0)[order].astype(np.float64),
    )
    split_on = found.feature[inner]
    if len(split_on) and not 0 <= split_on.min() <= split_on.max() < n_features:
        raise ValueError("a tree splits on a feature that the model does not have")
    if not np.isfinite(found.value[~inner]).all() or np.isnan(found.value).any():
        raise ValueError("a tree has a threshold or an output that is not a finite number")
    if not (np.isfinite(found.cover).all() and (found.cover >= 0).all()):
        raise ValueError("a tree has a sum_hessian that is not a finite number of at least 0")
    if not np.isfinite(found.gain).all():
        raise ValueError("a tree has a loss_changes that is not a finite number")
    return found


def _reached(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """The nodes that the root reaches, level by level. Pruning leaves others in the lists.

    Raises:
        ValueError: they do not form a tree, or it is too deep.
    """
    n = len(left)
    is_leaf = left == _LEAF
    children = np.concatenate([left[~is_leaf], right[~is_leaf]])
    if not n or (right[is_leaf] != _LEAF).any() or ((children < 1) | (children >= n)).any():
        raise ValueError("a tree's nodes do not form a tree")
    levels = [np.zeros(1, np.int64)]
    while len(inner := levels[-1][~is_leaf[levels[-1]]]):
        levels.append(np.column_stack([left[inner], right[inner]]).ravel())
        if len(levels) > MAX_DEPTH + 1:
            raise ValueError(f"a tree is more than {MAX_DEPTH} splits deep, or its nodes a circle")
        if len(levels[-1]) > n:
            break
    order = np.concatenate(levels)
    if len(np.unique(order)) != len(order):
        raise ValueError("a tree's nodes do not form a tree")
    return order


def _object(parent: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"it has no object {name}")
    return value


def _count(parent: Mapping[str, Any], name: str, most: int, default: int | None = None) -> int:
    """A whole number; XGBoost writes its parameters as texts."""
    text = str(parent.get(name, default))
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= most):
        raise ValueError(f"{name} is {shown(text)!r}, not a number from 0 to {most}")
    return int(text)


def _integers(
    tree: Mapping[str, Any], name: str, count: int | None, default: int | None = None
) -> NDArray[np.int64]:
    return _array(tree, name, count, default, "bi").astype(np.int64)


def _singles(
    tree: Mapping[str, Any], name: str, count: int, default: float | None = None
) -> NDArray[np.float32]:
    """XGBoost keeps numbers in single precision, and writes enough digits to restore them."""
    with np.errstate(over="ignore"):
        return _array(tree, name, count, default, "bif").astype(np.float32)


def _array(
    tree: Mapping[str, Any], name: str, count: int | None, default: float | None, kinds: str
) -> NDArray[Any]:
    """A tree's list: one number for each node."""
    if name not in tree and default is not None and count is not None:
        return np.full(count, default)
    values = tree.get(name)
    try:
        array = np.array(values if isinstance(values, list) else [[]])
    except (ValueError, OverflowError):  # lists inside
        array = np.empty((0, 0))
    if array.ndim != 1 or (len(array) and array.dtype.kind not in kinds):
        raise ValueError(f"a tree's {name} is not a list of numbers")
    if count is not None and len(array) != count:
        raise ValueError(f"a tree's {name} has {len(array)} values, not {count}")
    return array
