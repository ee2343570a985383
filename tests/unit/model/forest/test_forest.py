"""The compiled predictor gives LightGBM's raw scores bit for bit, for any model and row."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_scorer.errors import ArtifactCorrupt, ArtifactIncompatible
from stream_scorer.model.forest import lanes
from stream_scorer.model.forest.forest import (
    UnsupportedModel,
    feature_names_in,
    gives_log_odds,
    parse_forest,
)
from stream_scorer.model.forest.kernel import (
    LANES_SHA256,
    rank_codes,
    scan_exits,
    sigmoid,
    walk_exits,
)
from stream_scorer.model.forest.lanes import MANY_ROWS
from stream_scorer.model.forest.layout import FEW_ROWS, Forest
from stream_scorer.model.forest.lightgbm_model import LightGBMModel
from stream_scorer.model.forest.predictor import SCAN_FROM_ROWS, ForestPredictor, build_predictor

Matrix = NDArray[np.float64]

FEATURES = 6
ZERO = float(np.float32(1e-35))  # LightGBM's kZeroThreshold
BATCH_SIZES = tuple(
    sorted({1, SCAN_FROM_ROWS - 1, SCAN_FROM_ROWS, SCAN_FROM_ROWS + 1, FEW_ROWS - 1, FEW_ROWS,
            FEW_ROWS + 1, MANY_ROWS - 1, MANY_ROWS, MANY_ROWS + 1, 2 * MANY_ROWS + 1, 500})
)  # fmt: skip
SPECIAL = (
    *(0.0, -0.0, np.nan, np.inf, -np.inf, 1e-36, -1e-36, 5e-324, 1e308, -1e308, 1.0, -1.0),
    *(ZERO, -ZERO, np.nextafter(ZERO, 1), -np.nextafter(ZERO, 1), 1e-35, 1.000000001e-35),
)
BASIC = {
    "objective": "binary",
    "verbosity": -1,
    "num_threads": 1,
    "min_data_in_leaf": 3,
    "num_leaves": 15,
    "learning_rate": 0.2,
    "deterministic": True,
}


def make_data(seed: int, rows: int = 300) -> tuple[Matrix, NDArray[np.int64]]:
    """Features with NaN, with many zeros, with few values, and dense ones."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, FEATURES))
    matrix[rng.random(rows) < 0.3, 0] = np.nan
    matrix[rng.random(rows) < 0.4, 1] = 0.0
    matrix[:, 2] = rng.integers(-2, 3, rows)
    matrix[rng.random(rows) < 0.2, 3] = np.nan
    matrix[:, 4] = np.exp(4 * matrix[:, 4])
    label = np.nan_to_num(matrix[:, :4]).sum(axis=1) + rng.normal(0, 0.5, rows) > 0
    return matrix, label.astype(np.int64)


def train(seed: int = 0, trees: int = 12, rows: int = 300, **params: Any) -> lightgbm.Booster:
    matrix, label = make_data(seed, rows)
    options = BASIC | params
    categories = options.pop("categories", "auto")
    data = lightgbm.Dataset(matrix, label, params=options, categorical_feature=categories)
    return lightgbm.train(options | {"seed": seed}, data, trees)


@cache
def hard_rows() -> Matrix:
    """Every pair of special values, on rows of ordinary ones."""
    rng = np.random.default_rng(1)
    rows = []
    for a in SPECIAL:
        for b in SPECIAL:
            row = rng.normal(size=FEATURES)
            row[rng.permutation(FEATURES)[:4]] = [a, b, a, b]
            rows.append(row)
    return np.array(rows)


def on_thresholds(text: str) -> Matrix:
    """Rows exactly on thresholds, and one step next to them."""
    thresholds = parse_forest(text).thresholds
    around = np.concatenate([np.nextafter(thresholds, -np.inf), thresholds,
                             np.nextafter(thresholds, np.inf)])  # fmt: skip
    return np.ascontiguousarray(np.repeat(around[:, None], FEATURES, axis=1))


