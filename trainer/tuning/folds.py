"""The rows of the search: windows in time, each binned once and used by every trial."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from stream_scorer.features.builtin import IEEE_CIS, load_builtin
from stream_scorer.features.feature_set import FeatureSet
from trainer.data.ingest import TrainingRows
from trainer.data.split import Split, split_by_time
from trainer.fitting.fit import make_dataset
from trainer.fitting.fitted import Advance
from trainer.fitting.plan import Plan, SplitPlan


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


def expanding_windows(
    times: NDArray[np.int64], labels: NDArray[np.int8], plan: SplitPlan, folds: int
) -> Iterator[Split]:
    """Windows that all begin with the first row; the test parts follow each other.

    Raises:
        UsageError: a part of a window would lack one class.
    """
    ordered = np.sort(times)
    for later in reversed(range(folds)):
        end = 1 - later * plan.test_share
        known = times <= ordered[max(0, int(len(times) * end) - 1)]
        shares = replace(
            plan, validation_share=plan.validation_share / end, test_share=plan.test_share / end
        )
        split = split_by_time(times[known], labels[known], shares)
        yield Split(
            _over_all(known, split.train),
            _over_all(known, split.validation),
            _over_all(known, split.test),
            split.gap_seconds,
        )


def prepare_folds(rows: TrainingRows, plan: Plan, folds: int, advance: Advance) -> list[Fold]:
    """Fit the features on each window's training rows, and bin its rows for the learner.

    ``advance`` is called after each window. The transactions are freed.

    Raises:
        UsageError: the rows cannot be split, or the learner cannot read a value.
    """
    prepared = []
    for split in expanding_windows(rows.times, rows.labels, plan.split, folds):
        train = rows.part(split.train)
        features, matrix = FeatureSet.fit_transform(train.batch, load_builtin(IEEE_CIS))
        binned = make_dataset(matrix, train.labels, features.names, plan.model)
        del matrix, train
        stop = rows.part(split.validation)
        validation = make_dataset(
            features.transform(stop.batch), stop.labels, features.names, plan.model, binned
        )
        test = rows.part(split.test)
        prepared.append(
            Fold(
                binned,
                validation,
                features,
                test.batch,
                features.transform(test.batch),
                test.labels,
            )
        )
        advance(1)
    rows.release()
    return prepared


def _over_all(known: NDArray[np.bool_], part: NDArray[np.bool_]) -> NDArray[np.bool_]:
    mask = np.zeros(len(known), np.bool_)
    mask[known] = part
    return mask
