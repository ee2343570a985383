"""Which scores of the champion a candidate is compared with."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from stream_scorer.features.builtin import load_builtin
from stream_scorer.features.program import Program
from stream_scorer.model.bundle import Bundle
from tests.support.factories import make_batch, make_bundle
from tests.support.training.history_kit import CARD, make_history_program
from trainer.data.ingest import Part, TrainingRows
from trainer.data.rows import some_rows
from trainer.data.split import Split, split_by_time
from trainer.evaluation.evaluate import candidate_bundle, score_all
from trainer.fitting.plan import GatePlan, ModelPlan, Plan, SplitPlan
from trainer.history.burn_in import first_learned_row
from trainer.history.rows import compute_history
from trainer.learning import Learning, TreeCount
from trainer.rival import learned_until, pair_with_champion
from trainer.stages import Stages

HISTORY, CARD_ALONE = make_history_program(), make_history_program(CARD)
ROWS = 600
MIN_FRAUDS = GatePlan().min_frauds
MODEL = ModelPlan(trees=4, leaves=4, learning_rate=0.5, min_rows_in_leaf=5)
PLAN = Plan(split=SplitPlan(folds=2, test_share=0.5), model=MODEL)


def make_learning() -> Learning:
    labels = (np.arange(ROWS) % 4 == 0).astype(np.int8)
    stages = Stages(Console(file=io.StringIO()))
    return Learning(
        Part(make_batch(ROWS), labels), make_bundle("v7").features.program, stages, TreeCount(100)
    )


def make_history_learning(program: Program) -> Learning:
    """Rows of few cards with the histories of two specs, of which the program has one or none."""
    plain = make_learning()
    batch = plain.rows.batch
    rows = TrainingRows([batch], plain.rows.labels, batch.times, {})
    histories = {}
    for one in (HISTORY, CARD_ALONE):
        assert one.history is not None
        found = compute_history(rows, one.history, lambda _: None)
        histories[one.history.fingerprint] = found.columns
    learning = replace(plain, histories=histories)
    return learning.with_program(program)


def trained(learning: Learning, split: Split) -> Bundle:
    """A champion with the learning's program, trained on the last fold."""
    fold = split.folds[-1]
    learned = learning.learn(fold.train, fold.validation, MODEL.trees, MODEL)
    return replace(candidate_bundle(learned.fitted.model_text, learned.features), version="v7")


def champion_with(**metadata: Any) -> Bundle:
    return replace(make_bundle("v7"), metadata=metadata)


def until(learning: Learning, row: int) -> dict[str, Any]:
    times = learning.rows.batch.times
    return {"served": {"window_seconds": [int(times[0]), int(times[row])]}}


def split_of(learning: Learning) -> Split:
    return split_by_time(learning.rows.batch.times, learning.rows.labels, PLAN.split)


def scores_of(split: Split) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = np.random.default_rng(0).random(
        split.test.stop - split.test.start
    )
    return scores


def recipe(plan: ModelPlan) -> dict[str, Any]:
    return {"parameters": {"model": Plan(model=plan).facts()["model"]}}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"served": {"window_seconds": [1, 500]}}, 500),
        ({"training": {"split": {"validation": {"last_seconds": 70}}}}, 70),
        ({"served": {"window_seconds": "no"}}, None),
        ({"served": {"window_seconds": [1, "x"]}}, None),
        ({"training": {"split": []}}, None),
        ({}, None),
    ],
)
def test_last_row_that_a_version_saw(metadata: Mapping[str, Any], expected: int | None) -> None:
    assert learned_until(metadata) == expected


def test_later_rows_are_compared_when_they_have_enough_frauds() -> None:
    learning = make_learning()
    split = split_of(learning)
    scores = scores_of(split)
    last = ROWS - 4 * MIN_FRAUDS - 1  # every fourth row is a fraud
    champion = champion_with(**until(learning, last))
    paired, notes = pair_with_champion(learning, split, scores, champion, PLAN)
    assert paired is not None
    assert len(paired.rows) == 4 * MIN_FRAUDS
    assert paired.rows.labels.sum() == MIN_FRAUDS
    assert paired.rows.batch.times.min() > learning.rows.batch.times[last]
    assert np.array_equal(paired.candidate, scores[-4 * MIN_FRAUDS :])
    assert np.array_equal(paired.champion, score_all(paired.rows.batch, champion))
    assert "later than all that v7 saw" in notes[0]


def test_a_champion_older_than_all_test_rows_is_compared_on_all_of_them() -> None:
    learning = make_learning()
    split = split_of(learning)
    champion = champion_with(**until(learning, 10))
    paired, _ = pair_with_champion(learning, split, scores_of(split), champion, PLAN)
    assert paired is not None
    assert len(paired.rows) == split.test.stop - split.test.start


