"""How many records of the input topic the scorers have not committed yet.

With it, a stream without new transactions does not look like a scorer that has stopped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from dashboard.feed.board import Backlog, Board
from stream_scorer.errors import FatalError, ScorerError
from stream_scorer.kafka.clients import open_consumer
from stream_scorer.kafka.driver import Consumer, KafkaError, KafkaException, TopicPartition
from stream_scorer.kafka.errors import is_non_retriable, translate
from stream_scorer.kafka.retry import fetch_bounds, fetch_committed
from stream_scorer.runtime.settings import KafkaSettings

log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 2.0
_REQUEST_SECONDS: Final = 3.0  # a reachable broker responds in milliseconds
_UNCHANGED: Final = 3  # polls without progress of a partition, after which its records are read

UNKNOWN: Final = "The backlog of the scorers is not known"


@dataclass(frozen=True, slots=True)
class InputOffsets:
    """By partition of the input topic: where the scorers continue, and the end of the log."""

    starts: Mapping[int, int]
    ends: Mapping[int, int]


class InputSource(Protocol):
    """The input topic and the scorers' consumer group.

    Every call raises RetryableError, or FatalError if only an operator can fix the cause.
    """

    def fetch(self) -> InputOffsets | None:
        """The offsets now. None if the topic does not exist."""
        ...

    def first_record(self, partition: int, start: int) -> tuple[int, int] | None:
        """Offset and append time of the first record from ``start`` on.

        None if there is none, because only control records and aborted ones follow.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class KafkaInput:
    """The input topic on a Kafka cluster. It never subscribes, so it joins no group."""

    def __init__(self, settings: KafkaSettings, topic: str, group: str) -> None:
        self._topic = topic
        self._consumer: Consumer = open_consumer(
            settings,
            group,  # only to read its committed offsets
            **{
                "enable.partition.eof": True,
                "queued.min.messages": 1,
                "queued.max.messages.kbytes": 1024,
            },
        )

    def fetch(self) -> InputOffsets | None:
        """A request for the metadata, one for the group, and one for each partition."""
        try:
            self._consumer.poll(0)  # nothing is assigned: this serves errors queued in an outage
            found = self._consumer.list_topics(self._topic, timeout=_REQUEST_SECONDS)
            topic = found.topics.get(self._topic)
            if topic is not None and topic.error is not None and is_non_retriable(topic.error):
                raise FatalError(f"not authorized for topic {self._topic}: grant this user READ")
            if topic is None or topic.error is not None:
                return None
            places = [TopicPartition(self._topic, p) for p in sorted(topic.partitions)]
            starts, ends = {}, {}
            for place in fetch_committed(self._consumer, places, _REQUEST_SECONDS):
                low, high = fetch_bounds(self._consumer, place, _REQUEST_SECONDS)
                # Without a committed offset, or after its records were deleted, scorers start at
                # the first record.
                starts[place.partition] = place.offset if low <= place.offset <= high else low
                ends[place.partition] = high
        except KafkaException as error:
            raise translate(error) from error
        return InputOffsets(starts, ends)

    def first_record(self, partition: int, start: int) -> tuple[int, int] | None:
        """Read it, or the end of the partition."""
        deadline = time.monotonic() + _REQUEST_SECONDS
        try:
            self._consumer.assign([TopicPartition(self._topic, partition, start)])
            while (left := deadline - time.monotonic()) > 0:
                message = self._consumer.poll(left)
                if message is None or message.partition() != partition:
                    continue
                problem = message.error()
                if problem is None:
                    return message.offset() or 0, message.timestamp()[1]
                if problem.code() == KafkaError._PARTITION_EOF:
                    return None
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no record in time"))
        except KafkaException as error:
            raise translate(error) from error
        finally:
            self._consumer.unassign()

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()


class BacklogGauge:
    """Measures the backlog again and again.

    A topic that is written in transactions ends with control records, which scorers do not commit.
    So where a partition makes no progress, its first record is looked for.
    """

    def __init__(self, source: InputSource) -> None:
        self._source = source
        self._starts: dict[int, tuple[int, int]] = {}  # where it continues, and since which poll
        self._first: dict[int, tuple[int, int]] = {}
        self._empty_up_to: dict[int, int] = {}
        self._polls = 0

    def measure(self) -> Backlog:
        """The backlog now."""
        self._polls += 1
        offsets = self._source.fetch()
        if offsets is None:
            return Backlog(None, detail=f"{UNKNOWN}: the input topic does not exist.")
        records, times = 0, []
        for partition, start in offsets.starts.items():
            end = offsets.ends[partition]
            first = self._first_of(partition, start, end)
            if first is not None:
                records += end - first[0]
                if first[1] > 0:
                    times.append(first[1])
        return Backlog(records, sum(offsets.starts.values()), min(times, default=None))

    def _first_of(self, partition: int, start: int, end: int) -> tuple[int, int] | None:
        """Offset and append time (0: not looked up) of the first record that waits, if one does."""
        known, since = self._starts.get(partition, (-1, self._polls))
        if start != known:
            self._starts[partition] = (start, self._polls)
            self._first.pop(partition, None)
            self._empty_up_to.pop(partition, None)
            since = self._polls
        start = max(start, self._empty_up_to.get(partition, start))
        if start >= end:
            return None
        if self._polls - since < _UNCHANGED:
            return start, 0
        if partition not in self._first:
            found = self._source.first_record(partition, start)
            if found is None:
                self._empty_up_to[partition] = end
                return None
            self._first[partition] = found
        return self._first[partition]


class BacklogWatch:
    """The thread that keeps the backlog on the board up to date."""

    def __init__(self, open_source: Callable[[], InputSource], board: Board) -> None:
        self._open_source = open_source
        self._board = board
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="backlog", daemon=True)
        self._problem = ""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Stop the thread."""
        self._stop.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                source = self._open_source()
                try:
                    self._measure_until_error(BacklogGauge(source))
                finally:
                    source.close()
            except ScorerError as error:
                self._note_problem(error)
            except Exception:
                log.exception("the backlog of the scorers could not be measured; trying again")
                self._board.note_backlog(Backlog(None, detail=f"{UNKNOWN}: unexpected error."))
            self._stop.wait(_POLL_SECONDS)

    def _measure_until_error(self, gauge: BacklogGauge) -> None:
        while not self._stop.is_set():
            self._board.note_backlog(gauge.measure())
            self._problem = ""
            self._stop.wait(_POLL_SECONDS)

    def _note_problem(self, error: ScorerError) -> None:
        reason = str(error)
        cause = "Kafka does not answer at present."
        if isinstance(error, FatalError):
            cause = "this dashboard may not read the input topic or the scorers' consumer group."
        self._board.note_backlog(Backlog(None, detail=f"{UNKNOWN}: {cause}", reason=reason))
        if reason != self._problem:
            log.warning("the backlog of the scorers is not known: %s", reason)
        self._problem = reason


__all__ = ["BacklogGauge", "BacklogWatch", "InputOffsets", "InputSource", "KafkaInput"]
