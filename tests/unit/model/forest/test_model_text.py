"""Malicious models: refused while they are text, before LightGBM reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import lightgbm
import numpy as np
import pytest

from stream_scorer.errors import ArtifactCorrupt
from stream_scorer.model.forest.forest import UnsupportedModel, parse_forest
from stream_scorer.model.forest.lightgbm_model import LightGBMModel
from stream_scorer.model.forest.model_text import (
    MAX_LEAVES,
    MAX_TREES,
    checked_text,
    feature_names_in,
    gives_log_odds,
    read_model,
)
from stream_scorer.model.forest.tree_shape import MAX_DEPTH

FEATURES = 3


def tree(**facts: Any) -> str:
    """A stump with the given changes: lists become lines, None removes a line."""
    usual: dict[str, Any] = {
        "num_leaves": 2,
        "num_cat": 0,
        "split_feature": [0],
        "split_gain": [1],
        "threshold": [0.5],
        "decision_type": [2],
        "left_child": [-1],
        "right_child": [-2],
        "leaf_value": [-1.5, 1.5],
        "leaf_weight": [1, 1],
        "leaf_count": [5, 5],
        "internal_value": [0],
        "internal_weight": [2],
        "internal_count": [10],
        "is_linear": 0,
        "shrinkage": 1,
    }
    lines = [
        f"{name}={' '.join(map(str, value)) if isinstance(value, Sequence | range) else value}"
        for name, value in (usual | facts).items()
        if value is not None
    ]
    return "\n".join(lines)


def nodes(left: Sequence[int], right: Sequence[int], **facts: Any) -> str:
    """A tree with these children."""
    n = len(left)
    lists: dict[str, Any] = {
        "num_leaves": n + 1,
        "split_feature": [0] * n,
        "threshold": range(n),
        "decision_type": [2] * n,
        "left_child": left,
        "right_child": right,
        "leaf_value": [0.25] * (n + 1),
        "internal_value": [0] * n,
    }
    return tree(**lists, split_gain=None, leaf_weight=None, leaf_count=None, internal_weight=None,
                internal_count=None, **facts)  # fmt: skip


def chain(depth: int) -> str:
    """Each left child splits again."""
    return nodes([*range(1, depth), -1], [-k - 2 for k in range(depth)])


def model(*trees: str, header: str = "", objective: str = "binary sigmoid:1", **facts: Any) -> str:
    names = " ".join(f"f{i}" for i in range(FEATURES))
    usual: dict[str, Any] = {
        "num_class": 1,
        "num_tree_per_iteration": 1,
        "label_index": 0,
        "max_feature_idx": FEATURES - 1,
        "objective": objective,
        "feature_names": names,
        "feature_infos": " ".join(["none"] * FEATURES),
    }
    lines = [f"{name}={value}" for name, value in (usual | facts).items()]
    blocks = "".join(f"Tree={i}\n{text}\n\n" for i, text in enumerate(trees or (tree(),)))
    return "\n".join(["tree", "version=v4", *lines, header, ""]) + "\n" + blocks + "end of trees\n"


BY_SETS: dict[str, Any] = {
    "num_cat": 2,
    "num_leaves": 3,
    "split_feature": [0, 1],
    "threshold": [0, 1],
    "decision_type": [1, 1],
    "left_child": [1, -1],
    "right_child": [-2, -3],
    "leaf_value": [-1, 0, 1],
    "leaf_count": [1, 2, 3],
    "internal_value": [0, 0],
    "internal_count": [6, 4],
    "cat_boundaries": [0, 1, 3],
    "cat_threshold": [6, 1, 1],
}


def by_sets(**facts: Any) -> str:
    """A tree that splits by two category sets; only LightGBM scores such trees."""
    return model(tree(**(BY_SETS | facts)))


RING = ([-1, 2, 1], [-2, -3, -4])  # nodes 1 and 2 form a cycle that the root does not reach

HOSTILE: dict[str, tuple[Callable[[], str], str]] = {
    "more features than names": (lambda: model(max_feature_idx=600), "feature names"),
    "far more features": (lambda: model(max_feature_idx=2_000_000_001), "feature names"),
    "fewer features than names": (lambda: model(max_feature_idx=1), "feature names"),
    "no number of features": (lambda: model(max_feature_idx="x"), "invalid literal"),
    "an endless number": (lambda: model(max_feature_idx="9" * 10_000), "is not a number"),
    "an endless header": (lambda: model(header="x" * 2_000_000), "header has more than"),
    "an endless header of lines": (lambda: model(header="x\n" * 2_000_000), "header has more"),
    "a feature it does not have": (lambda: model(tree(split_feature=[3])), "does not have"),
    "a negative feature": (lambda: model(tree(split_feature=[-1])), "does not have"),
    "a ring": (lambda: model(nodes(*RING)), "do not form a tree"),
    "a ring in the last of many": (lambda: model(*[tree()] * 9, nodes(*RING)), "do not form"),
    "a ring at the root": (lambda: model(nodes([1, 0], [-1, -2])), "do not form a tree"),
    "a child beyond": (lambda: model(tree(left_child=[1_000_000])), "do not form a tree"),
    "a tree too deep": (lambda: model(chain(MAX_DEPTH + 1)), "splits deep"),
    "leaves that are not there": (lambda: model(tree(num_leaves=2_000)), "values, not"),
    "endless leaves": (lambda: model(tree(num_leaves=2**31)), "leaves"),
    "no leaves": (lambda: model(tree(num_leaves=0)), "leaves"),
    "negative leaves": (lambda: model(tree(num_leaves=-1)), "is not a number"),
    "no number of leaves": (lambda: model(tree(num_leaves=None)), "is not a number"),
    "too many values": (lambda: model(tree(leaf_value=[1] * 999)), "values, not"),
    "values in one word": (lambda: model(tree(threshold="1" * 999)), "values, not"),
    "too few counts": (lambda: model(tree(leaf_count=[1])), "values, not"),
    "too few inner counts": (lambda: model(tree(internal_count=[])), "values, not"),
    "a count beyond 32 bits": (lambda: model(tree(leaf_count=[1, 2**31])), "counts"),
    "a child beyond 64 bits": (lambda: model(tree(left_child=[2**70])), "64 bits"),
    "a kind of split that is none": (lambda: model(tree(decision_type=[12])), "kind of split"),
    "a negative kind of split": (lambda: model(tree(decision_type=[-1])), "kind of split"),
    "a category without sets": (lambda: model(tree(decision_type=[1])), "category set that"),
    "a threshold that is none": (lambda: model(tree(threshold=["nan"])), "not a finite number"),
    "an infinite leaf": (lambda: model(tree(leaf_value=["inf", 0])), "not a finite number"),
    "many lines": (lambda: model(tree() + "\nx=1" * 99), "lines"),
    "many trees": (lambda: model(*["num_leaves=1\nleaf_value=0"] * (MAX_TREES + 1)), "more than"),
    "more sets than splits": (lambda: by_sets(num_cat=3), "more category sets"),
    "a set it does not have": (lambda: by_sets(threshold=[0, 2]), "category set that"),
    "a negative set": (lambda: by_sets(threshold=[0, -1]), "category set that"),
    "half a set": (lambda: by_sets(threshold=[0, 0.5]), "category set that"),
    "sets beyond the end": (lambda: by_sets(cat_boundaries=[0, 1, 2_000_000_000]), "values, not"),
    "sets in disorder": (
        lambda: by_sets(cat_boundaries=[0, 9, 3]),
        "category sets are out of order",
    ),
    "sets before the start": (
        lambda: by_sets(cat_boundaries=[-5, 1, 3]),
        "category sets are out of order",
    ),
    "sets of negative length": (lambda: by_sets(cat_boundaries=[0, 1, -3]), "values, not"),
    "no boundaries": (lambda: by_sets(cat_boundaries=None), "values, not"),
    "bits beyond 32": (
        lambda: by_sets(cat_threshold=[6, 1, 2**32]),
        "category sets are out of range",
    ),
    "categories, and a ring": (
        lambda: model(tree(**BY_SETS), nodes(*RING)),
        "do not form a tree",
    ),
    "another objective, and a ring": (
        lambda: model(nodes(*RING), objective="cross_entropy"),
        "do not form a tree",
    ),
    "linear, and a child beyond": (
        lambda: model(tree(is_linear=1, left_child=[99])),
        "do not form a tree",
    ),
    "classes without trees": (
        lambda: model(num_class=3, num_tree_per_iteration=3),
        "different numbers of trees",
    ),
    "no classes": (
        lambda: model(num_class=0, num_tree_per_iteration=0),
        "different numbers of trees",
    ),
    "classes that differ": (lambda: model(num_class=1_000_000), "different numbers of trees"),
}


@pytest.mark.parametrize("what", list(HOSTILE))
def test_malformed_model_is_refused_before_it_is_used(what: str) -> None:
    make, why = HOSTILE[what]
    text = make()
    with pytest.raises(ValueError, match=why) as caught:
        parse_forest(text)
    assert not isinstance(caught.value, UnsupportedModel)
    with pytest.raises(ArtifactCorrupt, match=why):
        _ = LightGBMModel(text).booster


def test_too_many_leaves_for_the_memory_are_refused() -> None:
    n = MAX_LEAVES // 100
    line = nodes([*range(1, n), -1], [-k - 2 for k in range(n)])
    with pytest.raises(ValueError, match=f"{MAX_LEAVES} leaves"):
        read_model(model(*[line] * 101))


def test_trees_as_deep_as_allowed_are_scored_and_explained() -> None:
    text = model(chain(MAX_DEPTH))
    rows = np.array([[k + 0.5, 0, 0] for k in (-1, 0, 500, MAX_DEPTH)])
    forest = read_model(text)
    assert len(forest.trees[0].leaf) == MAX_DEPTH + 1
    reference = LightGBMModel(text)
    assert reference.raw(rows).tolist() == [0.25] * 4
    assert reference.contributions(rows[:1]).shape == (1, FEATURES)


def test_valid_trees_of_every_kind_are_read() -> None:
    for text in (model(), by_sets(), model(nodes([], [])), model(tree(leaf_count=None))):
        assert LightGBMModel(text).raw(np.zeros((2, FEATURES))).shape == (2,)
    assert LightGBMModel(by_sets()).raw(np.array([[1, 0, 0], [1, 1, 0], [5, 0, 0]])).tolist() == [
        -1.0,
        1.0,
        0.0,
    ]


@pytest.mark.parametrize("sizes", ["99999999 5", "-1", "", "1 2 3", "x"])
def test_tree_sizes_in_the_text_are_ignored(sizes: str) -> None:
    text = model(tree(), tree(), header=f"tree_sizes={sizes}")
    assert LightGBMModel(text).raw(np.zeros((1, FEATURES))).tolist() == [-3.0]


def test_lightgbm_reads_only_checked_values() -> None:
    trap = "\ntree_sizes=9\nmonotone_constraints=1\nsplit_gain=7 \xa0\x00\nparameters:\n[x: y]"
    text = checked_text(read_model(model(tree(cat_boundaries=[7]) + trap, header=trap)))
    keys = {line.partition("=")[0] for line in text.splitlines() if line}
    assert keys == {
        "tree", "version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx",
        "objective", "feature_names", "feature_infos", "Tree", "num_leaves", "num_cat",
        "split_feature", "threshold", "decision_type", "left_child", "right_child", "leaf_value",
        "leaf_count", "internal_count", "end of trees",
    }  # fmt: skip
    assert re.fullmatch(r"[\w.:=\- \n]+", text, re.ASCII)


def test_checked_text_with_names_is_a_model_that_is_read_again() -> None:
    original = read_model(model(tree(internal_value=[0.125]), tree()))
    again = checked_text(original, ("a", "b", "c"))
    assert feature_names_in(again) == ("a", "b", "c")
    assert (
        parse_forest(again).base == parse_forest(model(tree(internal_value=[0.125]), tree())).base
    )
    rows = np.array([[0.5, 0, 0], [0.6, 0, 0]])
    assert LightGBMModel(again).raw(rows).tolist() == [-3.0, 3.0]


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "zero is missing": {"zero_as_missing": True},
    "nothing is missing": {"use_missing": False},
    "deep": {"num_leaves": 200, "min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 0},
    "one leaf": {"min_data_in_leaf": 10_000},
    "many categories": {"categorical_feature": [2], "max_cat_to_onehot": 1},
    "single categories": {"categorical_feature": [2], "max_cat_to_onehot": 99},
    "several classes": {"objective": "multiclass", "num_class": 3},
    "random forest": {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
    "regression": {"objective": "regression"},
    "cross entropy": {"objective": "cross_entropy"},
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_rewritten_text_scores_and_explains_bit_for_bit(kind: str) -> None:
    rng = np.random.default_rng(7)
    matrix = rng.normal(size=(600, 4)) * [1, 1e-30, 20, 1e9]
    matrix[:, 2] = np.abs(np.rint(matrix[:, 2]))
    matrix[rng.random(matrix.shape) < 0.2] = np.nan
    label = np.nan_to_num(matrix[:, 0]) + (np.nan_to_num(matrix[:, 2]) % 3) > 1
    options = {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 9,
               "min_data_per_group": 2} | KINDS[kind]  # fmt: skip
    categories = options.pop("categorical_feature", "auto")
    data = lightgbm.Dataset(
        matrix, label.astype(int), params=options, categorical_feature=categories
    )
    booster = lightgbm.train(options, data, 6)
    has_sets = re.search("num_cat=[1-9]", booster.model_to_string()) is not None
    assert has_sets == (categories != "auto")
    ours = LightGBMModel(booster.model_to_string()).booster
    for how in ("raw_score", "pred_contrib", "pred_leaf"):
        asked: dict[str, Any] = {how: True, "num_threads": 1}
        expected, actual = booster.predict(matrix, **asked), ours.predict(matrix, **asked)
        assert np.array_equal(expected, actual, equal_nan=True), how


def test_header_is_read_without_reading_the_trees() -> None:
    assert feature_names_in(model()) == ("f0", "f1", "f2")
    assert gives_log_odds(model())
    assert gives_log_odds(model(objective="cross_entropy"))
    assert not gives_log_odds(model(objective="binary sigmoid:2"))
    assert not gives_log_odds(model(num_class=2))
