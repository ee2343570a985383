"""Both learners: the same functions, and a forest in the same text format."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_scorer.errors import FatalError, UsageError
from stream_scorer.model.forest.forest import feature_names_in, gives_log_odds, parse_forest
from stream_scorer.model.forest.lightgbm_model import LightGBMModel
from stream_scorer.model.forest.predictor import ForestPredictor
from trainer.fitting import fit_xgboost
from trainer.fitting.fit import Fitted, fit_model, make_dataset
from trainer.fitting.plan import LEARNERS, XGBOOST, ModelPlan, Plan, WrongUsageError

Floats = NDArray[np.float64]
NAMES = ("amount", "count", "noise")
PLAN = ModelPlan(
    trees=60, leaves=9, learning_rate=0.3, min_rows_in_leaf=5, feature_share=0.7, l2=1.0,
    early_stopping_trees=6,
)  # fmt: skip

both = pytest.mark.parametrize("learner", LEARNERS)


def make_rows(seed: int, rows: int = 1500) -> tuple[Floats, NDArray[np.int8]]:
    rng = np.random.default_rng(seed)
    matrix = np.column_stack(
        [rng.gamma(2, 50, rows), rng.integers(0, 9, rows), rng.normal(size=rows)]
    )
    labels = (matrix[:, 0] / 100 + matrix[:, 1] / 4 + rng.normal(0, 0.7, rows) > 3.5).astype(
        np.int8
    )
    matrix[rng.random(matrix.shape) < 0.1] = np.nan
    return matrix, labels


def fit(plan: ModelPlan, *, validates: bool = True, steps: list[int] | None = None) -> Fitted:
    train = make_dataset(*make_rows(1), NAMES, plan)
    validation = make_dataset(*make_rows(2), NAMES, plan, train) if validates else None
    return fit_model(train, validation, plan, (steps if steps is not None else []).append)


@both
def test_a_fitted_model_is_a_forest_that_ranks_new_rows(learner: str) -> None:
    steps: list[int] = []
    fitted = fit(replace(PLAN, learner=learner), steps=steps)
    assert feature_names_in(fitted.model_text) == NAMES
    assert gives_log_odds(fitted.model_text)
    assert 0 < fitted.trees < sum(steps) <= PLAN.trees  # stopped early, cut at the best
    matrix, labels = make_rows(3)
    raw = ForestPredictor(parse_forest(fitted.model_text)).raw(matrix)
    assert np.array_equal(raw, LightGBMModel(fitted.model_text).raw(matrix))
    frauds, others = raw[labels == 1], raw[labels == 0]
    assert (frauds[:, np.newaxis] > others).mean() > 0.85
    # The outputs are log-odds: their probabilities add up to about the number of frauds.
    assert (1 / (1 + np.exp(-raw))).sum() == pytest.approx(labels.sum(), rel=0.25)


@both
def test_gains_name_what_the_label_depends_on(learner: str) -> None:
    fitted = fit(replace(PLAN, learner=learner))
    assert list(fitted.gains)[2] == "noise"
    assert fitted.gains["noise"] < fitted.gains["amount"] / 2


@both
def test_early_stopping_does_not_choose_the_first_few_trees(learner: str) -> None:
    """On labels of pure chance the first trees look best."""
    plan = replace(PLAN, learner=learner, learning_rate=0.2, early_stopping_trees=3)
    matrix, _ = make_rows(1)
    chance = np.random.default_rng(5).integers(0, 2, len(matrix)).astype(np.int8)
    train = make_dataset(matrix, chance, NAMES, plan)
    validation = make_dataset(*make_rows(2), NAMES, plan, train)
    assert 15 <= fit_model(train, validation, plan, lambda _: None).trees < 25
    few = replace(plan, trees=4)
    assert fit_model(train, validation, few, lambda _: None).trees == 4


@both
def test_without_validation_rows_there_are_as_many_trees_as_planned(learner: str) -> None:
    steps: list[int] = []
    fitted = fit(replace(PLAN, learner=learner, trees=7), validates=False, steps=steps)
    assert fitted.trees == sum(steps) == 7
    assert fitted.model_text.count("\nTree=") == (8 if learner == XGBOOST else 7)


@both
@pytest.mark.parametrize("threads", [1, 2])
def test_same_rows_and_plan_give_the_same_model(learner: str, threads: int) -> None:
    plan = replace(PLAN, learner=learner, threads=threads)
    assert fit(plan).model_text == fit(plan).model_text
    assert fit(plan).model_text != fit(replace(plan, seed=8)).model_text


def test_plan_has_xgboosts_equivalents() -> None:
    fitted = fit(replace(PLAN, learner=XGBOOST, trees=1))
    rate = float(make_rows(1)[1].mean())
    options = fitted.parameters
    assert options["max_leaves"] == PLAN.leaves
    assert options["min_child_weight"] == pytest.approx(5 * rate * (1 - rate))
    assert fitted.model_text.count("leaf_value=") == 2
    assert len(fitted.model_text.rpartition("leaf_value=")[2].split("\n")[0].split()) == 9


def test_a_data_set_fits_every_size_of_leaf() -> None:
    train = make_dataset(*make_rows(1), NAMES, PLAN)
    leaves = [
        fit_model(train, None, replace(PLAN, trees=1, min_rows_in_leaf=rows), lambda _: None)
        for rows in (400, 1)
    ]
    few, many = (len(parse_forest(f.model_text).leaf_values) for f in leaves)
    assert few < many


def test_a_number_beyond_single_precision_is_named() -> None:
    matrix, labels = make_rows(1, 50)
    matrix[30, 1] = 1e39
    with pytest.raises(UsageError, match=r"count is 1e\+39 in one row: use --learner lightgbm"):
        make_dataset(matrix, labels, NAMES, replace(PLAN, learner=XGBOOST))


def test_tiny_numbers_are_trained_as_the_forest_reads_them() -> None:
    matrix, labels = make_rows(1, 200)
    matrix[:, 2] = np.where(labels == 1, 1e-36, -1e-36)  # would give the label away
    plan = replace(PLAN, learner=XGBOOST, trees=3, feature_share=1.0)
    fitted = fit_model(make_dataset(matrix, labels, NAMES, plan), None, plan, lambda _: None)
    assert fitted.gains["noise"] == 0.0


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(FatalError, match="needs the package xgboost-cpu"):
        make_dataset(*make_rows(1, 50), NAMES, replace(PLAN, learner=XGBOOST))


def test_refused_parameters_are_a_usage_error() -> None:
    plan = replace(PLAN, learner=XGBOOST, row_share=2.0)
    with pytest.raises(UsageError, match=r"XGBoost: [\s\S]*subsample"):
        fit(plan)
    with pytest.raises(WrongUsageError, match=r"--row-share 2.0 must be in \(0, 1\]"):
        Plan(model=plan).check()


def test_unknown_learner_is_refused() -> None:
    with pytest.raises(WrongUsageError, match="--learner catboost must be lightgbm or xgboost"):
        Plan(model=ModelPlan(learner="catboost")).check()


def test_parameters_are_fixed_by_the_plan_and_the_fraud_rate() -> None:
    assert fit_xgboost.parameters(PLAN, 0.1) == fit_xgboost.parameters(PLAN, 0.1)
    assert fit_xgboost.parameters(PLAN, 0.1)["nthread"] == PLAN.threads
