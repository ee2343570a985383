"""Builds the histories of a new era from retained inputs: an era begins with what is stored.

Each partition is computed up to the offset that the scorers' group has committed, and stored as a
snapshot. The era itself is written last, so nobody sees it before every partition has one. One
partition is in memory at a time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from stream_scorer.errors import ArtifactCorrupt, RetryableError, StoreError
from stream_scorer.features.history.codec import encode_snapshot
from stream_scorer.features.history.header import Compression
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_store import HistoryStore, Written
from stream_scorer.state.admin.beginnings import Begin, FromInputs
from stream_scorer.state.input_log import InputLog
from stream_scorer.state.inputs import InputMissing
from stream_scorer.state.marks import read_history_mark
from stream_scorer.state.restore import PartitionRestore, PartitionState, SnapshotSource

log = logging.getLogger(__name__)

ATTEMPTS: Final = 5
"""Of one partition, while broker or store fail for a moment."""

_PAUSE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class BuiltPartition:
    """What was stored of one partition.

    Attributes:
        begin: where the replay began.
        offset: where the stored state is.
        rows: inputs that were replayed.
        missing: offsets between an earlier snapshot and the first retained input.
        check_sum: of the stored state.
        keys: by key space.
    """

    partition: int
    begin: int
    offset: int
    rows: int
    missing: int
    check_sum: int
    keys: Mapping[str, int]


@dataclass(slots=True)
class _Work:
    """A partition that is being computed; after a failure it goes on where it was."""

    partition: int
    state: PartitionState
    missing: int
    begin: int
    end: int
    stable: int
    rows: int = 0


@dataclass(slots=True)
class HistoryBuilder:
    """Computes and stores the histories of an era that does not exist yet.

    Attributes:
        spec: the features.
        store: the artifact store.
        stored: the seed and the snapshots in it.
        log: inputs and dead letters.
        writer: names this process in the snapshots.
        compression: of the snapshots.
        on_rows: called with the number of inputs of each replayed batch.
        pause: waits between two attempts.
        is_abandoned: asked before each slow step; the work then ends.
    """

    spec: HistorySpec
    store: HistoryStore
    stored: SnapshotSource
    log: InputLog
    writer: str
    compression: Compression = "zlib"
    on_rows: Callable[[int], None] = lambda _: None
    pause: Callable[[float], None] = time.sleep
    is_abandoned: Callable[[], bool] = lambda: False
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def restore_of(self, era: Era) -> PartitionRestore:
        """Restores partitions of an era from what is stored."""
        return PartitionRestore(self.spec, era, self.stored, self.log, self.is_abandoned)

    def build(self, draft: Era, begin: Begin, on_built: Callable[[BuiltPartition], None]) -> Era:
        """Store a snapshot of each partition; returns the era to create.

        Args:
            draft: the era, whose beginning is not known yet.
            begin: where histories begin.
            on_built: called after each partition.

        Raises:
            InputMissing: an input was removed or cannot be read.
            RestoreAbandoned: the process is stopping.
            StoreError, ArtifactCorrupt, RetryableError, FatalError: not possible now. There is no
                new era, and what was stored is of no use.
        """
        draft = replace(draft, begin=(0,) * draft.partition_count, has_base=begin.has_base)
        begins = []
        for partition in range(draft.partition_count):
            built = self._build_with_retries(draft, begin, partition)
            begins.append(built.offset if begin.has_base else built.begin)
            on_built(built)
        return replace(draft, begin=tuple(begins))

    def begin(self, era: Era, begin: Begin, built: Sequence[BuiltPartition]) -> bool:
        """Begin the era whose partitions are stored; False if another process was the first.

        Args:
            era: from :meth:`build`.
            begin: as there.
            built: its partitions.

        Raises:
            ScorerError: as :meth:`build`. If the era has begun, run the command again.
        """
        if not self.store.create_era(era):
            return False
        for one in built:  # a process that builds the same era may have replaced them before
            if self._is_stored(era, one):
                continue
            log.warning("another process has replaced the snapshot of partition %d", one.partition)
            again = begin
            if not era.has_base:
                again = FromInputs(self.restore_of(era), {one.partition: one.begin})
            begun = again.state(one.partition, one.offset)
            at = begun.state.offset
            # The dead letters' end is not asked for: scorers may have written some since.
            self._finish(era, _Work(one.partition, begun.state, begun.missing, at, one.offset, 0))
        return True

    def _is_stored(self, era: Era, built: BuiltPartition) -> bool:
        try:
            name = era.snapshot(built.partition, built.offset)
            return self.store.read_facts(era, name) is not None
        except ArtifactCorrupt:
            return False

    def write(self, era: Era, partition: int, state: PartitionState) -> Written:
        """Store a state as a snapshot of an era.

        Raises:
            StoreError: it could not be stored.
        """
        header = era.header(
            partition,
            state.offset,
            dead_letter_offset=state.dead_letter_offset,
            check_sum=state.history.check_sum(),
            writer=self.writer,
            created=self.now(),
        )
        content = encode_snapshot(header, state.history.records(), self.compression)
        return self.store.create_snapshot(era, content)

    def is_served(self, era: Era) -> bool:
        """Whether scorers have committed offsets with this era: they store snapshots themselves.

        Raises:
            RetryableError, FatalError: the group's offsets cannot be fetched.
        """
        places = self.log.committed(range(era.partition_count))
        marks = [read_history_mark(place.mark) for place in places.values()]
        return any(mark is not None and mark.is_of(era.spec, era.number) for mark in marks)

    def refresh(self, era: Era, keep_days: int) -> dict[int, int]:
        """Store newer snapshots of the partitions that the group has gone on with; their offsets.

        Raises:
            ScorerError: a partition cannot be brought forward now.
        """
        done = {}
        for partition, place in self.log.committed(range(era.partition_count)).items():
            newest = next(iter(self.store.snapshots(era, partition, place.offset)), None)
            if place.offset is None or (newest and newest.next_offset >= place.offset):
                continue
            state = self.restore_of(era).restore(partition).state
            self.write(era, partition, state)
            self.store.prune(era, partition, state.offset, keep_days=keep_days, now=self.now())
            done[partition] = state.offset
        return done

    def _build_with_retries(self, draft: Era, begin: Begin, partition: int) -> BuiltPartition:
        """Go on while broker or store fail; begin again while retention removes the inputs."""
        work: _Work | None = None
        for attempt in range(1, ATTEMPTS + 1):
            try:
                work = work or self._begin(begin, partition)
                return self._finish(draft, work)
            except InputMissing as error:
                at = None if work is None else work.state.offset
                if attempt == ATTEMPTS or at is None or self.log.first_retained(partition) <= at:
                    raise
                log.warning("%s; partition %d begins again", error, partition)
                work = None
            except (RetryableError, StoreError) as error:
                if attempt == ATTEMPTS:
                    raise
                log.warning("partition %d is tried again: %s", partition, error)
            self.pause(_PAUSE_SECONDS * attempt)
        raise AssertionError("the last attempt returns or raises")

    def _begin(self, begin: Begin, partition: int) -> _Work:
        # Before the group's offset: no dead letter of an input from there on can be before this.
        stable = self.log.stable_dead_letter_end(partition)
        committed = self.log.committed([partition])[partition].offset
        begun = begin.state(partition, committed)
        at = begun.state.offset
        end = at if committed is None else max(at, committed)
        return _Work(partition, begun.state, begun.missing, at, end, stable)

    def _finish(self, draft: Era, work: _Work) -> BuiltPartition:
        state = work.state
        if state.offset < work.end:

            def count(rows: int) -> None:
                work.rows += rows
                self.on_rows(rows)

            restore = self.restore_of(draft)
            restore.on_rows = count
            restore.replay(work.partition, state, work.end)
        state.dead_letter_offset = max(state.dead_letter_offset, work.stable)
        self.write(draft, work.partition, state)
        return BuiltPartition(
            work.partition,
            work.begin,
            state.offset,
            work.rows,
            work.missing,
            state.history.check_sum(),
            state.history.sizes().keys,
        )
