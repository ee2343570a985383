"""Advances loaded histories to the group's committed offsets, as the scorers do it.

The state at a committed offset is a function of the accepted inputs before it. The mark beside the
offset has the check sum of the state that the scores were made with, so that each round also shows
that these histories are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

import numpy as np

from dashboard.history.partitions import LoadedPartition, View
from schemas.layout import Layout
from schemas.rejections import Stage
from stream_scorer.errors import RetryableError
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.kafka.mark import TOPIC_ID
from stream_scorer.kafka.spans import Span, Spans
from stream_scorer.kafka.unreadable import PassedBatch
from stream_scorer.state.faults import MISMATCH_RUNBOOK
from stream_scorer.state.input_log import Place
from stream_scorer.state.inputs import InputFaults, InputRows, Refused, refused_inputs
from stream_scorer.state.marks import read_history_mark
from stream_scorer.state.restore import layout_of


class StreamLog(Protocol):
    """What the scorers have committed, and what they made it of. One thread owns it.

    Every method raises RetryableError if no broker answers or reading takes too long, and
    FatalError if the broker refuses.
    """

    def committed(self, partitions: Sequence[int]) -> Mapping[int, Place]:
        """The group's committed offsets with their marks. It waits for no open transaction."""
        ...

    def dead_letters(self, partition: int) -> Span:
        """The dead letters of a partition that are left, those of open transactions included."""
        ...

    def read_dead_letters(
        self, spans: Spans, faults: InputFaults
    ) -> Mapping[int, Mapping[int, Stage]]:
        """The dead letters of the spans, once their transactions have ended.

        Returns:
            By partition, the offset of each input and the stage at which it failed.
        """
        ...

    def read(
        self, spans: Spans, refused: Refused, layout: Layout | None, faults: InputFaults
    ) -> Iterator[InputRows]:
        """The accepted inputs of the spans; each partition in offset order."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


class _Failed(dict[int, str]):
    """By partition, the first input or dead letter that is missing. Others are still read."""

    def removed(self, topic: str, partition: int, wanted: int, low: int) -> None:
        """Records that are needed were removed."""
        self.setdefault(
            partition,
            f"{topic} partition {partition}: records from offset {wanted} on are needed, and the "
            f"partition begins at {low}",
        )

    def unreadable(self, topic: str, partition: int, batch: PassedBatch) -> None:
        """Records cannot be unpacked."""
        self.setdefault(
            partition,
            f"{topic} partition {partition}: the records from offset {batch.begin} to before "
            f"{batch.next_offset} cannot be unpacked",
        )

    def undecodable(self, topic: str, partition: int, offset: int, reason: str) -> None:
        """An accepted input cannot be decoded."""
        self.setdefault(
            partition,
            f"{topic} partition {partition} offset {offset} was scored, and this release cannot "
            f"read it: {reason}",
        )


class Round:
    """The result of one round.

    Attributes:
        failed: partitions whose history cannot be advanced, and why.
        ahead: partitions that contain more than is committed, and the committed offset.
        newer_era: a scorer has committed offsets with a later era.
        problem: why reading ended early; partitions that were read to their end are advanced.
    """

    def __init__(self) -> None:
        self.failed = _Failed()
        self.ahead: dict[int, int] = {}
        self.newer_era = False
        self.problem: RetryableError | None = None


class Follower:
    """Advances the histories of a view.

    Args:
        log: inputs and dead letters.
        is_stopped: asked before each step.
        now: the time in UTC.
    """

    def __init__(
        self,
        log: StreamLog,
        is_stopped: Callable[[], bool],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._log = log
        self._is_stopped = is_stopped
        self._now = now

    def advance(self, view: View) -> Round:
        """Advance each partition to the group's committed offset, and check it there.

        Raises:
            RetryableError: no broker answers.
            FatalError: the broker refuses.
        """
        result = Round()
        loaded = {one.partition: one for one in view.current()}
        if view.era is None or not loaded:
            return result
        now = self._now()
        places = self._log.committed(sorted(loaded))
        targets: dict[int, int] = {}
        for partition, one in loaded.items():
            place = places[partition]
            offset = view.era.begin[partition] if place.offset is None else place.offset
            if problem := _other_topic(view, place):
                result.failed[partition] = problem
            elif _is_later_era(view, place):
                result.newer_era = True
            elif offset < one.offset:
                result.ahead[partition] = offset
            else:
                targets[partition] = offset
        try:
            self._read(view.spec, loaded, targets, result.failed)
        except RetryableError as error:  # one partition may hang in a transaction of its producer
            result.problem = error
        if self._is_stopped():
            return result
        for partition, offset in targets.items():
            one = loaded[partition]
            is_reached = result.problem is None or one.offset == offset
            if is_reached and partition not in result.failed:
                one.reach(offset, now)
                self._compare(view, one, places[partition], result.failed)
        return result

    def close(self) -> None:
        """Close all connections."""
        self._log.close()

    def _read(
        self,
        spec: HistorySpec,
        loaded: Mapping[int, LoadedPartition],
        targets: Mapping[int, int],
        failed: _Failed,
    ) -> None:
        """Advance to the targets by the inputs in between."""
        spans = {
            partition: Span(loaded[partition].offset, offset)
            for partition, offset in targets.items()
            if offset > loaded[partition].offset
        }
        if not spans:
            return
        self._read_dead_letters({p: loaded[p] for p in spans}, failed)
        refused = {p: loaded[p].refused for p in spans}
        spans = {p: span for p, span in spans.items() if p not in failed}
        for found in self._log.read(spans, refused, layout_of(spec), failed):
            if self._is_stopped():
                return
            if found.partition in failed:
                continue
            try:
                loaded[found.partition].advance(found)
            except MemoryError:
                failed[found.partition] = (
                    f"the history of partition {found.partition} does not fit into memory"
                )

    def _read_dead_letters(self, loaded: Mapping[int, LoadedPartition], failed: _Failed) -> None:
        """Bring ``refused`` up to date: after the offsets were read, up to the end of the log.

        A dead letter is in the transaction that commits its input's offset, so it is there.
        """
        spans = {}
        for partition, one in loaded.items():
            span = self._log.dead_letters(partition)
            low = span.low if one.dead_letter_offset < 0 else one.dead_letter_offset
            spans[partition] = Span(low, span.high)
        unread = {p: span for p, span in spans.items() if span.high > span.low}
        found = refused_inputs(self._log.read_dead_letters(unread, failed)) if unread else {}
        for partition, one in loaded.items():
            if partition not in failed:
                known = one.refused[one.refused >= one.offset]
                one.refused = np.union1d(known, found.get(partition, known[:0]))
                one.dead_letter_offset = spans[partition].high

    @staticmethod
    def _compare(view: View, one: LoadedPartition, place: Place, failed: _Failed) -> None:
        """Compare a history with the one that the last scores of its partition were made with."""
        mark = read_history_mark(place.mark)
        if mark is None or view.era is None:
            return
        if mark.is_of(view.spec.fingerprint, view.era.number) and mark.check_sum != one.check_sum():
            failed[one.partition] = (
                f"the history of partition {one.partition} at offset {one.offset} is not the one "
                "that its last scores were made with: committed inputs were lost, or this release "
                f"computes other histories; see the runbook {MISMATCH_RUNBOOK}"
            )


def _other_topic(view: View, place: Place) -> str | None:
    found, wanted = place.mark.get(TOPIC_ID), view.era.topic_id if view.era else ""
    if found and wanted and found != wanted:
        return (
            f"the group's offsets belong to the topic with id {found}, and the history to the one "
            f"with id {wanted}"
        )
    return None


def _is_later_era(view: View, place: Place) -> bool:
    mark = read_history_mark(place.mark)
    return (
        mark is not None
        and view.era is not None
        and mark.is_of_spec(view.spec.fingerprint)
        and mark.era > view.era.number
    )
