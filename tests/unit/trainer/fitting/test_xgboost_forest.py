"""An XGBoost model as a forest: every value goes the way XGBoost sends it."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_scorer.model.forest.forest import UnsupportedModel, parse_forest
from stream_scorer.model.forest.lightgbm_model import LightGBMModel
from stream_scorer.model.forest.predictor import ForestPredictor
from tests.support.trainer.xgboost_json import NAMES, small_model
from trainer.fitting.xgboost_forest import ZERO, forest_text, largest_left, total_gains
from trainer.fitting.xgboost_model import read_xgboost

Floats = NDArray[np.float64]

LARGEST = float(np.finfo(np.float32).max)
DENORMAL = float(np.finfo(np.float32).smallest_subnormal)
EXTREMES = (0.0, -0.0, np.nan, ZERO, -ZERO, 2 * ZERO, -2 * ZERO, LARGEST, -LARGEST, 1.0, -1.0)
KINDS: dict[str, dict[str, Any]] = {
    "leaf-wise": {"tree_method": "hist", "max_leaves": 40, "grow_policy": "lossguide"},
    "exact": {"tree_method": "exact"},
    "approx": {"tree_method": "approx"},
    "pruned": {"tree_method": "exact", "gamma": 3.0},
    "random forests": {"num_parallel_tree": 3, "subsample": 0.7},
    "weighted": {"scale_pos_weight": 7, "base_score": 0.03},
}


def make_rows(seed: int, rows: int = 800) -> tuple[Floats, NDArray[np.int8]]:
    """Dense numbers, few values around 0, a wide range of magnitudes, and large integers."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, len(NAMES)))
    matrix[:, 1] = rng.integers(-2, 3, rows)
    matrix[:, 2] = matrix[:, 2] * 10.0 ** rng.integers(-30, 30, rows)
    matrix[:, 3] = rng.integers(0, 2**40, rows)
    matrix[rng.random(matrix.shape) < 0.15] = np.nan
    signal = np.nan_to_num(matrix[:, 0]) + np.nan_to_num(matrix[:, 1]) + rng.normal(size=rows)
    return matrix, (signal + np.sign(np.nan_to_num(matrix[:, 2])) > 1).astype(np.int8)


@cache
def train(kind: str = "leaf-wise", rounds: int = 8) -> xgboost.Booster:
    matrix, labels = make_rows(1)
    params = {"objective": "binary:logistic", "nthread": 1, "seed": 3} | KINDS[kind]
    return xgboost.train(params, xgboost.DMatrix(matrix, label=labels), rounds)


@cache
def text_of(kind: str = "leaf-wise") -> str:
    return forest_text(read_xgboost(bytes(train(kind).save_raw("json"))), NAMES)


def hard_rows(booster: xgboost.Booster) -> Floats:
    """Each feature's thresholds and their neighbours, in both precisions; the rest random."""
    model = read_xgboost(bytes(booster.save_raw("json")))
    base, _ = make_rows(9, 60)
    rows = [base]
    for feature in range(len(NAMES)):
        found = [t.value[(t.left >= 0) & (t.feature == feature)] for t in model.trees]
        thresholds = np.unique(np.concatenate(found))
        up = np.nextafter(thresholds, np.float32(np.inf))
        down = np.nextafter(thresholds, np.float32(-np.inf))
        single = [t.astype(np.float64) for t in (thresholds, up, down)]
        middles = [(single[0] + single[1]) / 2, (single[0] + single[2]) / 2]
        values = np.concatenate([*single, *middles])
        near = [np.nextafter(values, side) for side in (-np.inf, np.inf)]
        column = np.concatenate([values, *near, np.array(EXTREMES)])
        matrix = base[np.arange(len(column)) % len(base)]
        matrix[:, feature] = column
        rows.append(matrix)
    return np.concatenate(rows)


def leaves_by_lightgbm(text: str, matrix: Floats) -> Floats:
    """Each row's output of each tree of a text; the first tree is the base."""
    booster = LightGBMModel(text).booster
    leaves = booster.predict(matrix, pred_leaf=True, num_threads=1).astype(int)
    return np.array(
        [[booster.get_leaf_output(t, leaf) for t, leaf in enumerate(row)] for row in leaves]
    )


def leaves_by_xgboost(booster: xgboost.Booster, matrix: Floats) -> Floats:
    leaves = booster.predict(xgboost.DMatrix(matrix), pred_leaf=True).astype(int)
    trees = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]
    outputs = [np.array(tree["split_conditions"], np.float32) for tree in trees]
    return np.array([[outputs[t][leaf] for t, leaf in enumerate(row)] for row in leaves])


