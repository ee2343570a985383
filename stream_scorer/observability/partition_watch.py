"""Watches for stuck partitions, and asks the broker what is there to read.

From a thread and over a connection of its own, so that neither a slow answer holds the loop up nor
the stuck client can hide anything.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from stream_scorer.errors import ScorerError
from stream_scorer.kafka.clients import open_consumer
from stream_scorer.kafka.driver import Consumer, KafkaError, KafkaException, TopicPartition
from stream_scorer.kafka.errors import translate
from stream_scorer.kafka.reader import fetch_span
from stream_scorer.kafka.retry import fetch_committed
from stream_scorer.observability.progress import Backlog, BacklogSource, ProgressWatch, Standstill
from stream_scorer.runtime.settings import KafkaSettings

log = logging.getLogger(__name__)

_MOST_LOOK_SECONDS: Final = 10.0
_LOOKS: Final = 4  # within the limit, so that it is noticed not much later than it holds
_QUERY_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 1.0
_SEARCH_SECONDS: Final = 5.0  # for the first record among markers and aborted ones


class KafkaBacklog:
    """What the group has not committed, by the broker's own word. One thread owns it.

    A topic that transactions are written to ends with markers, which no consumer is given and no
    group commits: a lag that never goes away. So before a partition counts as having records to
    read, its first one is looked for, once.
    """

    def __init__(self, settings: KafkaSettings, group_id: str, topic: str) -> None:
        self._topic = topic
        self._consumer: Consumer = open_consumer(
            settings,
            group_id,  # only to ask for its committed offsets: it never subscribes or commits
            **{
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "queued.min.messages": 1,
            },
        )
        self._empty_up_to: dict[int, int] = {}
        self._first: dict[int, int] = {}

    def backlog(self, partitions: Iterable[int]) -> Mapping[int, Backlog]:
        """Those of ``partitions`` that have records to read."""
        asked = [TopicPartition(self._topic, p) for p in partitions]
        try:
            self._consumer.poll(0)  # nothing is assigned: this takes what an outage told the client
            found = {}
            for place in fetch_committed(self._consumer, asked, _QUERY_SECONDS):
                if (backlog := self._backlog(place.partition, place.offset)) is not None:
                    found[place.partition] = backlog
            return found
        except KafkaException as error:
            raise translate(error) from error

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()

    def _backlog(self, partition: int, committed: int) -> Backlog | None:
        span = fetch_span(self._consumer, self._topic, partition)
        low, end = span.low, span.high
        is_expired = committed >= 0 and not low <= committed <= end
        start = committed if low <= committed <= end else low
        if start >= end:
            return None
        first = self._first.get(partition, -1)
        if not start <= first < end:
            first = self._first_record(partition, start, end)
        if first >= end:
            return None
        return Backlog(first, end, committed if is_expired else None)

    def _first_record(self, partition: int, start: int, end: int) -> int:
        """The first record's offset; ``end`` where there are only markers and aborted ones.

        Where the broker does not hand out any in time, ``start``: there is something, and it
        cannot be read.
        """
        if (empty := self._empty_up_to.get(partition, start)) <= end:  # else the topic is another
            start = max(start, empty)
        if start >= end:
            return end
        place = TopicPartition(self._topic, partition, start)
        self._consumer.assign([place])
        try:
            deadline = time.monotonic() + _SEARCH_SECONDS
            while (left := deadline - time.monotonic()) > 0:
                message = self._consumer.poll(left)
                if message is None or message.partition() != partition:
                    continue
                error, offset = message.error(), message.offset()
                if error is None and offset is not None:
                    self._first[partition] = offset
                    return offset
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    self._empty_up_to[partition] = end
                    return end
            return start
        finally:
            self._consumer.unassign()


class PartitionWatch:
    """Looks now and then, and tells metrics, readiness and the log.

    Args:
        limit_seconds: a partition is stuck after so long without progress.
        assigned: the partitions owned now; called from the watcher's thread.
        source: opened in that thread.
        report: gets the seconds without progress by partition, and the stuck ones.
    """

    def __init__(
        self,
        limit_seconds: float,
        assigned: Callable[[], frozenset[int]],
        source: Callable[[], BacklogSource],
        report: Callable[[Mapping[int, float], Mapping[int, Standstill]], None],
    ) -> None:
        self._look_seconds = min(_MOST_LOOK_SECONDS, limit_seconds / _LOOKS)
        self.progress = ProgressWatch(limit_seconds, self._look_seconds)
        self._assigned = assigned
        self._open = source
        self._source: BacklogSource | None = None
        self._report = report
        self._said: set[int] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="partitions", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; an answer that is under way is not waited for long."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def look(self) -> None:
        """One look."""
        if self._source is None:
            self._source = self._open()
        try:
            self.progress.look(self._assigned(), self._source)
        except ScorerError as error:  # what cannot be told changes no verdict
            log.debug("cannot tell which partitions have records to read: %s", error)
        stuck = self.progress.stuck()
        self._report(self.progress.seconds(), stuck)
        for partition in stuck.keys() - self._said:
            log.error(
                "%s", stall_advice(partition, stuck[partition]), extra={"partition": partition}
            )
        for partition in self._said - stuck.keys():
            log.info("partition %d is not stuck any more", partition)
        self._said = set(stuck)

    def _watch(self) -> None:
        while not self._stop.wait(self._look_seconds):
            try:
                self.look()
            except Exception:
                log.exception("the watch over the partitions failed; it goes on")
        if self._source is not None:
            self._source.close()


def stall_advice(partition: int, still: Standstill) -> str:
    """What is wrong, and what to do."""
    backlog = still.backlog
    text = (
        f"partition {partition} is stuck: the next record is at offset {backlog.next_offset}, the "
        f"end at {backlog.end}, and nothing was committed for {still.seconds:.0f} s while the "
        "loop was well. Not ready until it moves. Restart this process: another member, or a new "
        "client, reads it from the committed offset"
    )
    if backlog.expired_from is not None:
        text += (
            f". The committed offset {backlog.expired_from} is outside the topic (retention, or a "
            "topic made anew): records before the next one are gone without an outcome, and "
            "stream-scorer verify tells which"
        )
    else:
        text += "; if it stays, see whether that record can be read, and whether its leader is well"
    return text
