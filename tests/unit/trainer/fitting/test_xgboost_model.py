"""XGBoost's JSON from anywhere: what is not a servable model is refused with the reason."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xgboost

from stream_scorer.model.forest.forest import UnsupportedModel
from stream_scorer.model.forest.tree_shape import MAX_DEPTH
from tests.support.trainer.xgboost_json import NAMES, model_of, small_model
from trainer.fitting import xgboost_model
from trainer.fitting.xgboost_model import read_xgboost


def read(model: Any) -> xgboost_model.XGBoostModel:
    return read_xgboost(json.dumps(model).encode())


def changed(path: str, value: Any) -> dict[str, Any]:
    """The small model with another value at a path; None removes the key."""
    model = small_model()
    *parents, last = path.split(".")
    place: Any = model["learner"]
    for name in parents:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return model


def chain(depth: int) -> dict[str, Any]:
    """Each left child splits again."""
    n = 2 * depth + 1
    left, right = [-1] * n, [-1] * n
    for k in range(depth):
        left[2 * k], right[2 * k] = 2 * k + 2, 2 * k + 1
    lists = {"left_children": left, "right_children": right}
    lists |= {
        name: [0] * n
        for name in ("split_indices", "split_conditions", "split_type", "default_left")
    }
    return small_model(**lists, loss_changes=None, sum_hessian=None)


BOOSTER = "gradient_booster.model"
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "dart": (lambda: changed("gradient_booster.name", "dart"), "booster 'dart', not gbtree"),
    "linear": (lambda: changed("gradient_booster.name", "gblinear"), "booster 'gblinear'"),
    "ranking": (lambda: changed("objective.name", "rank:ndcg"), "objective 'rank:ndcg', not"),
    "classes": (lambda: changed("learner_model_param.num_class", "3"), "several classes"),
    "targets": (lambda: changed("learner_model_param.num_target", "2"), "several targets"),
    "outputs": (lambda: changed(f"{BOOSTER}.tree_info", [1]), "trees of several outputs"),
    "categories": (lambda: small_model(split_type=[1, 0, 0]), "categorical splits"),
    "types": (lambda: changed("feature_types", ["c", "q", "q", "q"]), "categorical columns"),
    "vectors": (
        lambda: small_model(tree_param={"size_leaf_vector": "2"}),
        "leaves with several values",
    ),
}

FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "nothing": (dict, "no object learner"),
    "a list": (list, "not a JSON object"),
    "no objective": (lambda: changed("objective", None), "no object objective"),
    "no booster": (lambda: changed("gradient_booster", 7), "no object gradient_booster"),
    "no trees": (lambda: changed(f"{BOOSTER}.trees", []), "it has no trees"),
    "trees that are none": (lambda: changed(f"{BOOSTER}.trees", [7]), "tree is not an object"),
    "no number of features": (
        lambda: changed("learner_model_param.num_feature", None),
        "num_feature is 'None'",
    ),
    "features without end": (
        lambda: changed("learner_model_param.num_feature", "9" * 5000),
        "num_feature is '9+…'",
    ),
    "negative features": (lambda: changed("learner_model_param.num_feature", "-1"), "'-1'"),
    "other names": (lambda: changed("feature_names", ["a"]), "1 feature names for 4 features"),
    "names that are none": (lambda: changed("feature_names", [1, 2, 3, 4]), "list of texts"),
    "certain base": (lambda: changed("learner_model_param.base_score", "1"), "not a probability"),
    "base that is none": (lambda: changed("learner_model_param.base_score", "x"), "not a number"),
    "base NaN": (lambda: changed("learner_model_param.base_score", "nan"), "not a probability"),
    "two bases": (lambda: changed("learner_model_param.base_score", "[.1,.2]"), "not a number"),
    "a lone child": (lambda: small_model(right_children=[-1, -1, -1]), "do not form a tree"),
    "half a leaf": (lambda: small_model(left_children=[-1, -1, -1]), "do not form a tree"),
    "a circle": (lambda: small_model(left_children=[1, 1, -1]), "do not form|circle"),
    "a circle at the root": (lambda: small_model(left_children=[0, -1, -1]), "do not form"),
    "one child twice": (lambda: small_model(right_children=[1, -1, -1]), "do not form a tree"),
    "a child beyond": (lambda: small_model(left_children=[3, -1, -1]), "do not form a tree"),
    "a child before": (lambda: small_model(left_children=[-2, -1, -1]), "do not form a tree"),
    "no nodes": (lambda: small_model(left_children=[], right_children=[]), "do not form a tree"),
    "too deep": (lambda: chain(MAX_DEPTH + 1), "splits deep"),
    "short list": (lambda: small_model(split_conditions=[0.5]), "has 1 values, not 3"),
    "texts": (lambda: small_model(left_children=["1", "-1", "-1"]), "not a list of numbers"),
    "nested": (lambda: small_model(left_children=[[1], [-1], [-1]]), "not a list of numbers"),
    "ragged": (lambda: small_model(left_children=[1, [2], -1]), "not a list of numbers"),
    "null": (lambda: small_model(default_left=[None, 0, 0]), "not a list of numbers"),
    "objects": (lambda: small_model(default_left=[{}, 0, 0]), "not a list of numbers"),
    "missing list": (lambda: small_model(split_indices=None), "not a list of numbers"),
    "half a child": (lambda: small_model(left_children=[1.5, -1, -1]), "not a list of numbers"),
    "a child beyond 64 bits": (
        lambda: small_model(left_children=[2**70, -1, -1]),
        "not a list of numbers",
    ),
    "unknown feature": (lambda: small_model(split_indices=[4, 0, 0]), "does not have"),
    "negative feature": (lambda: small_model(split_indices=[-1, 0, 0]), "does not have"),
    "threshold NaN": (lambda: small_model(split_conditions=[float("nan"), 1, 2]), "not a finite"),
    "endless leaf": (lambda: small_model(split_conditions=[0.5, 1e300, 2]), "not a finite"),
    "negative cover": (lambda: small_model(sum_hessian=[1, -1, 1]), "sum_hessian"),
    "endless cover": (lambda: small_model(sum_hessian=[1, float("inf"), 1]), "sum_hessian"),
    "endless gain": (lambda: small_model(loss_changes=[1e39, 0, 0]), "loss_changes"),
    "best iteration": (lambda: changed("attributes.best_iteration", "x"), "best_iteration is 'x'"),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_what_cannot_be_served_is_refused_with_the_reason(what: str) -> None:
    make, why = REFUSED[what]
    with pytest.raises(UnsupportedModel, match=why):
        read(make())


@pytest.mark.parametrize("what", list(FAULTS))
def test_a_malformed_file_is_one_clear_error(what: str) -> None:
    make, why = FAULTS[what]
    with pytest.raises(ValueError, match=why) as caught:
        read(make())
    assert not isinstance(caught.value, UnsupportedModel)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "Expecting value"),
        (b"{" * 5000, "nests deeper|Expecting property"),
        (b'{"learner": ' + b"[" * 100_000, "nests deeper"),
        (b'{"learner": {}, "learner": {}}', "key 'learner' twice"),
        (b'{"learner": 1e999, "x": ' + b"9" * 5000 + b"}", "limit|no object"),
    ],
    ids=["empty", "open", "deep", "twice", "long number"],
)
def test_json_that_is_no_model_is_a_value_error(content: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_xgboost(content)


def test_sizes_are_limited_before_the_file_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.dumps(small_model()).encode()
    monkeypatch.setattr(xgboost_model, "MAX_VALUES", 20)
    with pytest.raises(ValueError, match="more than 20 values"):
        read_xgboost(content)
    monkeypatch.setattr(xgboost_model, "MAX_BYTES", 20)
    with pytest.raises(ValueError, match="bytes; the limit is 20"):
        read_xgboost(content)


def test_too_many_trees_or_leaves_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    (tree,) = small_model()["learner"]["gradient_booster"]["model"]["trees"]
    monkeypatch.setattr(xgboost_model, "MAX_TREES", 4)
    assert len(read(model_of([tree] * 3)).trees) == 3
    with pytest.raises(ValueError, match="more than 3 trees"):
        read(model_of([tree] * 4))
    monkeypatch.setattr(xgboost_model, "MAX_LEAVES", 3)
    with pytest.raises(ValueError, match="or 3 leaves"):
        read(model_of([tree] * 3))


def test_trees_as_deep_as_allowed_are_read() -> None:
    (tree,) = read(chain(MAX_DEPTH)).trees
    assert len(tree.left) == 2 * MAX_DEPTH + 1


def test_nodes_that_pruning_left_behind_are_ignored() -> None:
    junk = {"split_indices": [99], "split_conditions": [float("nan")], "split_type": [1]}
    lists = {
        "left_children": [-1],
        "right_children": [-1],
        "default_left": [0],
        "loss_changes": [0.0],
        "sum_hessian": [-5.0],
    } | junk
    usual = small_model()["learner"]["gradient_booster"]["model"]["trees"][0]
    (tree,) = read(small_model(**{name: usual[name] + lists[name] for name in lists})).trees
    (same,) = read(small_model()).trees
    assert np.array_equal(tree.value, same.value)
    assert np.array_equal(tree.left, same.left)


def test_early_stopped_model_is_cut_at_its_best_iteration() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(300, len(NAMES)))
    data = xgboost.DMatrix(matrix, label=rng.integers(0, 2, 300), feature_names=list(NAMES))
    other = xgboost.DMatrix(rng.normal(size=(300, 4)), rng.integers(0, 2, 300))
    other.feature_names = list(NAMES)
    booster = xgboost.train(
        {"objective": "binary:logistic", "nthread": 1, "num_parallel_tree": 2},
        data,
        40,
        evals=[(other, "validation")],
        early_stopping_rounds=5,
        verbose_eval=False,
    )
    model = read_xgboost(bytes(booster.save_raw("json")))
    assert model.all_trees == 2 * booster.num_boosted_rounds()
    assert len(model.trees) == 2 * (booster.best_iteration + 1) < model.all_trees
    assert model.names == NAMES


def test_names_are_optional() -> None:
    assert read(changed("feature_names", [])).names == ()


def test_a_damaged_file_is_read_or_refused_but_never_anything_else() -> None:
    content = json.dumps(small_model()).encode()
    rng = random.Random(5)
    refused = 0
    for _ in range(400):
        damaged = bytearray(content)
        at = rng.randrange(len(damaged))
        damaged[at : at + rng.randint(0, 3)] = rng.choice([b"9", b"-", b"[", b"e99", b"null", b""])
        try:
            read_xgboost(bytes(damaged))
        except ValueError:
            refused += 1
    assert 100 < refused < 400
