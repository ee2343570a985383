"""How long scoring takes: measured beside a fixed forest, so that the machine's noise cancels."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.model.forest.forest import parse_forest
from stream_scorer.model.forest.layout import MISSING_NAN
from stream_scorer.model.forest.model_text import LOG_ODDS, ModelText, TreeText, checked_text
from stream_scorer.model.forest.predictor import ForestPredictor, Predictor

BATCH_ROWS: Final = 2_000
"""As many as a busy scorer takes at once."""

_ROUNDS: Final = 9  # pairs of one measurement; their median ignores an interruption
_FIRST_ROUNDS: Final = 25  # of the reference alone; their minimum is its undisturbed time
_TREES: Final = 200
_DEPTH: Final = 5
_SEED: Final = 20
_DECISION: Final = MISSING_NAN << 2

Clock = Callable[[], float]


class CostMeter:
    """Measures models on one batch, in microseconds a row.

    Each measurement alternates with the reference forest, and the ratio of the two is multiplied
    with the reference's undisturbed time. So measurements of a busy and of a quiet hour agree. The
    clock is this thread's processor time: scoring uses one thread, and other processes may run.
    ``microseconds`` is the reference's time from an earlier run on this machine, if there is one.
    """

    def __init__(
        self,
        batch: TransactionBatch,
        features: FeatureSet,
        microseconds: float | None = None,
        clock: Clock = time.thread_time,
    ) -> None:
        self._batch = batch.take(slice(0, BATCH_ROWS))
        self._clock = clock
        self._matrix = features.transform(self._batch)
        self._reference = reference_forest(self._matrix)
        self._run_reference()  # compiles the loops
        if microseconds is None:
            microseconds = min(self._run_reference() for _ in range(_FIRST_ROUNDS)) * 1e6
            microseconds /= len(self._batch)
        self.reference_microseconds = microseconds

    def measure(self, features: FeatureSet, predictor: Predictor) -> float:
        """The time of features and raw scores, in microseconds a row."""
        ratios = []
        self._run(features, predictor)  # fills the processor's caches
        for _ in range(_ROUNDS):
            before = self._run_reference()
            ratios.append(self._run(features, predictor) / (before + self._run_reference()) * 2)
        return float(np.median(ratios)) * self.reference_microseconds

    def _run(self, features: FeatureSet, predictor: Predictor) -> float:
        started = self._clock()
        predictor.raw(features.transform(self._batch))
        return self._clock() - started

    def _run_reference(self) -> float:
        started = self._clock()
        self._reference.raw(self._matrix)
        return self._clock() - started


def reference_forest(matrix: NDArray[np.float64]) -> ForestPredictor:
    """200 complete trees of 32 leaves that split the given rows, always the same ones."""
    rng = np.random.default_rng(_SEED)
    width = matrix.shape[1]
    usual = np.nan_to_num(matrix, nan=0.0)
    nodes = np.arange(2**_DEPTH - 1)
    children = [2 * nodes + 1, 2 * nodes + 2]
    left, right = (np.where(c < len(nodes), c, ~(c - len(nodes))) for c in children)
    zeros, none = np.zeros(len(nodes), np.int64), np.empty(0, np.int64)
    trees = []
    for _ in range(_TREES):
        feature = rng.integers(0, width, len(nodes))
        row = rng.integers(0, len(matrix), len(nodes))
        leaf = rng.normal(0, 0.01, len(nodes) + 1)
        trees.append(
            TreeText(
                feature,
                usual[row, feature],
                np.full(len(nodes), _DECISION, np.int64),
                left,
                right,
                leaf,
                np.zeros(len(nodes)),
                np.ones(len(leaf), np.int64),
                zeros,
                none,
                none,
                is_linear=False,
            )
        )
    names = [f"f{i}" for i in range(width)]
    text = checked_text(ModelText(width, 1, LOG_ODDS[0], False, tuple(trees)), names)
    return ForestPredictor(parse_forest(text))
