"""Fits a small model on some columns of a matrix, and scores later rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from threading import Event, Lock
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import UsageError
from stream_scorer.runtime.openmp import load_openmp
from trainer.evaluation.measures import average_precision, rank
from trainer.fitting.fit_lightgbm import parameters
from trainer.fitting.plan import ModelPlan

SAMPLED_ROWS: Final = 50_000
"""From which the bins are made; LightGBM copies the sample twice."""

_BLOCK_ROWS: Final = 20_000
"""As many rows of a variant's columns are copied at a time."""


class Stopped(Exception):
    """The ablation was interrupted."""


@dataclass(frozen=True, slots=True)
class Rows:
    """One matrix for all variants of a program, float64 ``[n, features]``, with labels."""

    matrix: NDArray[np.float64]
    labels: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Fitter:
    """Fits variants; threads may share it.

    Bins of one fit are made at a time, and in blocks of rows, so that the memory is that of the
    matrix and, for each fit, one byte a value.
    """

    train: Rows
    test: Rows
    stop: Event = field(default_factory=Event)
    _binning: Lock = field(default_factory=Lock)

    def average_precision(self, columns: Sequence[int], plan: ModelPlan) -> float:
        """Of a model of exactly ``plan.trees`` trees on the test rows.

        Raises:
            Stopped: ``stop`` was set.
            UsageError: LightGBM refuses the parameters.
        """
        scores = self._fit(np.array(columns, np.intp), plan)
        return average_precision(rank(scores, self.test.labels))

    def _fit(self, columns: NDArray[np.intp], plan: ModelPlan) -> NDArray[np.float64]:
        load_openmp()
        import lightgbm

        def tick(_: Any) -> None:
            self._check()

        options = {**parameters(plan), "bin_construct_sample_cnt": SAMPLED_ROWS}
        try:
            with self._binning:
                self._check()
                rows = _sequence_class()(self.train.matrix, columns)
                dataset = lightgbm.Dataset(rows, label=self.train.labels, params=options)
                dataset.construct()
            booster = lightgbm.train(options, dataset, plan.trees, callbacks=[tick])
        except lightgbm.basic.LightGBMError as error:
            raise UsageError(f"LightGBM: {error}") from error
        scores = np.empty(len(self.test.labels))
        for start in range(0, len(scores), _BLOCK_ROWS):
            block = self.test.matrix[start : start + _BLOCK_ROWS, columns]
            scores[start : start + len(block)] = booster.predict(
                block, raw_score=True, num_threads=plan.threads
            )
        return scores

    def _check(self) -> None:
        if self.stop.is_set():
            raise Stopped


@cache
def _sequence_class() -> Any:
    """Some columns of a matrix for LightGBM, which takes them row by row or in slices.

    There is one class: a class for each matrix would keep it in memory, because classes are freed
    late.
    """
    import lightgbm

    class Columns(lightgbm.Sequence):  # type: ignore[misc]
        batch_size = 4096

        def __init__(self, matrix: NDArray[np.float64], columns: NDArray[np.intp]) -> None:
            self._matrix = matrix
            self._columns = columns

        def __len__(self) -> int:
            return len(self._matrix)

        def __getitem__(self, rows: Any) -> NDArray[np.float64]:
            found: NDArray[np.float64] = self._matrix[rows][..., self._columns]
            return found

    return Columns
