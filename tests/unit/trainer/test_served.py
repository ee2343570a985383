"""The model that is served: refit on all rows, or the last fold's as it is."""

from __future__ import annotations

import io
import logging
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from stream_scorer.features.builtin import IEEE_CIS, load_builtin
from tests.support.factories import make_batch
from trainer.data.ingest import Part
from trainer.data.split import Fold, Split, split_by_time
from trainer.evaluation.evaluate import candidate_bundle, score_all
from trainer.fitting.fit import Fitted, least_trees
from trainer.fitting.plan import ModelPlan, Plan, SplitPlan
from trainer.learning import Learned, Learning, TreeCount
from trainer.served import scaled_trees, score_by_trial_refits, train_served
from trainer.stages import Stages

ROWS = 600
PLAN = Plan(
    split=SplitPlan(folds=2, test_share=0.5),
    model=ModelPlan(trees=6, leaves=4, learning_rate=1.0, min_rows_in_leaf=5),
)


def make_learning(rows: Part, total: int = 18) -> Learning:
    return Learning(
        rows, load_builtin(IEEE_CIS), Stages(Console(file=io.StringIO())), TreeCount(total)
    )


def make_rows() -> Part:
    batch = make_batch(ROWS)
    rng = np.random.default_rng(0)
    risk = batch.numbers[:, 0] / 100 + rng.normal(0, 1, ROWS)
    return Part(batch, (risk > np.quantile(risk, 0.8)).astype(np.int8))


def learn_folds(learning: Learning, first: int = 0) -> tuple[Split, list[Learned]]:
    rows = learning.rows
    split = split_by_time(rows.batch.times, rows.labels, PLAN.split, first)
    return split, [learning.learn(f.train, f.validation, 6, PLAN.model) for f in split.folds]


def test_refit_learns_from_all_rows() -> None:
    learning = make_learning(make_rows())
    split, learned = learn_folds(learning)
    served = train_served(learning, split, learned, PLAN)
    rows = learning.rows
    expected = make_learning(rows).learn(slice(0, ROWS), None, served.facts["trees"], PLAN.model)
    assert served.learned.fitted.model_text == expected.fitted.model_text
    assert served.learned.features.rows == ROWS
    assert served.facts["rows"] == ROWS
    assert served.facts["window_seconds"] == [int(rows.batch.times[0]), int(rows.batch.times[-1])]
    assert served.facts["trees"] == scaled_trees(split.folds, learned, ROWS, 6)
    assert served.note is None
    assert learning.trees.done == learning.trees.total


def test_refit_leaves_out_the_rows_that_only_build_up_histories() -> None:
    learning = make_learning(make_rows())
    split, learned = learn_folds(learning, first=90)
    assert {fold.train.start for fold in split.folds} == {90}
    served = train_served(learning, split, learned, PLAN)
    times = learning.rows.batch.times
    assert served.facts["rows"] == served.learned.features.rows == ROWS - 90
    assert served.facts["window_seconds"] == [int(times[90]), int(times[-1])]
    assert served.facts["trees"] == scaled_trees(split.folds, learned, ROWS - 90, 6)
    unrefit = train_served(learning, split, learned, replace(PLAN, is_refit=False))
    assert unrefit.facts["rows"] == split.folds[-1].validation.stop - 90


def test_trial_refit_learns_from_all_rows_before_the_test_rows_as_many_trees_as_the_refit() -> None:
    learning = make_learning(make_rows(), 30)
    split, learned = learn_folds(learning, first=90)
    trees = scaled_trees(split.folds, learned, ROWS - 90, 6)
    scores = score_by_trial_refits(learning, split, learned, PLAN)
    assert scores is not None
    for fold, found in zip(split.folds, scores, strict=True):
        again = make_learning(learning.rows).learn(
            slice(90, fold.validation.stop), None, trees, PLAN.model
        )
        test = learning.rows.batch.take(fold.test)
        bundle = candidate_bundle(again.fitted.model_text, again.features)
        assert np.array_equal(found, score_all(test, bundle))
    train_served(learning, split, learned, PLAN)
    assert learning.trees.done == learning.trees.total
    without = replace(PLAN, is_refit=False)
    assert score_by_trial_refits(learning, split, learned, without) is None


def test_trial_refit_does_not_look_ahead() -> None:
    rows = make_rows()
    learning = make_learning(rows, 30)
    split, learned = learn_folds(learning)
    scores = score_by_trial_refits(learning, split, learned, PLAN)
    from_here = split.folds[-1].test.start
    changed, labels = rows.batch.numbers.copy(), rows.labels.copy()
    changed[from_here:] = 7.0
    labels[from_here - len(labels) // 10 :] ^= 1  # also of rows that the last fold's model scores
    other = make_learning(Part(replace(rows.batch, numbers=changed), labels), 30)
    again = score_by_trial_refits(other, split, learned, PLAN)
    assert scores is not None
    assert again is not None
    assert np.array_equal(scores[0], again[0])
    assert not np.array_equal(scores[1], again[1])


def test_without_refit_the_last_folds_model_is_served_and_what_it_misses_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    learning = make_learning(make_rows())
    split, learned = learn_folds(learning)
    with caplog.at_level(logging.WARNING):
        served = train_served(learning, split, learned, replace(PLAN, is_refit=False))
    assert served.learned is learned[-1]
    assert served.facts["is_refit"] is False
    seen = split.folds[-1].validation.stop
    assert served.facts["rows"] == seen
    assert served.facts["window_seconds"][1] == int(learning.rows.batch.times[seen - 1])
    assert f"has not seen the newest {ROWS - seen} of {ROWS} labelled rows" in caplog.text


def test_trees_are_scaled_to_the_rows_by_the_median_and_bounded() -> None:
    folds = [Fold(slice(0, n), slice(n, n + 10), slice(n + 10, n + 20)) for n in (400, 500, 800)]
    learned = [
        Learned(features=None, fitted=Fitted("", trees, {}))  # type: ignore[arg-type]
        for trees in (100, 10, 240)
    ]
    assert scaled_trees(folds, learned, 1000, 600) == 250  # of 250, 20 and 300
    assert scaled_trees(folds, learned, 1000, 200) == 200


def test_early_stopping_does_not_choose_the_first_few_trees() -> None:
    """On labels that nothing predicts, the best of many trees is often the first."""
    batch = make_batch(ROWS)
    for seed in range(3):
        labels = np.random.default_rng(seed).integers(0, 2, ROWS).astype(np.int8)
        plan = ModelPlan(trees=40, leaves=8, learning_rate=0.2, early_stopping_trees=5)
        learning = make_learning(Part(batch, labels), 40)
        learned = learning.learn(slice(0, 400), slice(400, 600), 40, plan)
        assert least_trees(plan) == 15
        assert 15 <= learned.fitted.trees <= 40
        assert learning.trees.done == learning.trees.total < 40


def test_features_are_fitted_on_the_training_rows_alone() -> None:
    rows = make_rows()
    learning = make_learning(rows)
    split, learned = learn_folds(learning)
    changed = rows.batch.numbers.copy()
    changed[split.folds[0].test.start :] = 7.0
    later = Part(replace(rows.batch, numbers=changed), rows.labels)
    again = make_learning(later)
    fold = split.folds[0]
    other = again.learn(fold.train, fold.validation, 6, PLAN.model)
    assert other.features.state() == learned[0].features.state()
    assert other.fitted.model_text == learned[0].fitted.model_text
