"""The histories of the partitions of one member, and what a batch does to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.batch import HistoryColumns, TransactionBatch
from stream_scorer.errors import RetryableError
from stream_scorer.features.history.partition import PartitionHistory, Undo
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.model.store.history_era import Era
from stream_scorer.state.marks import history_mark
from stream_scorer.state.placement import count_misplaced
from stream_scorer.state.restore import PartitionState


class PolledRecords(Protocol):
    """The records of one poll; those of each partition are in offset order."""

    @property
    def partitions(self) -> NDArray[np.int32]:
        """The partition of each record."""
        ...

    def first_offsets(self) -> dict[int, int]:
        """Partition → the first offset in the batch."""
        ...

    def next_offsets(self) -> dict[int, int]:
        """Partition → the offset to commit."""
        ...


@dataclass(slots=True)
class OwnedState:
    """The state of a partition that is assigned, and what counts as its owner.

    Attributes:
        state: at the committed offset once no step is open.
        assignment: the assignment that it was restored for; another one needs another state.
        head: the next offset that a step may begin with.
        attached: when it was restored.
        dead_letter_end: where the dead letters ended when that was last asked.
        asked_at: the committed offset when the loop got to know that.
        is_dropped: the partition has left. Open steps end without an effect.
    """

    state: PartitionState
    assignment: int
    head: int
    attached: datetime = field(default_factory=lambda: datetime.now(UTC))
    dead_letter_end: int | None = None
    asked_at: int = 0
    is_dropped: bool = False

    @property
    def debt(self) -> int:
        """Offsets that a successor would have to replay."""
        return self.state.offset - self.state.snapshot_offset

    def learn_dead_letter_end(self, end: int) -> None:
        """The dead letters of the partition ended at ``end`` a moment ago."""
        self.dead_letter_end, self.asked_at = end, self.state.offset

    def commit(self, offset: int) -> None:
        """Inputs up to an offset were committed.

        So this member was the owner until now: no dead letter of an input from the offset on was
        written before, and none can be before an end that was known before. A former owner commits
        nothing any more; what it asks later is where its successor's dead letters end.
        """
        self.state.offset = offset
        if self.dead_letter_end is not None and offset > self.asked_at:
            self.state.dead_letter_offset = self.dead_letter_end
            self.dead_letter_end = None

    def snapshot_age(self, now: datetime) -> float:
        """Seconds since the newest snapshot was written; without one, since the restore."""
        since = self.state.snapshot_at or self.attached
        return max(0.0, (now - since).total_seconds())


class _Part(NamedTuple):
    """What a step did to one partition; without ``undo`` none of its records advanced."""

    owned: OwnedState
    undo: Undo | None
    head_before: int
    head_after: int


@dataclass(frozen=True, slots=True)
class BatchStep:
    """An open step: the features of a batch, the marks of the state after it, and the way back."""

    columns: HistoryColumns
    marks: Mapping[int, Mapping[str, str]]
    misplaced: int
    _parts: tuple[_Part, ...]

    def roll_back(self) -> None:
        """Restore the states as they were before this step, which is the youngest open one."""
        _roll_back(self._parts)

    def commit(self) -> None:
        """The batch was committed; this step is the oldest open one."""
        for owned, undo, _, head_after in self._parts:
            if not owned.is_dropped:
                owned.commit(head_after)
                if undo is not None:
                    owned.state.history.settle(undo)


class Counts(NamedTuple):
    """Rows of committed batches by what was special about them, and removed records."""

    late: int = 0
    future: int = 0
    repeats: int = 0
    misplaced: int = 0
    expired: int = 0
    evicted: int = 0

    def __add__(self, other: object) -> Counts:
        """The sum of each count."""
        if not isinstance(other, Counts):
            return NotImplemented
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))

    def minus(self, other: Counts) -> Counts:
        """The difference of each count."""
        return Counts(*(a - b for a, b in zip(self, other, strict=True)))


class OwnedStates:
    """The states of one history spec and era, by partition. The loop's thread owns it.

    Args:
        spec: the features.
        era: what the states are states of.
    """

    def __init__(self, spec: HistorySpec, era: Era) -> None:
        self.spec = spec
        self.era = era
        self._owned: dict[int, OwnedState] = {}
        self._baselines: dict[int, Counts] = {}
        self._past = Counts()

    def __contains__(self, partition: int) -> bool:
        """Whether a partition has a state."""
        return partition in self._owned

    def items(self) -> Iterable[tuple[int, OwnedState]]:
        """Partition and state."""
        return self._owned.items()

    def get(self, partition: int) -> OwnedState | None:
        """The state of a partition, if it has one."""
        return self._owned.get(partition)

    def attach(self, partition: int, state: PartitionState, assignment: int) -> None:
        """Add a restored state."""
        self._owned[partition] = OwnedState(state, assignment, state.offset)
        self._baselines[partition] = _counts(state.history)

    def drop(self, partition: int) -> None:
        """Remove the state of a partition that has left, with the effect of its open steps."""
        owned = self._owned.pop(partition, None)
        if owned is not None:
            owned.is_dropped = True
            self._past += _counts(owned.state.history).minus(self._baselines.pop(partition))

    def drop_all(self) -> None:
        """Remove all states."""
        for partition in list(self._owned):
            self.drop(partition)

    def step(
        self,
        polled: PolledRecords,
        batch: TransactionBatch,
        kept: NDArray[np.int64],
        advances: NDArray[np.bool_],
        assignments: Mapping[int, int],
    ) -> BatchStep:
        """Advance the states by a batch.

        Args:
            polled: the records of one poll.
            batch: those of them that could be decoded.
            kept: int64 ``[len(batch)]``, which rows of ``polled`` they are.
            advances: bool ``[len(batch)]``; other rows get features only.
            assignments: of the partitions that are assigned now.

        Raises:
            RetryableError: a partition has no state for these records; nothing was changed.
        """
        firsts, nexts = polled.first_offsets(), polled.next_offsets()
        owned = {p: self._require(p, first, assignments) for p, first in firsts.items()}
        values = np.empty((len(batch), len(self.spec.names)))
        partitions = polled.partitions[kept]
        parts: list[_Part] = []
        marks = {}
        try:
            for partition, rows in _rows_by_partition(partitions, owned):
                one = owned[partition]
                history = one.state.history
                undo = history.step(batch, rows, advances, values) if len(rows) else None
                parts.append(_Part(one, undo, one.head, nexts[partition]))
                one.head = nexts[partition]
                # Now, because the next step changes the state before this one is committed.
                mark = history_mark(self.spec.fingerprint, self.era.number, history.check_sum())
                marks[partition] = mark.fields()
        except BaseException:  # out of memory: one history may have advanced in part
            _roll_back(parts)
            self.drop(partition)
            raise
        misplaced = count_misplaced(batch, partitions, self.era.partition_count)
        columns = HistoryColumns(self.spec.fingerprint, values)
        return BatchStep(columns, marks, misplaced, tuple(parts))

    def counts(self) -> Counts:
        """Counts of committed batches since the start; misplaced rows are not among them."""
        total = self._past
        for partition, owned in self._owned.items():
            total += _counts(owned.state.history).minus(self._baselines[partition])
        return total

    def keys(self) -> dict[str, int]:
        """Keys of all states, by key space."""
        total = {space.name: 0 for space in self.spec.spaces}
        for owned in self._owned.values():
            for name, keys in owned.state.history.sizes().keys.items():
                total[name] += keys
        return total

    def nbytes(self) -> int:
        """Memory of all states."""
        return sum(owned.state.history.sizes().nbytes for owned in self._owned.values())

    def _require(
        self, partition: int, first_offset: int, assignments: Mapping[int, int]
    ) -> OwnedState:
        owned = self._owned.get(partition)
        if owned is None or assignments.get(partition) != owned.assignment:
            raise RetryableError(f"the history of partition {partition} is not restored yet")
        if first_offset < owned.head:
            self.drop(partition)
            raise RetryableError(
                f"partition {partition} was read from offset {first_offset} again, and its history "
                f"has reached {owned.head}: it will be restored"
            )
        return owned


def _roll_back(parts: Iterable[_Part]) -> None:
    for owned, undo, head_before, _ in reversed(list(parts)):
        if not owned.is_dropped:
            owned.head = head_before
            if undo is not None:
                owned.state.history.rollback(undo)


def _rows_by_partition(
    partitions: NDArray[np.int32], wanted: Iterable[int]
) -> Iterable[tuple[int, NDArray[np.int64]]]:
    """Each wanted partition with the places of its rows in a batch, which keep their order."""
    order = np.argsort(partitions, kind="stable")
    ordered = partitions[order]
    for partition in wanted:
        low, high = np.searchsorted(ordered, (partition, partition + 1))
        yield partition, order[low:high]


def _counts(history: PartitionHistory) -> Counts:
    figures = history.figures()
    return Counts(
        figures.late, history.future, figures.repeats, 0, figures.expired, figures.evicted
    )