def test_equal_recipe_is_the_same_model() -> None:
    learning = make_learning()
    split = split_of(learning)
    champion = champion_with(**until(learning, ROWS - 1), **recipe(MODEL))
    paired, notes = pair_with_champion(learning, split, scores_of(split), champion, PLAN)
    assert paired is not None
    assert np.array_equal(paired.candidate, paired.champion)
    assert len(paired.rows) == split.folds[-1].test.stop - split.folds[-1].test.start
    assert "v7 has learned from most test rows: 0 test frauds are later" in notes[0]
    assert learning.stages.measured == {}


def test_other_recipe_is_trained_on_the_rows_of_the_last_fold() -> None:
    learning = make_learning()
    split = split_of(learning)
    other = replace(MODEL, leaves=3, seed=9)
    champion = champion_with(**until(learning, ROWS - 30), **recipe(other))
    paired, notes = pair_with_champion(learning, split, scores_of(split), champion, PLAN)
    assert paired is not None
    fold = split.folds[-1]
    again = make_learning().learn(fold.train, fold.validation, other.trees, other)
    bundle = candidate_bundle(again.fitted.model_text, again.features)
    assert np.array_equal(paired.champion, score_all(paired.rows.batch, bundle))
    assert len(paired.rows) == fold.test.stop - fold.test.start
    assert not np.array_equal(paired.candidate, paired.champion)
    assert "trained by its recipe" in notes[0]


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"model": None},
        {"model": {"trees": "many"}},
        {"model": {"depth": 6}},
        {"model": {"trees": 0}},
        {"model": {"learning_rate": True}},
    ],
)
def test_unknown_recipe_is_compared_on_all_test_rows(parameters: dict[str, Any]) -> None:
    learning = make_learning()
    split = split_of(learning)
    champion = champion_with(parameters=parameters)
    scores = scores_of(split)
    paired, notes = pair_with_champion(learning, split, scores, champion, PLAN)
    assert paired is not None
    assert len(paired.rows) == len(scores)
    assert np.array_equal(paired.candidate, scores)
    assert np.array_equal(paired.champion, score_all(paired.rows.batch, champion))
    (note,) = notes
    assert note == (
        "it is not known which rows v7 learned from; compared on all test rows, which favours v7; "
        "its recipe is not known"
    )


@pytest.mark.parametrize("champions", [HISTORY, CARD_ALONE, load_builtin("raw/1")])
def test_each_model_is_scored_with_the_history_that_it_needs(champions: Program) -> None:
    learning = make_history_learning(HISTORY)
    split = split_of(learning)
    theirs = learning.with_program(champions)
    champion = trained(theirs, split)
    champion = replace(champion, metadata=until(learning, 10))
    paired, _ = pair_with_champion(learning, split, scores_of(split), champion, PLAN)
    assert paired is not None
    expected = score_all(some_rows(theirs.rows, split.test).batch, champion)
    assert np.array_equal(paired.champion, expected)
    if champions.history is not None:
        without = replace(theirs.rows.batch.take(split.test), history=None)
        assert not np.array_equal(score_all(without, champion), expected)


def test_candidate_without_history_meets_a_champion_with_one() -> None:
    learning = make_history_learning(load_builtin("raw/1"))
    assert learning.rows.batch.history is None
    split = split_of(learning)
    champion = trained(learning.with_program(HISTORY), split)
    champion = replace(champion, metadata={})
    paired, _ = pair_with_champion(learning, split, scores_of(split), champion, PLAN)
    assert paired is not None
    assert paired.rows.batch.history is not None


@pytest.mark.parametrize(
    ("candidate", "champions", "start"),
    [(HISTORY, load_builtin("raw/1"), 0), (load_builtin("raw/1"), HISTORY, 60)],
)
def test_a_recipe_has_the_burn_in_of_its_own_program(
    candidate: Program, champions: Program, start: int
) -> None:
    learning = make_history_learning(candidate)
    times = learning.rows.batch.times
    first = first_learned_row(times, candidate)
    assert {first, start} == {0, 60}
    split = split_by_time(times, learning.rows.labels, PLAN.split, first)
    theirs = learning.with_program(champions)
    other = replace(MODEL, leaves=3, seed=9)
    champion = replace(
        trained(theirs, split), metadata={**until(learning, ROWS - 30), **recipe(other)}
    )
    paired, notes = pair_with_champion(learning, split, scores_of(split), champion, PLAN)
    assert paired is not None
    assert "trained by its recipe" in notes[0]
    fold = split.folds[-1]
    again = theirs.learn(slice(start, fold.train.stop), fold.validation, other.trees, other)
    bundle = candidate_bundle(again.fitted.model_text, again.features)
    expected = score_all(some_rows(theirs.rows, fold.test).batch, bundle)
    assert np.array_equal(paired.champion, expected)


def test_recipe_survives_the_metadata() -> None:
    import json

    plan = ModelPlan(trees=17, l2=2.5, early_stopping_trees=9, threads=3)
    facts = json.loads(json.dumps(Plan(model=plan).facts()))["model"]
    assert facts["patience_trees"] == 9
    assert ModelPlan.from_facts(facts, threads=1) == replace(plan, threads=1)
