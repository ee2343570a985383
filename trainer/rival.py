"""The champion's scores for rows that it has not learned from, to compare a candidate with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.model.bundle import Bundle
from trainer.data.ingest import Part
from trainer.data.rows import some_rows
from trainer.data.split import Fold, Split
from trainer.evaluation.evaluate import candidate_bundle, score_all
from trainer.fitting.plan import ModelPlan, Plan
from trainer.history.burn_in import first_learned_row
from trainer.learning import Learning


@dataclass(frozen=True, slots=True)
class Paired:
    """Two models' scores of the same rows, float64 ``[n]``; neither model learned from them."""

    rows: Part
    candidate: NDArray[np.float64]
    champion: NDArray[np.float64]


def learned_until(metadata: Mapping[str, Any]) -> int | None:
    """The time, in seconds, of the last row that a version learned from; None if it is unknown.

    Earlier releases trained on one part of the rows, and chose trees and thresholds on the next.
    """
    window = _path(metadata, "served", "window_seconds")
    if isinstance(window, list) and len(window) == 2:
        last = window[1]
    else:
        last = _path(metadata, "training", "split", "validation", "last_seconds")
    return last if isinstance(last, int) else None


def pair_with_champion(
    learning: Learning,
    split: Split,
    scores: NDArray[np.float64],
    champion: Bundle | None,
    plan: Plan,
) -> tuple[Paired | None, tuple[str, ...]]:
    """Scores to compare, and notes for people; None if there is no fair comparison.

    A champion has usually learned from most of the test rows, and would look better on them than it
    is. So it is compared on later rows alone, if they have enough frauds. Else a model is trained
    by the champion's recipe on the rows of the last fold, and compared on its test rows. If the
    recipe is not known, it is compared on all test rows, which favours the champion.

    Args:
        learning: trains a model; has the history columns that the champion needs.
        split: the folds.
        scores: the candidate's scores of all test rows, by the models of the folds.
        champion: None if there is none, or if this code cannot load it.
        plan: the candidate's plan.
    """
    if champion is None:
        return None, ()
    program = champion.features.program
    theirs = learning.with_program(program)  # with the champion's card history, or without any
    rows = theirs.rows
    paired, why = pair_on_later_rows(rows, split.test, scores, champion, plan)
    if paired is not None:
        return paired, (why,)
    recipe = _recipe(champion.metadata, plan)
    if recipe is None:
        paired, note = pair_on_all_rows(rows, split.test, scores, champion, plan, why)
        return paired, (f"{note}; its recipe is not known",)
    fold = split.folds[-1]
    part = some_rows(rows, fold.test)
    ours = scores[fold.test.start - split.test.start :]
    if recipe == plan.model and program == learning.program:
        note = f"{why}; its recipe is the candidate's, so the two are the same model on equal rows"
        return Paired(part, ours, ours), (note,)
    note = f"{why}; compared with a model trained by its recipe on the rows of the last fold"
    return Paired(part, ours, _scores_by_recipe(theirs, fold, part, recipe)), (note,)


def pair_on_later_rows(
    rows: Part, test: slice, scores: NDArray[np.float64], champion: Bundle, plan: Plan
) -> tuple[Paired | None, str]:
    """Scores of the test rows that are later than all that the champion learned from.

    None if these rows have too few frauds. The text says which rows they are, or why there are
    none.
    """
    version, until = champion.version, learned_until(champion.metadata)
    if until is None:  # such as a version that was imported
        return None, f"it is not known which rows {version} learned from"
    later = _later_rows(rows, test, until)
    frauds = int(rows.labels[later].sum())
    if not plan.gate.min_frauds <= frauds < len(rows.labels[later]):
        return None, (
            f"{version} has learned from most test rows: {frauds:,} test frauds are later, "
            f"and a comparison needs {plan.gate.min_frauds}"
        )
    part = some_rows(rows, later)
    ours = scores[later.start - test.start :]
    note = f"compared on the {len(part):,} test rows that are later than all that {version} saw"
    return Paired(part, ours, score_all(part.batch, champion)), note


def pair_on_all_rows(
    rows: Part,
    test: slice,
    scores: NDArray[np.float64],
    champion: Bundle,
    plan: Plan,
    why: str,
) -> tuple[Paired | None, str]:
    """Scores of all test rows, where there are no rows that the champion has surely not seen.

    That favours the champion: a candidate that passes is at least as good, and one that does not
    can only be promoted by force. None if the rows have too few frauds. ``why`` says why there are
    no fairer rows.
    """
    part = some_rows(rows, test)
    if not plan.gate.min_frauds <= int(part.labels.sum()) < len(part):
        return None, f"not compared with {champion.version}: {why}"
    note = f"{why}; compared on all test rows, which favours {champion.version}"
    return Paired(part, scores, score_all(part.batch, champion)), note


def _later_rows(rows: Part, test: slice, until: int) -> slice:
    """The test rows after a time."""
    first = int(np.searchsorted(rows.batch.times, until, side="right"))
    return slice(max(test.start, first), test.stop)


def _recipe(metadata: Mapping[str, Any], plan: Plan) -> ModelPlan | None:
    """The parameters that a version was trained with; they include the random seed."""
    return ModelPlan.from_facts(_path(metadata, "parameters", "model"), plan.model.threads)


def _scores_by_recipe(
    learning: Learning, fold: Fold, test: Part, recipe: ModelPlan
) -> NDArray[np.float64]:
    trees = replace(learning.trees, total=learning.trees.done + recipe.trees)
    again = replace(learning, trees=trees)
    # The recipe's program says whether the first rows are learned from, not the candidate's.
    first = first_learned_row(learning.rows.batch.times, learning.program)
    train = slice(min(first, fold.train.stop - 1), fold.train.stop)
    learned = again.learn(train, fold.validation, recipe.trees, recipe)
    return score_all(test.batch, candidate_bundle(learned.fitted.model_text, learned.features))


def _path(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
