"""The history of one partition, as requests and the thread that advances it share it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.model.store.history_era import Era
from stream_scorer.state.inputs import InputRows

STEP_ROWS: Final = 256
"""A step of this size holds the lock for about a millisecond, and requests wait no longer."""


class Stamp(NamedTuple):
    """Which state features were computed from: the one before ``offset``."""

    as_of: datetime
    offset: int


class LoadedPartition:
    """A history that requests read while one other thread advances it.

    A lock makes each read one of a single state. Copying the state instead would take tens of
    milliseconds and as much memory again, once a second; a step takes one millisecond.

    Args:
        partition: its number.
        era_id: the era that it is a history of.
        history: the state before ``offset``.
        offset: the next input.
        as_of: every input that was committed by then is in the state.
        stored_offset: of the snapshot that it was loaded from; -1 for the beginning of the era.
        dead_letter_offset: dead letters before this one are of no input from ``offset`` on, but
            for those in ``refused``; -1: the first that is left. The thread that advances it owns
            both.
    """

    def __init__(
        self,
        partition: int,
        era_id: str,
        history: PartitionHistory,
        offset: int,
        as_of: datetime,
        stored_offset: int,
        dead_letter_offset: int = -1,
    ) -> None:
        self.partition = partition
        self.era_id = era_id
        self.stored_offset = stored_offset
        self.dead_letter_offset = dead_letter_offset
        self.refused = np.empty(0, np.int64)
        self._history = history
        self._offset = offset
        self._as_of = as_of
        self._lock = threading.Lock()

    @property
    def as_of(self) -> datetime:
        """Every input that was committed by then is in the state."""
        return self._as_of

    @property
    def offset(self) -> int:
        """The next input."""
        return self._offset

    @property
    def nbytes(self) -> int:
        """Memory of the records."""
        return self._history.sizes().nbytes

    def peek(
        self, batch: TransactionBatch, rows: NDArray[np.int64], out: NDArray[np.float64]
    ) -> Stamp:
        """Write the features of some rows; see :meth:`PartitionHistory.peek`."""
        with self._lock:  # also against another reader: the kernel has scratch memory of its own
            self._history.peek(batch, rows, out)
            return Stamp(self._as_of, self._offset)

    def find(self, card: int) -> tuple[dict[str, NDArray[np.uint64]], Stamp]:
        """The records of a card, by key space."""
        with self._lock:
            return self._history.find(card), Stamp(self._as_of, self._offset)

    def advance(self, found: InputRows) -> None:
        """Advance by inputs that follow on the offset, in short steps."""
        n = len(found)
        out = np.empty((n, len(self._history.spec.names)))
        for first in range(0, n, STEP_ROWS):
            last = min(first + STEP_ROWS, n)
            rows = np.arange(first, last, dtype=np.int64)
            with self._lock:
                undo = self._history.step(found.batch, rows, found.advances, out)
                self._history.settle(undo)
                self._offset = int(found.offsets[last]) if last < n else found.next_offset

    def reach(self, offset: int, as_of: datetime) -> None:
        """Note that there are no further inputs before an offset that was committed at a time."""
        with self._lock:
            self._offset = offset
            self._as_of = as_of

    def check_sum(self) -> int:
        """See :meth:`PartitionHistory.check_sum`."""
        with self._lock:
            return self._history.check_sum()


@dataclass(frozen=True, slots=True)
class Missing:
    """A partition without a history, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class View:
    """The histories that requests use; each change makes a new view.

    Attributes:
        spec: of which history features.
        era: None until it is known.
        partitions: of the era.
    """

    spec: HistorySpec
    era: Era | None = None
    partitions: tuple[LoadedPartition | Missing, ...] = ()

    def loaded(self) -> list[LoadedPartition]:
        """The partitions that have a history."""
        return [one for one in self.partitions if isinstance(one, LoadedPartition)]

    def current(self) -> list[LoadedPartition]:
        """Those of them whose history is of this era."""
        era = self.era
        return [one for one in self.loaded() if era is not None and one.era_id == era.id]

    def with_partition(self, partition: int, one: LoadedPartition | Missing) -> View:
        """The same, but for one partition."""
        partitions = (*self.partitions[:partition], one, *self.partitions[partition + 1 :])
        return View(self.spec, self.era, partitions)