def assert_equal(booster: lightgbm.Booster, matrix: Matrix) -> None:
    predictor = build_predictor(booster.model_to_string())
    assert isinstance(predictor, ForestPredictor)
    expected = booster.predict(matrix, raw_score=True, num_threads=1)
    actual = predictor.raw(matrix)
    assert actual.shape == (len(matrix),)
    differ = np.flatnonzero(actual.view(np.uint64) != expected.view(np.uint64))
    assert not len(differ), f"row {matrix[differ[0]]} of {len(differ)}"


SPLIT_ALL: dict[str, Any] = {"min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 0}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "zero is missing": {"zero_as_missing": True},
    "nothing is missing": {"use_missing": False},
    "no average to start from": {"boost_from_average": False},
    "unbalanced": {"is_unbalance": True},
    "stumps": {"num_leaves": 2},
    "deep": {"num_leaves": 127, **SPLIT_ALL},
    "bagged": {"bagging_fraction": 0.5, "bagging_freq": 1, "feature_fraction": 0.5},
    "dart": {"boosting": "dart"},
    "goss": {"data_sample_strategy": "goss"},
    "few bins": {"max_bin": 3},
    "extra trees": {"extra_trees": True},
    "monotone": {"monotone_constraints": [1, 0, -1, 0, 0, 0]},
    "path smoothing": {"path_smooth": 1.0},
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_raw_scores_equal_lightgbms_bit_for_bit(variant: str, seed: int) -> None:
    booster = train(seed, **VARIANTS[variant])
    assert_equal(booster, make_data(seed + 100)[0])
    assert_equal(booster, hard_rows())
    assert_equal(booster, on_thresholds(booster.model_to_string()))


@pytest.mark.parametrize("size", BATCH_SIZES)
def test_batch_size_changes_nothing(size: int) -> None:
    booster = train(3)
    matrix = np.ascontiguousarray(np.vstack([hard_rows(), make_data(9)[0]])[:size])
    assert_equal(booster, matrix)
    predictor = build_predictor(booster.model_to_string())
    alone = np.concatenate([predictor.raw(matrix[i : i + 1]) for i in range(size)])
    assert np.array_equal(alone.view(np.uint64), predictor.raw(matrix).view(np.uint64))
    assert np.array_equal(
        predictor.contributions(matrix),
        np.vstack([predictor.contributions(matrix[i : i + 1]) for i in range(size)]),
    )


def test_no_rows_give_no_scores() -> None:
    for predictor in (build_predictor(train().model_to_string()), reference(train())):
        assert predictor.raw(np.empty((0, FEATURES))).shape == (0,)


def reference(booster: lightgbm.Booster) -> LightGBMModel:
    return LightGBMModel(booster.model_to_string())


@pytest.mark.parametrize("trees", [1, 2, 3, 4, 5, 15, 16, 17, 400])
def test_one_tree_and_hundreds(trees: int) -> None:
    booster = train(5, trees, num_leaves=7)
    assert booster.num_trees() == trees
    assert_equal(booster, hard_rows())


def test_single_leaf_trees() -> None:
    lonely = train(num_leaves=31, min_data_in_leaf=10_000)
    assert "num_leaves=1\n" in lonely.model_to_string()
    assert_equal(lonely, hard_rows())
    predictor = build_predictor(lonely.model_to_string())
    assert not predictor.contributions(hard_rows()).any()
    assert np.array_equal(predictor.raw(hard_rows()[:1]), [predictor.base])


def test_continued_training() -> None:
    matrix, label = make_data(1)
    first = lightgbm.train(BASIC, lightgbm.Dataset(matrix, label, free_raw_data=False), 5)
    matrix, label = make_data(2)
    both = lightgbm.train(BASIC, lightgbm.Dataset(matrix, label), 5, init_model=first)
    assert both.num_trees() == 10
    assert_equal(both, hard_rows())


def test_early_stopped_model_is_cut_where_it_was_best() -> None:
    matrix, label = make_data(1)
    valid = lightgbm.Dataset(*make_data(2))
    stop = lightgbm.early_stopping(3, verbose=False)
    booster = lightgbm.train(
        BASIC, lightgbm.Dataset(matrix, label), 200, valid_sets=[valid], callbacks=[stop]
    )
    assert 0 < booster.best_iteration == booster.num_trees() < 200
    assert_equal(booster, hard_rows())


def test_model_loaded_from_its_text_scores_as_the_one_that_was_trained() -> None:
    booster = train(8)
    again = lightgbm.Booster(model_str=booster.model_to_string())
    assert_equal(again, hard_rows())


@pytest.mark.parametrize("leaves", [255, 256, 257, 300])
def test_trees_whose_leaves_do_and_do_not_fit_a_byte(leaves: int) -> None:
    booster = train(1, 5, rows=3000, num_leaves=leaves, **SPLIT_ALL)
    text = booster.model_to_string()
    assert f"num_leaves={leaves}\n" in text
    assert (len(parse_forest(text).scan) > 0) == (leaves <= 256)
    assert_equal(booster, hard_rows())
    assert_equal(booster, on_thresholds(text))


@pytest.mark.parametrize("bins", [254, 255, 256, 3000])
def test_features_with_more_thresholds_than_a_byte_counts(bins: int) -> None:
    booster = train(1, 50, rows=3000, max_bin=bins, num_leaves=200, min_data_in_bin=1, **SPLIT_ALL)
    text = booster.model_to_string()
    forest = parse_forest(text)
    finite = np.append(0, np.cumsum(np.isfinite(forest.thresholds)))
    assert np.diff(finite[forest.threshold_start]).max() <= 254
    distinct = {(f, m, x) for f, m, x in zip(forest.slot_feature.tolist(),
                forest.slot_missing.tolist(), forest.slot_left.tolist(), strict=True)}  # fmt: skip
    assert (len(distinct) < len(forest.slot_feature)) == (bins == 3000)
    assert_equal(booster, on_thresholds(text))
    assert_equal(booster, np.vstack([hard_rows(), make_data(5)[0]]))


def walked_and_scanned(forest: Forest, matrix: Matrix) -> tuple[NDArray[Any], NDArray[Any]]:
    """The exits of up to 16 rows, both ways."""
    exits = []
    for width in (FEW_ROWS, MANY_ROWS):
        codes = np.empty((len(forest.slot_feature), width), np.uint8)
        found = np.empty((len(forest.tree_start), width), np.uint32)
        rank_codes(
            matrix,
            forest.thresholds,
            forest.threshold_start,
            forest.slot_feature,
            forest.slot_missing,
            forest.slot_left,
            codes,
        )
        if width == FEW_ROWS:
            tree = (forest.nodes, forest.tree_start, forest.leaf_of_node)
            walk_exits(codes, len(matrix), *tree, found)
        else:
            scan_exits(codes, forest.scan, forest.scan_start, forest.leaf_start, found)
        exits.append(found[:, : len(matrix)])
    return exits[0], exits[1]


def test_walking_and_scanning_end_in_the_leaves_lightgbm_ends_in() -> None:
    booster = train(6, 21, rows=2000, num_leaves=100, **SPLIT_ALL)
    forest = parse_forest(booster.model_to_string())
    for first in range(0, 160, FEW_ROWS):
        matrix = hard_rows()[first : first + FEW_ROWS]
        walked, scanned = walked_and_scanned(forest, matrix)
        assert np.array_equal(walked, scanned)
        leaves = booster.predict(matrix, pred_leaf=True)
        outputs = [[booster.get_leaf_output(t, int(leaf)) for t, leaf in enumerate(row)]
                   for row in leaves]  # fmt: skip
        assert np.array_equal(forest.leaf_values[walked.T], outputs)


def test_trees_side_by_side_differ_in_size_and_in_what_is_missing() -> None:
    matrix, label = make_data(3, 2000)
    booster: lightgbm.Booster | None = None
    for leaves, missing in ((2, {}), (200, {"zero_as_missing": True}), (3, {}), (31, {}),
                            (1, {}), (90, {"use_missing": False})):  # fmt: skip
        lonely = {"min_data_in_leaf": 10_000} if leaves == 1 else {}
        options: dict[str, Any] = BASIC | {"num_leaves": max(2, leaves)} | lonely | missing
        data = lightgbm.Dataset(matrix, label, params=options, free_raw_data=False)
        booster = lightgbm.train(options, data, 1, init_model=booster)
    assert booster is not None
    forest = parse_forest(booster.model_to_string())
    assert len(np.unique(np.diff(forest.leaf_start))) > 3
    assert set(forest.slot_missing.tolist()) == {0, 1, 2}
    assert_equal(booster, hard_rows())


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 1000),
    st.integers(1, 9),
    st.sampled_from([2, 3, 31, 255, 256, 257]),
    st.sampled_from([3, 255, 1000]),
    st.sampled_from([{}, {"zero_as_missing": True}, {"use_missing": False}]),
    st.integers(1, 2 * MANY_ROWS + 2),
)
def test_any_model_scores_any_number_of_rows_as_lightgbm_does(
    seed: int, trees: int, leaves: int, bins: int, missing: dict[str, Any], size: int
) -> None:
    params = {"num_leaves": leaves, "max_bin": bins, **missing, **SPLIT_ALL}
    booster = train(seed, trees, rows=1000, **params)
    rows = np.vstack([hard_rows()[:FEW_ROWS], make_data(seed + 1)[0]])
    assert_equal(booster, np.ascontiguousarray(rows[:size]))
    predictor = build_predictor(booster.model_to_string())
    total = predictor.base + predictor.contributions(rows[:size]).sum(axis=1)
    assert np.abs(total - predictor.raw(rows[:size])).max() < 1e-9


