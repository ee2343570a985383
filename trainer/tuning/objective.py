"""What one trial is worth: average precision on later rows, and the time of scoring."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stream_scorer.model.forest.model_text import read_model
from stream_scorer.model.forest.predictor import build_predictor
from trainer.evaluation.measures import average_precision, rank
from trainer.fitting.fit import fit_model
from trainer.fitting.fitted import Advance
from trainer.fitting.plan import ModelPlan
from trainer.tuning.cost import CostMeter
from trainer.tuning.folds import Fold


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures of a plan.

    Attributes:
        average_precision: of the later rows of all windows together.
        first_fold: of the first window alone.
        microseconds: the time of scoring a row; None if it was not measured.
        trees, leaves, columns: of the last window's forest: trees that are used, leaves of a tree
            on average, and features that a tree splits on.
    """

    average_precision: float
    first_fold: float
    microseconds: float | None
    trees: int
    leaves: float
    columns: int


def precision_noise(frauds: int) -> float:
    """About the standard error of an average precision on rows with this many frauds.

    It is about .02 for 500 frauds of the synthetic rows, and falls with the square root.
    """
    return 0.02 * math.sqrt(500 / max(frauds, 1))


AfterFirst = Callable[[float, float | None], None]
"""Called with the first window's average precision and time; may raise to end the trial."""


def evaluate(
    folds: Sequence[Fold],
    meter: CostMeter | None,
    plan: ModelPlan,
    after_first: AfterFirst,
    advance: Advance,
) -> Outcome:
    """Train a plan on each window, and judge it on the window's later rows.

    Without ``meter`` the time of scoring is not measured.

    Raises:
        UsageError: the learner refuses the plan.
    """
    scores = []
    first, cost = float("nan"), None
    for number, fold in enumerate(folds):
        fitted = fit_model(fold.train, fold.validation, plan, advance)
        predictor = build_predictor(fitted.model_text)
        scores.append(predictor.raw(fold.matrix))
        is_last = number == len(folds) - 1
        if meter is not None and (number == 0 or is_last):
            cost = meter.measure(fold.features, predictor)
        if number == 0:
            first = average_precision(rank(scores[0], fold.labels))
            after_first(first, cost)
    forest = read_model(fitted.model_text)
    labels = np.concatenate([fold.labels for fold in folds])
    sizes = [len(tree.leaf) for tree in forest.trees if len(tree.leaf) > 1]
    used = np.unique(np.concatenate([tree.feature for tree in forest.trees]))
    return Outcome(
        average_precision(rank(np.concatenate(scores), labels)),
        first,
        cost,
        fitted.trees,
        float(np.mean(sizes)) if sizes else 1.0,
        len(used),
    )
