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
from trainer.data.rows import Part, some_rows
from trainer.data.split import split_by_time
from trainer.fitting.fit import make_dataset
from trainer.fitting.fitted import Advance
from trainer.fitting.plan import Plan
from trainer.history.burn_in import first_learned_row, log_burn_in

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
    rows: Part, plan: Plan, program: Program, folds: int, advance: Advance
) -> list[Fold]:
    """Fit the features on each window's training rows, and bin its rows for the learner.

    The windows are those of a training run. ``advance`` is called after each one. ``rows`` have the
    card history that the program needs.

    Raises:
        UsageError: the rows cannot be split, or the learner cannot read a value.
    """
    times = rows.batch.times
    first = first_learned_row(times, program)
    split = split_by_time(times, rows.labels, replace(plan.split, folds=folds), first)
    for note in split.notes:  # such as fewer windows than asked for
        log.warning("%s", note)
    if program.history is not None:
        log_burn_in(times, first)
    prepared = []
    for fold in split.folds:
        train, stop, test = (some_rows(rows, part) for part in fold.parts)
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