numbers = st.one_of(st.sampled_from(SPECIAL), st.floats(), st.floats(-3, 3))


@cache
def boosters() -> list[lightgbm.Booster]:
    chosen = ("plain", "zero is missing", "nothing is missing", "deep")
    return [train(11, **VARIANTS[name]) for name in chosen]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(numbers, min_size=FEATURES, max_size=FEATURES), min_size=1, max_size=17))
def test_any_numbers_score_as_lightgbm_scores_them(rows: list[list[float]]) -> None:
    for booster in boosters():
        assert_equal(booster, np.array(rows))


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_attributions_add_up_to_the_raw_score(variant: str) -> None:
    booster = train(4, **VARIANTS[variant])
    matrix = np.vstack([hard_rows(), make_data(6)[0]])
    for predictor in (build_predictor(booster.model_to_string()), reference(booster)):
        found = predictor.contributions(matrix)
        assert found.shape == matrix.shape
        total = predictor.base + found.sum(axis=1)
        assert np.abs(total - predictor.raw(matrix)).max() < 1e-9


def test_only_features_on_the_path_get_an_attribution() -> None:
    booster = train(4, trees=1, num_leaves=3)
    used = {f for f, n in enumerate(booster.feature_importance()) if n}
    found = build_predictor(booster.model_to_string()).contributions(hard_rows())
    assert {f for f in range(FEATURES) if found[:, f].any()} <= used


