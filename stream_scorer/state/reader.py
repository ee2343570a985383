"""Histories of past inputs, computed again: for verify and replay.

A state is found once for each partition, from the nearest snapshot before the first input or the
beginning of the era. It then advances with the inputs that the caller reads anyway.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from schemas.batch import HistoryColumns
from stream_scorer.errors import ArtifactCorrupt, ScorerError
from stream_scorer.features.history.header import OFFSETS_END
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.state.history_source import HistoryUnknown
from stream_scorer.state.input_log import InputLog
from stream_scorer.state.inputs import InputRows
from stream_scorer.state.marks import format_sum, read_history_mark
from stream_scorer.state.restore import PartitionRestore, PartitionState
from stream_scorer.state.snapshots import WRITER
from stream_scorer.state.stored import StoredStates


@dataclass(frozen=True, slots=True)
class _Segment:
    """From an offset on, inputs were scored with this era; None: that is not known."""

    begin: int
    era: Era | None


@dataclass(slots=True)
class _Running:
    """The state of a partition, or the reason why there is none up to an offset."""

    state: PartitionState | None = None
    era: Era | None = None
    reason: str = ""
    failed_at: int = -1


@dataclass(slots=True)
class _Followed:
    """One history spec."""

    spec: HistorySpec
    stored: StoredStates
    eras: list[Era]
    segments: dict[int, list[_Segment]] = field(default_factory=dict)
    partitions: dict[int, _Running] = field(default_factory=dict)


class HistoryReader:
    """Implements :class:`~stream_scorer.state.history_source.HistorySource`. One thread owns it.

    It holds the states of all partitions that are being read.

    Args:
        store: the artifact store.
        log: inputs and dead letters.
    """

    def __init__(self, store: HistoryStore, log: InputLog) -> None:
        self._store = store
        self._log = log
        self._followed: dict[str, _Followed] = {}

    def changes(self, bundle: Bundle, partition: int) -> Sequence[int]:
        """Where the eras of a bundle's history begin, and where it is not known which one counts.

        None where that cannot be asked; :meth:`attach` says why.
        """
        spec = bundle.features.program.history
        try:
            return [] if spec is None else self._begins(self._follow(spec), partition)
        except ScorerError:
            return []

    def attach(self, bundle: Bundle, rows: InputRows) -> HistoryColumns | HistoryUnknown:
        """The features of inputs, and the update of their partition's state."""
        spec = bundle.features.program.history
        if spec is None:
            return HistoryUnknown(f"version {bundle.version} reads no card history")
        first, last = int(rows.offsets[0]), int(rows.offsets[-1])
        try:
            followed = self._follow(spec)
            era = self._era(followed, rows.partition, first, last)
            if era is None:
                return HistoryUnknown(
                    "the era of the card history changed there, and which one was used is not known"
                )
            running = followed.partitions.setdefault(rows.partition, _Running())
            begin = first if rows.begin is None else min(rows.begin, first)
            state = self._state_at(followed, era, running, rows.partition, begin, first)
        except ScorerError as error:
            return HistoryUnknown(str(error))
        if state is None:
            return HistoryUnknown(running.reason)
        values = np.empty((len(rows), len(spec.names)))
        undo = state.history.step(rows.batch, np.arange(len(rows)), rows.advances, values)
        state.history.settle(undo)
        state.offset = max(state.offset, rows.next_offset)
        return HistoryColumns(spec.fingerprint, values)

    def lose(self, partition: int, reason: str) -> None:
        """The state of a partition ends; a snapshot after what is missing begins another one."""
        for followed in self._followed.values():
            running = followed.partitions.get(partition)
            if running is not None and running.state is not None:
                _fail(running, running.state.offset, reason)

    def check_sum(
        self, partition: int, offset: int, mark: Mapping[str, str]
    ) -> str | HistoryUnknown:
        """The check sum of the state before an offset, as its mark has it."""
        named = read_history_mark(mark)
        if named is None:
            return HistoryUnknown("the mark names no card history")
        followed = next(
            (f for f in self._followed.values() if f.spec.fingerprint.startswith(named.spec)), None
        )
        if followed is None:
            return HistoryUnknown("no score with this card history was computed again")
        era = next((era for era in followed.eras if era.number == named.era), None)
        if era is None:
            return HistoryUnknown(f"there is no era {named.era} of the card history in the store")
        running = followed.partitions.setdefault(partition, _Running())
        try:
            if running.state is not None and running.state.offset > offset:
                running.state = None
            state = self._state_at(followed, era, running, partition, offset, offset)
        except ScorerError as error:
            return HistoryUnknown(str(error))
        return (
            HistoryUnknown(running.reason)
            if state is None
            else format_sum(state.history.check_sum())
        )

    def _follow(self, spec: HistorySpec) -> _Followed:
        found = self._followed.get(spec.fingerprint)
        if found is None:
            numbers = self._store.eras(spec.fingerprint)
            eras = [self._store.read_era(spec.fingerprint, number) for number in numbers]
            found = _Followed(spec, StoredStates(self._store, spec), eras)
            self._followed[spec.fingerprint] = found
        return found

    def _state_at(
        self,
        followed: _Followed,
        era: Era,
        running: _Running,
        partition: int,
        begin: int,
        first: int,
    ) -> PartitionState | None:
        """The state before the input at ``first``; all between ``begin`` and it are known.

        Raises:
            ScorerError: it cannot be computed now.
        """
        state = running.state
        if state is not None and running.era == era and begin <= state.offset <= first:
            return state
        restore = PartitionRestore(followed.spec, era, followed.stored, self._log)
        if state is None or running.era != era or state.offset > first:
            if running.failed_at >= 0 and not self._has_later(era, partition, running, first):
                return None
            state = self._nearest(restore, running, partition, first)
        if state is not None and state.offset < first:
            try:
                first_retained = self._log.first_retained(partition)
                restore.require_retained(partition, state.offset, first_retained)
                restore.replay(partition, state, first)
            except ScorerError as error:
                _fail(running, state.offset, str(error))
                return None
        running.state, running.era = state, era
        return state

    def _nearest(
        self, restore: PartitionRestore, running: _Running, partition: int, first: int
    ) -> PartitionState | None:
        try:
            return restore.nearest(partition, first)
        except ScorerError as error:
            _fail(running, first, str(error))
            return None

    def _has_later(self, era: Era, partition: int, running: _Running, first: int) -> bool:
        """Whether a snapshot lies between what failed and the next input."""
        names = self._store.snapshots(era, partition, first)
        return bool(names) and names[0].next_offset > running.failed_at

    def _era(self, followed: _Followed, partition: int, first: int, last: int) -> Era | None:
        """The era that the inputs from ``first`` to ``last`` were scored with, if it is one."""
        begins = self._begins(followed, partition)
        segments = followed.segments[partition]
        at, end = bisect_right(begins, first) - 1, bisect_right(begins, last) - 1
        if at < 0:
            raise ScorerError("the card history began after this input")
        return segments[at].era if at == end else None

    def _begins(self, followed: _Followed, partition: int) -> list[int]:
        segments = followed.segments.get(partition)
        if segments is None:
            segments = followed.segments[partition] = self._segments(followed.eras, partition)
        return [segment.begin for segment in segments]

    def _segments(self, eras: list[Era], partition: int) -> list[_Segment]:
        """Which era was used from where on.

        Scorers take up a new era one by one, some inputs after its beginning. Their snapshots show
        where: an era was in use from its first snapshot by a scorer at the latest, and the one
        before it up to its last snapshot at least.
        """
        segments: list[_Segment] = []
        for era in (era for era in eras if partition < era.partition_count):
            if not segments:
                segments.append(_Segment(era.begin[partition], era))
                continue
            used_until = self._last_snapshot(segments[-1].era, partition)
            used_from = self._first_in_use(era, partition)
            segments.append(_Segment(max(used_until, segments[-1].begin) + 1, None))
            if used_from < OFFSETS_END:
                segments.append(_Segment(max(used_from, segments[-1].begin), era))
        return segments

    def _last_snapshot(self, era: Era | None, partition: int) -> int:
        names = self._store.snapshots(era, partition) if era is not None else []
        return names[0].next_offset if names else -1

    def _first_in_use(self, era: Era, partition: int) -> int:
        for name in reversed(self._store.snapshots(era, partition)):
            try:
                facts = self._store.read_facts(era, name)
            except ArtifactCorrupt:
                continue
            # Others are what the era began with, and what `history build --follow` adds.
            if facts is not None and facts.header.writer.startswith(WRITER):
                return name.next_offset
        return OFFSETS_END


def _fail(running: _Running, offset: int, reason: str) -> None:
    running.state, running.era, running.reason, running.failed_at = None, None, reason, offset
