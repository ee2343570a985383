"""Steps of a stream through one partition, some of them taken back and done again."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from stream_scorer.features.history.partition import PartitionHistory, Undo, records_sum
from stream_scorer.features.history.spec import HistorySpec
from tests.support.features.history_streams import Matrix, Numbers


class Replay:
    """Up to ``most_open`` steps are open, and the youngest is taken back first."""

    def __init__(
        self,
        spec: HistorySpec,
        batch: TransactionBatch,
        rows: NDArray[np.int64],
        advances: NDArray[np.bool_],
        out: Matrix,
        max_keys: int = 2**30,
        most_open: int = 3,
    ) -> None:
        self.history = PartitionHistory(spec, max_keys)
        self.most_open = most_open
        self.batch, self.rows, self.advances, self.out = batch, rows, advances, out
        self.spec = spec
        self.at = 0
        self.open: deque[tuple[Undo, int, int]] = deque()  # with position and check sum before it
        self.taken_back = 0

    def step(self, size: int) -> None:
        while len(self.open) >= self.most_open:
            self.settle()
        before = self.at, self.history.check_sum()
        rows = self.rows[self.at : self.at + size]
        self.open.append((self.history.step(self.batch, rows, self.advances, self.out), *before))
        self.at += len(rows)

    def rollback(self) -> None:
        if self.open:
            undo, self.at, check_sum = self.open.pop()
            self.history.rollback(undo)
            assert self.history.check_sum() == check_sum
            self.taken_back += 1

    def settle(self) -> None:
        if self.open:
            self.history.settle(self.open.popleft()[0])

    def check_copy(self) -> None:
        """What would be saved now is the state before the open steps."""
        committed = self.open[0][2] if self.open else self.history.check_sum()
        assert records_sum(self.spec, self.history.records()) == committed

    def run(self, draw: Numbers, largest: int) -> None:
        """Steps up to the end, about a quarter of which are taken back; some stay open."""
        while self.at < len(self.rows):
            self.step(1 + draw.below(largest))
            for _ in range(draw.below(1 + self.most_open) if draw.below(2) else 0):
                self.rollback()
            self.check_copy()

    def finish(self, size: int = 100) -> PartitionHistory:
        while self.at < len(self.rows):
            self.step(size)
        while self.open:
            self.settle()
        return self.history