def without_tiny(matrix: Floats) -> Floats:
    """The numbers as the forest reads them."""
    return np.where(np.abs(matrix) <= ZERO, 0.0, matrix)


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_row_ends_in_xgboosts_leaf_of_every_tree(kind: str) -> None:
    booster, text = train(kind), text_of(kind)
    matrix = without_tiny(hard_rows(booster))
    assert len(matrix) > 300
    expected = leaves_by_xgboost(booster, matrix)
    assert np.array_equal(leaves_by_lightgbm(text, matrix)[:, 1:], expected)
    assert len(np.unique(expected[:, 0])) > 3
    # The compiled forest adds the same outputs in the same order, so equal sums are equal leaves.
    margin = np.cumsum(
        np.column_stack([np.full(len(matrix), base_of(text)), expected.astype(np.float64)]), axis=1
    )[:, -1]
    assert np.array_equal(ForestPredictor(parse_forest(text)).raw(matrix), margin)


def base_of(text: str) -> float:
    return float(text.partition("leaf_value=")[2].partition("\n")[0])


@pytest.mark.parametrize("kind", list(KINDS))
def test_scores_are_xgboosts_but_for_its_rounding(kind: str) -> None:
    booster = train(kind)
    matrix = make_rows(4)[0]
    expected = booster.predict(xgboost.DMatrix(matrix), output_margin=True).astype(np.float64)
    raw = ForestPredictor(parse_forest(text_of(kind))).raw(matrix)
    steps = booster.num_boosted_rounds() * KINDS[kind].get("num_parallel_tree", 1) + 2
    assert np.abs(raw - expected).max() < steps * float(np.spacing(np.float32(8)))
    assert raw.std() > 0.3


def test_numbers_beyond_single_precision_go_with_infinity() -> None:
    booster = train("approx")
    huge = (1e300, -1e300, np.finfo(float).max, 2.0**128 - 2.0**103, -(2.0**128 - 2.0**103))
    matrix = make_rows(5, 40)[0]
    matrix[:, 2] = np.resize(huge, len(matrix))
    raw = ForestPredictor(parse_forest(text_of("approx"))).raw(matrix)
    # XGBoost refuses such numbers in a DMatrix, but not in place.
    expected = booster.inplace_predict(matrix, predict_type="margin")
    assert np.abs(raw - expected).max() < 1e-5


def test_numbers_that_the_forest_reads_as_zero_score_as_zero() -> None:
    matrix = hard_rows(train())
    tiny = np.resize([DENORMAL, -DENORMAL, 1e-36, -1e-36, ZERO, -ZERO, 5e-324], len(matrix))
    predictor = ForestPredictor(parse_forest(text_of()))
    for column in range(len(NAMES)):
        rows, zeros = matrix.copy(), matrix.copy()
        rows[:, column], zeros[:, column] = tiny, 0.0
        assert np.array_equal(predictor.raw(rows), predictor.raw(zeros))


@given(st.floats(width=32, allow_nan=False))
@settings(max_examples=300)
def test_the_largest_double_that_goes_left_goes_left_and_the_next_does_not(value: float) -> None:
    threshold = np.array([value], np.float32)
    (found,) = largest_left(threshold)
    with np.errstate(over="ignore"):
        if np.isneginf(threshold[0]):
            assert np.isnan(found)
        else:
            assert np.float32(found) < threshold[0]
            assert not np.float32(np.nextafter(found, np.inf)) < threshold[0]


def test_ties_between_single_precision_numbers_round_to_even() -> None:
    given = [1.0, 1.0 + 2**-23, 0.0, -0.0, DENORMAL, LARGEST, -LARGEST, np.inf]
    thresholds = np.array(given, np.float32)
    middles = [1 - 2**-25, 1 + 2**-24, -DENORMAL / 2, -DENORMAL / 2, DENORMAL / 2]
    middles += [(LARGEST + float(np.nextafter(np.float32(LARGEST), np.float32(0)))) / 2]
    middles += [-(2.0**128 - 2.0**103), 2.0**128 - 2.0**103]
    # The first tie is between 1 - 2**-24 (odd) and 1 (even): it rounds to 1, which is not below 1.
    is_left = [False, True, False, False, True, True, True, False]
    with np.errstate(over="ignore"):
        goes_left = np.array(middles).astype(np.float32) < thresholds
    assert goes_left.tolist() == is_left
    at = largest_left(thresholds)
    assert np.array_equal(at, np.where(is_left, middles, np.nextafter(middles, -np.inf)))