UNSUPPORTED: dict[str, tuple[dict[str, Any], str]] = {
    "categorical": ({"categories": [2], "min_data_per_group": 2}, "categorical"),
    "several classes": ({"objective": "multiclass", "num_class": 3}, "several classes"),
    "random forest": (
        {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
        "averaged output",
    ),
    "regression": ({"objective": "regression"}, "objective 'regression'"),
    "cross entropy": ({"objective": "cross_entropy"}, "objective 'cross_entropy'"),
    "steeper sigmoid": ({"sigmoid": 2.0}, "sigmoid:2"),
}


@pytest.mark.parametrize("variant", list(UNSUPPORTED))
def test_unsupported_model_is_scored_by_lightgbm_with_a_warning(
    variant: str, caplog: pytest.LogCaptureFixture
) -> None:
    params, why = UNSUPPORTED[variant]
    booster = train(2, **params)
    with caplog.at_level(logging.WARNING):
        predictor = build_predictor(booster.model_to_string())
    assert isinstance(predictor, LightGBMModel)
    assert why in caplog.text
    expected = booster.predict(hard_rows(), raw_score=True, num_threads=1)
    assert np.array_equal(predictor.raw(hard_rows()), expected, equal_nan=True)


def test_lightgbms_own_attributions_add_up_for_categories() -> None:
    predictor = reference(train(2, **UNSUPPORTED["categorical"][0]))
    matrix = make_data(2)[0]
    total = predictor.base + predictor.contributions(matrix).sum(axis=1)
    assert np.abs(total - predictor.raw(matrix)).max() < 1e-9


def test_linear_trees_cannot_be_explained_and_lightgbm_never_reads_them() -> None:
    booster = train(2, linear_tree=True)
    with pytest.raises(UnsupportedModel, match="linear trees"):
        parse_forest(booster.model_to_string())
    with pytest.raises(ArtifactIncompatible, match="cannot explain"):
        _ = reference(booster).booster


def test_only_a_model_of_log_odds_may_go_through_the_sigmoid() -> None:
    odds = {name: gives_log_odds(train(2, **p).model_to_string()) for name, (p, _) in
            UNSUPPORTED.items()}  # fmt: skip
    assert gives_log_odds(train().model_to_string())
    assert {name for name, is_odds in odds.items() if not is_odds} == {
        "several classes",
        "regression",
        "steeper sigmoid",
    }


def test_feature_names_come_from_the_text() -> None:
    assert feature_names_in(train().model_to_string()) == tuple(
        f"Column_{i}" for i in range(FEATURES)
    )
    assert feature_names_in("") == ()


def line(text: str, name: str) -> str:
    return next(
        part for part in text.splitlines() if part.startswith(f"{name}=") and part[-1] != "="
    )


MANGLED: dict[str, Callable[[str], str]] = {
    "not a model": lambda _: "hello",
    "empty": lambda _: "",
    "no trees": lambda t: t.partition("\nTree=")[0],
    "a leaf is missing": lambda t: t.replace(
        line(t, "leaf_value"), line(t, "leaf_value").rpartition(" ")[0]
    ),
    "no numbers": lambda t: t.replace(line(t, "threshold"), "threshold=a b c"),
    "a child of its own": lambda t: t.replace(
        line(t, "left_child"), line(t, "left_child").replace("=", "=0 ", 1).rpartition(" ")[0]
    ),
    "a node beyond the end": lambda t: t.replace(
        line(t, "right_child"), line(t, "right_child").rpartition(" ")[0] + " 99"
    ),
    "a feature beyond the end": lambda t: t.replace(
        line(t, "split_feature"), line(t, "split_feature").rpartition(" ")[0] + " 6"
    ),
    "a negative feature": lambda t: t.replace(
        line(t, "split_feature"), line(t, "split_feature").rpartition(" ")[0] + " -1"
    ),
    "the features are fewer": lambda t: t.replace("max_feature_idx=5", "max_feature_idx=0"),
}


@pytest.mark.parametrize("how", list(MANGLED))
def test_mangled_model_is_a_value_error_and_never_an_endless_loop(how: str) -> None:
    text = MANGLED[how](train().model_to_string())
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - any text will do, but see below
        parse_forest(text)
    assert not isinstance(caught.value, UnsupportedModel)


def test_text_that_is_not_a_model_is_corrupt_for_lightgbm_too() -> None:
    with pytest.raises(ArtifactCorrupt, match="not a valid LightGBM model"):
        LightGBMModel("hello").raw(hard_rows())


def test_kernels_name_the_vector_code_they_were_compiled_with() -> None:
    digest = hashlib.sha256(Path(lanes.__file__).read_bytes()).hexdigest()
    assert digest == LANES_SHA256, "put this digest into kernel.py, or stale code stays in use"


def test_sigmoid_is_within_an_ulp_or_two_of_lightgbms_and_never_overflows() -> None:
    booster = train(1, 60)
    matrix = hard_rows()
    raw = booster.predict(matrix, raw_score=True, num_threads=1)
    out = np.empty(len(raw))
    sigmoid(raw, out)
    expected = booster.predict(matrix, num_threads=1)
    assert (np.abs(out - expected) <= 4 * np.spacing(expected)).all()
    extremes = np.empty(4)
    sigmoid(np.array([-1e5, -745.0, 745.0, 1e5]), extremes)
    assert extremes[0] == 0.0
    assert 0.0 <= extremes[1] < 1e-300
    assert extremes[2:].tolist() == [1.0, 1.0]
