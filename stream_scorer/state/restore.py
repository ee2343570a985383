"""Restores the history of one partition: newest snapshot, replay of the inputs since, and a check.

The state at the group's committed offset is a function of the inputs before it. So it is not
looked up but computed again, and compared with the check sum that the scorer before committed
together with its scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

import numpy as np

from schemas.contracts import NUMBER_INDEX
from schemas.layout import Layout
from stream_scorer.errors import ArtifactCorrupt, FatalError, ScorerError
from stream_scorer.features.history.codec import Snapshot
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.records import PartitionRecords
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.kafka.mark import TOPIC_ID
from stream_scorer.kafka.spans import Span
from stream_scorer.model.store.history_era import Era
from stream_scorer.state.faults import (
    MISMATCH_RUNBOOK,
    HistoryGap,
    HistoryMismatch,
    NewerEra,
    RestoreAbandoned,
)
from stream_scorer.state.input_log import InputLog, Place
from stream_scorer.state.marks import format_sum, read_history_mark

Check = Literal["checked", "unchecked"]
"""Whether the restored state was compared with the mark of a scorer with the same history."""


class SnapshotSource(Protocol):
    """Where snapshots and seeds come from."""

    def candidates(self, era: Era, partition: int, at_most: int) -> Iterator[Snapshot]:
        """The intact snapshots of a partition up to an offset, newest first.

        Raises:
            StoreError: neither the store nor a cache can tell which there are.
        """
        ...

    def damaged(self, error: ArtifactCorrupt) -> None:
        """A snapshot whose records are not those that its header announces."""
        ...

    def seed_records(self, era: Era, partition: int) -> PartitionRecords | None:
        """The seed's records of the cards of a partition; None for an era without a seed.

        Raises:
            StoreError, ArtifactCorrupt: the seed cannot be read.
        """
        ...


@dataclass(slots=True)
class PartitionState:
    """A history, and where it is.

    Attributes:
        history: with every accepted input before ``offset``.
        offset: the next input.
        dead_letter_offset: dead letters of inputs from ``offset`` on are there, or after it.
        snapshot_offset: of the newest stored snapshot; a successor replays from there.
        snapshot_at: when that was written; None: there is none.
    """

    history: PartitionHistory
    offset: int
    dead_letter_offset: int
    snapshot_offset: int
    snapshot_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """A restored state, and how it was reached.

    Attributes:
        state: at the group's committed offset.
        check: whether a mark confirms it.
        rows: inputs that were replayed.
    """

    state: PartitionState
    check: Check
    rows: int


def _nothing(_: int) -> None:
    """For callers that do not count."""


@dataclass(slots=True)
class PartitionRestore:
    """Restores partitions of one era. One thread owns it.

    Args:
        spec: the features.
        era: where histories begin.
        snapshots: stored states.
        log: inputs and dead letters.
        is_abandoned: asked before each slow step.
        on_rows: called with the number of inputs of each replayed batch.
    """

    spec: HistorySpec
    era: Era
    snapshots: SnapshotSource
    log: InputLog
    is_abandoned: Callable[[], bool] = lambda: False
    on_rows: Callable[[int], None] = _nothing
    layout: Layout | None = field(init=False)

    def __post_init__(self) -> None:
        """Decode no columns that the history does not read."""
        self.layout = layout_of(self.spec)

    def restore(self, partition: int, prepared: PartitionState | None = None) -> Restored:
        """The state at the group's committed offset, checked against its mark.

        The caller makes sure that the offset stays: the partition is held, or the state is only
        prepared and will be brought forward later.

        Args:
            partition: the partition.
            prepared: a state of this era to begin with, if it is not ahead of the offset; it is
                advanced in place.

        Raises:
            HistoryMismatch: the mark is that of another state.
            HistoryGap: inputs are missing.
            NewerEra: the mark is of a later era.
            RestoreAbandoned: the partition has left.
            InputMissing, ArtifactCorrupt, StoreError, RetryableError, FatalError: it cannot be
                computed now.
        """
        # Before the group's offset: no dead letter of an input from there on can be before this.
        stable = self.log.stable_dead_letter_end(partition)
        place = self.log.committed([partition])[partition]
        self._require_topic(place)
        self._require_era(partition, place)
        first = self.log.first_retained(partition)
        offset = place.offset
        if offset is None:  # nothing was scored, so nothing is missing either
            offset = max(self.era.begin[partition], first)
            if not self.era.has_base:
                return Restored(self.begin(partition, offset), "unchecked", 0)
            added = self.nearest(partition, offset)
            added.offset = offset
            return Restored(added, "unchecked", 0)
        state = prepared if prepared is not None and prepared.offset <= offset else None
        if state is None:
            state = self.nearest(partition, offset)
        rows = 0
        if state.offset < offset:
            self.require_retained(partition, state.offset, first)
            rows = self.replay(partition, state, offset)
        state.dead_letter_offset = max(state.dead_letter_offset, stable)
        return Restored(state, self._compare(partition, state, place), rows)

    def nearest(self, partition: int, offset: int) -> PartitionState:
        """The newest stored state up to an offset: a snapshot, or the beginning of the era.

        Raises:
            RestoreAbandoned, StoreError, ArtifactCorrupt: see :meth:`restore`.
            ScorerError: the era begins after the offset.
        """
        self._go_on()
        for snapshot in self.snapshots.candidates(self.era, partition, offset):
            self._go_on()
            try:
                history = open_snapshot(self.spec, self.era, snapshot)
            except ArtifactCorrupt as error:
                self.snapshots.damaged(error)
                continue
            header = snapshot.header
            at = header.next_offset
            return PartitionState(history, at, header.dead_letter_offset, at, header.created)
        begin = self.era.begin[partition]
        if self.era.has_base:
            raise ScorerError(
                f"era {self.era.number} of the history has no usable snapshot of partition "
                f"{partition} up to offset {offset}, and it does not begin without one: restore it "
                "from a backup of the store, or begin a new era with `stream-scorer history build`"
            )
        if offset < begin:
            raise ScorerError(
                f"era {self.era.number} of the history begins at offset {begin} of partition "
                f"{partition}, and the group is at offset {offset}: begin a new era with "
                "`stream-scorer history build`"
            )
        return self.begin(partition, begin)

    def replay(self, partition: int, state: PartitionState, end: int) -> int:
        """Advance a state to an offset; returns the number of inputs.

        Raises:
            RestoreAbandoned, InputMissing, RetryableError, FatalError: see :meth:`restore`.
        """
        self._go_on()
        dead_letters = self.log.dead_letters(partition)
        refused = self.log.refused(partition, Span(state.dead_letter_offset, dead_letters.high))
        out = np.empty((0, len(self.spec.names)))
        rows = 0
        inputs = self.log.read(partition, Span(state.offset, end), refused, self.layout)
        for found in inputs:
            self._go_on()
            n = len(found)
            if n > len(out):
                out = np.empty((n, len(self.spec.names)))
            undo = state.history.step(found.batch, np.arange(n), found.advances, out[:n])
            state.history.settle(undo)
            state.offset = found.next_offset
            rows += n
            self.on_rows(n)
        state.offset = end
        return rows

    def begin(self, partition: int, offset: int) -> PartitionState:
        """The state at the beginning of an era that has no base: its seed, or nothing.

        Raises:
            StoreError, ArtifactCorrupt, RetryableError, FatalError: it cannot be read.
        """
        records = self.snapshots.seed_records(self.era, partition)
        history = new_history(self.spec, self.era, records)
        dead_letters = self.log.dead_letters(partition)
        return PartitionState(history, offset, dead_letters.low, offset)

    def _require_topic(self, place: Place) -> None:
        found, wanted = place.mark.get(TOPIC_ID), self.era.topic_id
        if found and wanted and found != wanted:
            raise FatalError(
                f"the group's offsets belong to the topic {self.era.topic} with id {found}, and "
                f"era {self.era.number} of the history to the one with id {wanted}"
            )

    def _require_era(self, partition: int, place: Place) -> None:
        mark = read_history_mark(place.mark)
        if (
            mark is not None
            and mark.is_of_spec(self.spec.fingerprint)
            and mark.era > self.era.number
        ):
            raise NewerEra(
                f"partition {partition} was scored with era {mark.era} of the history, and the "
                f"newest one known here is {self.era.number}"
            )

    def require_retained(self, partition: int, needed: int, first: int) -> None:
        """Check that the inputs from ``needed`` on are left; ``first`` is the first one that is.

        Raises:
            HistoryGap: they are not.
        """
        if first > needed:
            raise HistoryGap(partition, needed, first, self.era.topic)

    def _compare(self, partition: int, state: PartitionState, place: Place) -> Check:
        """Compare the state with the mark of its offset.

        Raises:
            HistoryMismatch: they differ.
        """
        mark = read_history_mark(place.mark)
        if mark is None or not mark.is_of(self.spec.fingerprint, self.era.number):
            return "unchecked"
        actual = state.history.check_sum()
        if mark.check_sum != actual:
            raise HistoryMismatch(
                f"the history of partition {partition} at offset {state.offset} has the check sum "
                f"{format_sum(actual)}, but its last scores were made with "
                f"{format_sum(mark.check_sum)}: committed inputs were lost, or this release "
                "computes other histories. The partition stays held; see the runbook "
                f"{MISMATCH_RUNBOOK}"
            )
        return "checked"

    def _go_on(self) -> None:
        if self.is_abandoned():
            raise RestoreAbandoned


def layout_of(spec: HistorySpec) -> Layout | None:
    """The number columns that a history reads; None: every one."""
    layout = Layout([column for column in spec.columns if column in NUMBER_INDEX])
    return None if layout.is_complete else layout


def new_history(spec: HistorySpec, era: Era, records: PartitionRecords | None) -> PartitionHistory:
    """A history of an era with these records, or with none.

    Raises:
        ValueError: they are not records of this spec.
    """
    as_of = -1 if era.seed is None else era.seed.as_of
    if records is None:
        return PartitionHistory(spec, era.max_keys, as_of)
    return PartitionHistory.restore(spec, records, era.max_keys, as_of)


def open_snapshot(spec: HistorySpec, era: Era, snapshot: Snapshot) -> PartitionHistory:
    """The history that a snapshot holds.

    Raises:
        ArtifactCorrupt: its records are not those that its header announces.
    """
    header = snapshot.header
    where = f"the snapshot of partition {header.partition} at offset {header.next_offset}"
    try:
        history = new_history(spec, era, snapshot.records)
    except ValueError as error:
        raise ArtifactCorrupt(f"{where} cannot be used: {error}") from error
    if history.check_sum() != header.check_sum:
        raise ArtifactCorrupt(
            f"{where} cannot be used: its records have the check sum "
            f"{format_sum(history.check_sum())}, and its header says "
            f"{format_sum(header.check_sum)}"
        )
    return history