def raw_of(model: dict[str, Any], values: list[float]) -> list[float]:
    text = forest_text(read_xgboost(json.dumps(model).encode()), NAMES)
    matrix = np.full((len(values), len(NAMES)), np.nan)
    matrix[:, 0] = values
    raw = ForestPredictor(parse_forest(text)).raw(matrix)
    assert np.array_equal(raw, LightGBMModel(text).raw(matrix))
    return [float(value) for value in raw]


def test_default_direction_is_kept() -> None:
    assert raw_of(small_model(), [0.4, 0.5, np.nan]) == [-1.0, 2.0, -1.0]
    assert raw_of(small_model(default_left=[0, 0, 0]), [0.4, 0.5, np.nan]) == [-1.0, 2.0, 2.0]


@pytest.mark.parametrize(("default_left", "missing"), [(1, -1.0), (0, 2.0)])
def test_nothing_is_below_minus_infinity_but_a_missing_value_goes_its_own_way(
    default_left: int, missing: float
) -> None:
    model = small_model(
        split_conditions=[float("-inf"), -1.0, 2.0], default_left=[default_left, 0, 0]
    )
    values = [-1e308, -float(np.finfo(float).max), 0.0, 1e308, float(np.finfo(float).max)]
    assert raw_of(model, [*values, np.nan]) == [2.0] * 5 + [missing]


def test_all_numbers_of_single_precision_are_below_infinity() -> None:
    model = small_model(split_conditions=[float("inf"), -1.0, 2.0], default_left=[0, 0, 0])
    assert raw_of(model, [LARGEST, 3.5e38, -1e300, np.nan]) == [-1.0, 2.0, -1.0, 2.0]


@pytest.mark.parametrize("threshold", [1e-40, -1e-40, ZERO, DENORMAL, -DENORMAL])
def test_a_split_between_numbers_that_read_as_zero_is_refused(threshold: float) -> None:
    model = read_xgboost(json.dumps(small_model(split_conditions=[threshold, -1, 2])).encode())
    with pytest.raises(UnsupportedModel, match=r"the split a < .*are read as 0"):
        forest_text(model, NAMES)


def test_base_score_is_a_probability_and_the_first_tree() -> None:
    model = small_model()
    for written in ("[2.5E-1]", "2.5E-1", "0.25", ["0.25"], 0.25):
        model["learner"]["learner_model_param"]["base_score"] = written
        assert raw_of(model, [0.4]) == [-np.log(3) - 1.0]


def test_expected_values_weigh_leaves_by_their_cover() -> None:
    text = forest_text(read_xgboost(json.dumps(small_model()).encode()), NAMES)
    predictor = ForestPredictor(parse_forest(text))
    assert predictor.base == pytest.approx((3 * -1.0 + 1 * 2.0) / 4, abs=1e-8)
    assert LightGBMModel(text).base == pytest.approx(predictor.base, abs=1e-9)


@pytest.mark.parametrize("cover", [[0.0, 0.0, 0.0], [3e38, 3e38, 3e38], [1e-320] * 3])
def test_extreme_covers_give_finite_expected_values(cover: list[float]) -> None:
    text = forest_text(read_xgboost(json.dumps(small_model(sum_hessian=cover)).encode()), NAMES)
    assert ForestPredictor(parse_forest(text)).base == pytest.approx(0.5)


@pytest.mark.parametrize("kind", list(KINDS))
def test_attributions_add_up_to_the_raw_score(kind: str) -> None:
    matrix = make_rows(6, 200)[0]
    text = text_of(kind)
    for predictor in (ForestPredictor(parse_forest(text)), LightGBMModel(text)):
        total = predictor.base + predictor.contributions(matrix).sum(axis=1)
        assert np.abs(total - predictor.raw(matrix)).max() < 1e-9


def test_gains_are_xgboosts_total_gains() -> None:
    booster = train()
    gains = total_gains(read_xgboost(bytes(booster.save_raw("json"))), NAMES)
    found = booster.get_score(importance_type="total_gain")
    expected = {name: found.get(f"f{i}", 0.0) for i, name in enumerate(NAMES)}
    assert gains == pytest.approx(expected, rel=1e-5)
    assert list(gains.values()) == sorted(gains.values(), reverse=True)


def test_names_must_fit_the_features() -> None:
    model = read_xgboost(json.dumps(small_model()).encode())
    with pytest.raises(ValueError, match="1 names for 4 features"):
        forest_text(model, ["a"])
