"""The search on rows: windows, time of scoring, pruning, deadline and interruption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest

from stream_scorer.features.builtin import IEEE_CIS, load_builtin
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.model.forest.predictor import ForestPredictor, Predictor, build_predictor
from tests.support.factories import make_batch, train_text
from tests.support.trainer.tuning_kit import FACTS, make_trial, open_study
from tests.support.training.history_kit import joined_rows, make_history_program, read_rows
from trainer.data.ingest import Part, ingest
from trainer.data.rows import join_rows
from trainer.data.source import SyntheticSource
from trainer.data.split import split_by_time
from trainer.evaluation.measures import average_precision, rank
from trainer.fitting.fit import fit_model, make_dataset
from trainer.fitting.fitted import Advance
from trainer.fitting.plan import LEARNERS, FeaturePlan, ModelPlan, Plan, SplitPlan
from trainer.history.burn_in import first_learned_row
from trainer.history.rows import compute_history, with_history
from trainer.tuning.cost import CostMeter, reference_forest
from trainer.tuning.folds import Fold, prepare_folds
from trainer.tuning.front import fastest_within, front
from trainer.tuning.objective import AfterFirst, Outcome, evaluate, precision_noise
from trainer.tuning.page import build_page
from trainer.tuning.search import Search, Step
from trainer.tuning.study import Study

SMALL = ModelPlan(trees=6, leaves=7, min_rows_in_leaf=10, learning_rate=0.3)


def nothing(_: int) -> None:
    pass


@cache
def make_rows() -> Part:
    return join_rows(ingest(SyntheticSource(3000, 3), nothing))


@cache
def folds(learner: str = "lightgbm") -> list[Fold]:
    plan = Plan(model=replace(SMALL, learner=learner))
    return prepare_folds(make_rows(), plan, load_builtin(IEEE_CIS), 2, nothing)


def test_folds_have_the_rows_of_their_windows() -> None:
    rows = make_rows()
    split = split_by_time(rows.batch.times, rows.labels, SplitPlan(folds=2))
    assert len(split.folds) == 2
    for fold, window in zip(folds(), split.folds, strict=True):
        assert fold.labels.tolist() == rows.labels[window.test].tolist()
        assert fold.batch.times.tolist() == rows.batch.times[window.test].tolist()
        assert fold.matrix.shape == (len(fold.labels), len(fold.features.names))
        assert fold.features.rows == window.train.stop - window.train.start


def test_folds_of_a_program_with_history_begin_after_the_burn_in() -> None:
    program = make_history_program()
    assert program.history is not None
    columns = compute_history(read_rows(), program.history, nothing).columns
    rows = with_history(joined_rows(), program, {program.history.fingerprint: columns})
    first = first_learned_row(rows.batch.times, program)
    split = split_by_time(rows.batch.times, rows.labels, SplitPlan(folds=2), first)
    made = prepare_folds(rows, Plan(model=SMALL), program, 2, nothing)
    for fold, window in zip(made, split.folds, strict=True):
        assert fold.features.rows == window.train.stop - first
        expected = columns.values[window.test]
        assert np.array_equal(fold.matrix[:, -expected.shape[1] :], expected, equal_nan=True)


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_trial_is_what_training_on_each_window_gives(learner: str) -> None:
    plan = replace(SMALL, learner=learner)
    firsts: list[float] = []
    outcome = evaluate(folds(learner), None, plan, lambda ap, _: firsts.append(ap), nothing)
    scores = []
    for fold in folds(learner):
        fitted = fit_model(fold.train, fold.validation, plan, nothing)
        scores.append(build_predictor(fitted.model_text).raw(fold.matrix))
    labels = np.concatenate([fold.labels for fold in folds(learner)])
    pooled = average_precision(rank(np.concatenate(scores), labels))
    assert outcome.average_precision == pooled
    assert firsts == [outcome.first_fold]
    assert outcome.first_fold == average_precision(rank(scores[0], folds(learner)[0].labels))
    assert outcome.trees == fitted.trees
    assert 1 < outcome.leaves <= 7
    assert 0 < outcome.columns < 60
    assert outcome.microseconds is None


def test_data_sets_that_are_used_again_give_the_same_model_as_new_ones() -> None:
    """Trials share data sets, with other parameters than those they were made for."""
    matrix = make_matrix()
    labels = (np.arange(len(matrix)) % 5 == 0).astype(np.int8)
    names = tuple(f"f{i}" for i in range(matrix.shape[1]))
    other = replace(SMALL, min_rows_in_leaf=3, leaves=20, feature_share=0.9)
    shared = make_dataset(matrix, labels, names, SMALL)
    fit_model(shared, None, SMALL, nothing)
    again = fit_model(shared, None, other, nothing)
    assert (
        again.model_text.partition("\nparameters:")[0]
        == (
            fit_model(make_dataset(matrix, labels, names, other), None, other, nothing)
        ).model_text.partition("\nparameters:")[0]
    )


@cache
def make_matrix() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.random.default_rng(1).normal(size=(300, 5))


class Ticks:
    """A clock that is advanced by hand, and that runs faster or slower."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slowness = 1.0

    def __call__(self) -> float:
        return self.now


