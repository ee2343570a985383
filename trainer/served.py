"""Trains the model that is served, after the evaluation: on all labelled rows, as a rule."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.rows import some_rows
from trainer.data.split import DAY_SECONDS, Fold, Split, window_facts
from trainer.evaluation.evaluate import candidate_bundle, score_all
from trainer.fitting.plan import Plan
from trainer.learning import Learned, Learning

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """The model to serve, and what it learned from.

    Attributes:
        learned: the model and its features.
        is_refit: whether it was trained on all rows, after the evaluation.
        facts: rows, frauds and window of what it learned from, for the metadata.
        note: what it costs not to refit; None after a refit.
    """

    learned: Learned
    is_refit: bool
    facts: dict[str, Any]
    note: str | None


def score_by_trial_refits(
    learning: Learning, split: Split, learned: Sequence[Learned], plan: Plan
) -> list[NDArray[np.float64]] | None:
    """Scores of each fold's test rows by a refit as it would have been before them.

    None without a refit. The model that is served has learned from more rows than the folds' models
    and has more trees, so its scores are spread wider: thresholds of the folds' scores flag more
    than they promise, and those of its own scores of rows that it has learned from flag hardly
    anything (docs/model.md has figures). So each fold learns once more, from all rows before its
    test rows, as many trees as the model that is served. The scores are not calibrated.
    """
    if not plan.is_refit:
        return None
    part, folds = learning.rows, split.folds
    trees = scaled_trees(folds, learned, len(part) - split.first, plan.model.trees)
    learning.trees.total = learning.trees.done + trees * (len(folds) + 1)
    scores = []
    for fold in folds:
        seen = slice(fold.train.start, fold.validation.stop)
        one = learning.learn(seen, None, trees, plan.model)
        with learning.stages.stage("score"):
            bundle = candidate_bundle(one.fitted.model_text, one.features)
            scores.append(score_all(some_rows(part, fold.test).batch, bundle))
    return scores


def train_served(
    learning: Learning, split: Split, learned: Sequence[Learned], plan: Plan
) -> Served:
    """Refit on all rows, with a number of trees scaled to them; or the last fold's model as it is.

    Rows that no fold learns from, because they only build up card histories, are left out here too.

    Raises:
        UsageError: the learner refuses the parameters.
    """
    part, folds = learning.rows, split.folds
    times, labels = part.batch.times, part.labels
    if plan.is_refit:
        seen = slice(split.first, len(part))
        trees = scaled_trees(folds, learned, len(part) - split.first, plan.model.trees)
        learning.trees.total = learning.trees.done + trees
        found, note = learning.learn(seen, None, trees, plan.model), None
    else:
        # Early stopping has looked at the validation rows: the model has learned until there.
        seen, found = slice(split.first, folds[-1].validation.stop), learned[-1]
        unseen = len(part) - seen.stop
        days = (int(times[-1]) - int(times[seen.stop - 1])) / DAY_SECONDS
        note = (
            f"not refit: the served model has not seen the newest {unseen:,} of {len(part):,} "
            f"labelled rows ({days:.1f} days)"
        )
        log.warning("%s", note)
    window = window_facts(seen, times, labels)
    facts = {
        "is_refit": plan.is_refit,
        "rows": window["rows"],
        "frauds": window["frauds"],
        "window_seconds": [window["first_seconds"], window["last_seconds"]],
        "trees": found.fitted.trees,
    }
    return Served(found, plan.is_refit, facts, note)


def scaled_trees(folds: Sequence[Fold], learned: Sequence[Learned], rows: int, most: int) -> int:
    """The number of trees for a refit on ``rows`` rows.

    More rows carry more trees: each fold's number is scaled by all rows to the rows that it learned
    from, and the median of the folds counts, because early stopping on few frauds is noisy. On five
    synthetic sets of 48,000 rows the average precision in the following period was .041 higher in
    the mean than without a refit; with the same trees and no factor .030, with the factor's square
    root .036. Scoring time grows with the trees, so ``most`` (``--trees``) bounds this number too.
    """
    scaled: list[float] = [
        one.fitted.trees * rows / (fold.train.stop - fold.train.start)
        for fold, one in zip(folds, learned, strict=True)
    ]
    return max(1, min(round(median(scaled)), most))
