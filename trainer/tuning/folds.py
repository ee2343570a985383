"""The rows of the search: windows in time, each binned once and used by every trial."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.program import Program
from trainer.data.rows import TrainingRows, join_rows, some_rows
from trainer.data.split import split_by_time
from trainer.fitting.fit import make_dataset
from trainer.fitting.fitted import Advance
from trainer.fitting.plan import Plan

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fold:
    """One window: binned rows to learn from and to stop at, and later rows to be judged on.

    ``batch``, ``matrix`` and ``labels`` are the later rows.
    """

    train: Any
    validation: Any
    features: FeatureSet
    batch: TransactionBatch
    matrix: NDArray[np.float64]
    labels: NDArray[np.int8]


def prepare_folds(
    rows: TrainingRows, plan: Plan, program: Program, folds: int, advance: Advance
) -> list[Fold]:
    """Fit the features on each window's training rows, and bin its rows for the learner.

    The windows are those of a training run. ``advance`` is called after each one. The transactions
    are freed.

    Raises:
        UsageError: the rows cannot be split, or the learner cannot read a value.
    """
    split = split_by_time(rows.times, rows.labels, replace(plan.split, folds=folds))
    for note in split.notes:  # such as fewer windows than asked for
        log.warning("%s", note)
    everything = join_rows(rows)
    prepared = []
    for fold in split.folds:
        train, stop, test = (some_rows(everything, part) for part in fold.parts)
        features, matrix = FeatureSet.fit_transform(train.batch, program)
        binned = make_dataset(matrix, train.labels, features.names, plan.model)
        del matrix
        validation = make_dataset(
            features.transform(stop.batch), stop.labels, features.names, plan.model, binned
        )
        later = features.transform(test.batch)
        prepared.append(Fold(binned, validation, features, test.batch, later, test.labels))
        advance(1)
    return prepared