class TimedForest:
    """A predictor that takes a known time."""

    def __init__(self, clock: Ticks, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    def raw(self, matrix: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> object:
        self._clock.now += self._seconds * self._clock.slowness
        return matrix


def test_time_of_scoring_does_not_depend_on_how_busy_the_machine_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Ticks()
    monkeypatch.setattr("trainer.tuning.cost.reference_forest", lambda _: TimedForest(clock, 0.002))
    batch = make_batch(200)
    features = FeatureSet.fit(batch, load_builtin(IEEE_CIS))
    meter = CostMeter(batch, features, clock=clock)
    assert meter.reference_microseconds == pytest.approx(10.0)  # 2 ms for 200 rows
    forest = TimedForest(clock, 0.005)
    assert meter.measure(features, forest) == pytest.approx(25.0)  # type: ignore[arg-type]
    clock.slowness = 7.0
    assert meter.measure(features, forest) == pytest.approx(25.0)  # type: ignore[arg-type]
    later = CostMeter(batch, features, microseconds=10.0, clock=clock)
    assert later.measure(features, forest) == pytest.approx(25.0)  # type: ignore[arg-type]


class Repeated:
    """Scores everything many times: work that no noise of the machine can hide."""

    def __init__(self, predictor: Predictor, times: int) -> None:
        self._predictor = predictor
        self._times = times

    def raw(self, matrix: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> object:
        return [self._predictor.raw(matrix) for _ in range(self._times)][-1]


def test_more_work_takes_longer() -> None:
    batch = make_batch(400)
    features = FeatureSet.fit(batch, load_builtin(IEEE_CIS))
    predictor = build_predictor(train_text(features.transform(batch), features.names, trees=50))
    meter = CostMeter(batch, features)
    little, much = (
        meter.measure(features, Repeated(predictor, times))  # type: ignore[arg-type]
        for times in (1, 200)
    )
    assert 0 < little < much


def test_the_reference_forest_is_always_the_same_and_splits_the_rows() -> None:
    first, again = (reference_forest(make_matrix()).raw(make_matrix()) for _ in range(2))
    assert np.array_equal(first, again)
    assert len(np.unique(first)) > 250
    assert isinstance(reference_forest(make_matrix()[:, :1]), ForestPredictor)


def run(search: Search, trials: int) -> list[Step]:
    return list(search.run(trials))


def make_search(study: Study, outcomes: Callable[[ModelPlan], Outcome]) -> Search:
    """A search whose trials are not trained."""

    def judge(plan: ModelPlan, after_first: AfterFirst, _: Advance) -> Outcome:
        outcome = outcomes(plan)
        after_first(outcome.first_fold, outcome.microseconds)
        return outcome

    return Search(study, judge)


def by_leaves(plan: ModelPlan) -> Outcome:
    precision = 0.5 - abs(plan.leaves - 40) / 1000
    return Outcome(precision, precision, plan.leaves / 10, plan.trees, plan.leaves, 3)


def test_search_runs_trials_prunes_some_and_keeps_the_best() -> None:
    study = open_study()
    search = make_search(study, by_leaves)
    steps = run(search, 25)
    assert [step.done for step in steps] == list(range(1, 26))
    pruned = sum(step.trial is None for step in steps)
    assert 0 < pruned < 20
    assert study.finished == 25
    assert len(study.trials) == 25 - pruned
    assert search.best is not None
    assert search.best.outcome.average_precision == max(
        trial.outcome.average_precision for trial in study.trials
    )


def test_an_interruption_keeps_the_finished_trials(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    calls = 0

    def interrupted(plan: ModelPlan) -> Outcome:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return by_leaves(plan)

    search = make_search(open_study(file), interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(search, 9)
    study = open_study(file)
    assert study.finished == 3
    assert make_search(study, by_leaves).study.default is not None
    assert len(run(make_search(study, by_leaves), 2)) == 2


def test_time_that_is_up_ends_the_running_trial_but_not_the_first() -> None:
    clock = Ticks()
    study = open_study()
    search = Search(study, partial(evaluate, folds(), None), deadline_seconds=100.0, clock=clock)
    trees = 0

    def advance() -> None:
        nonlocal trees
        trees += 1
        clock.now += 60

    steps = list(search.run(5, advance))
    assert len(steps) == 1  # the first trial ran to its end, after the deadline
    assert steps[0].seconds > 100
    clock.now, before = 0.0, trees
    search.deadline_seconds = 30.0
    assert list(search.run(5, advance)) == []
    assert trees == before + 1
    assert study.finished == 1


def test_noise_falls_with_the_number_of_frauds() -> None:
    assert precision_noise(500) == pytest.approx(0.02)
    assert precision_noise(2000) == pytest.approx(0.01)
    assert precision_noise(0) < 1


def test_the_front_is_what_no_trial_beats() -> None:
    trials = [
        make_trial(0, 0.50, 10.0),
        make_trial(1, 0.40, 5.0),
        make_trial(2, 0.40, 6.0),  # slower than 1, and no better
        make_trial(3, 0.55, 30.0),
        make_trial(4, 0.45, 12.0),  # slower and worse than 0
        make_trial(5, 0.50, 10.0),  # as 0
    ]
    assert [trial.number for trial in front(trials)] == [1, 0, 3]
    assert fastest_within(trials, 0.0).number == 3
    assert fastest_within(trials, 0.06).number == 0


def test_the_page_shows_every_trial_and_the_default_plan() -> None:
    trials = [make_trial(0, 0.5, 10.0), make_trial(1, 0.4, 5.0), make_trial(2, 0.3, 20.0)]
    page = build_page(trials, trials[0], "a <b>.csv", FeaturePlan())
    assert page.count("<circle") == 4  # the default plan twice
    assert "default plan, trial 1: 0.5000, 10.0 µs a row" in page
    assert "a &lt;b&gt;.csv" in page
    assert "<b>.csv" not in page
    assert page.count("<tr>") == 3  # the head and the front
    assert "--leaves 5<" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "synthetic data" not in page
    assert "synthetic data" in build_page(trials, trials[0], str(FACTS["source"]), FeaturePlan())


def test_a_page_of_one_trial_can_be_drawn() -> None:
    only = make_trial(0, 0.0, 0.0)
    assert "nan" not in build_page([only], only, "x.csv", FeaturePlan()).lower()
