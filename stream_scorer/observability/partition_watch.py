"""Detects stuck partitions by asking the broker for the backlog of each partition.

The watch has its own thread and connection. So a slow answer does not block the loop, and the
check does not depend on the client that may be stuck.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

from stream_scorer.errors import ScorerError
from stream_scorer.kafka.clients import open_consumer
from stream_scorer.kafka.driver import Consumer, KafkaError, KafkaException, TopicPartition
from stream_scorer.kafka.errors import is_unreadable_batch, translate
from stream_scorer.kafka.kept import KeptConsumer
from stream_scorer.kafka.reader import fetch_span
from stream_scorer.kafka.retry import fetch_committed
from stream_scorer.observability.progress import Backlog, BacklogSource, ProgressWatch, Standstill
from stream_scorer.runtime.settings import KafkaSettings

log = logging.getLogger(__name__)

_MAX_INTERVAL_SECONDS: Final = 10.0
_CHECKS: Final = 4  # within the limit, so that a stuck partition is noticed soon after it
_QUERY_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 1.0
_SEARCH_SECONDS: Final = 5.0  # for the first record after markers and aborted records


class KafkaBacklog:
    """The records that the group has not committed, as the broker reports them.

    A topic that is written in transactions ends with markers, which consumers do not receive and
    groups do not commit, so its lag never becomes zero. Therefore a partition counts as having
    records to read only once its first one has been found. One thread owns it.
    """

    def __init__(self, settings: KafkaSettings, group_id: str, topic: str) -> None:
        self._topic = topic
        more = {
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "queued.min.messages": 1,
        }
        # The group is only for its committed offsets: this client never subscribes or commits.
        self._kept = KeptConsumer(partial(open_consumer, settings, group_id, **more))
        self._empty_up_to: dict[int, int] = {}
        self._first: dict[int, int] = {}

    def backlog(self, partitions: Iterable[int]) -> Mapping[int, Backlog]:
        """Those of ``partitions`` that have records to read."""
        places = [TopicPartition(self._topic, p) for p in partitions]
        try:
            with self._kept.request() as consumer:
                consumer.poll(0)  # nothing is assigned: this serves errors queued in an outage
                found = {}
                for place in fetch_committed(consumer, places, _QUERY_SECONDS):
                    if (backlog := self._backlog(place.partition, place.offset)) is not None:
                        found[place.partition] = backlog
                return found
        except KafkaException as error:
            raise translate(error) from error

    def close(self) -> None:
        """Close the connection."""
        self._kept.close()

    @property
    def _consumer(self) -> Consumer:
        return self._kept.client

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
        """The first record's offset; ``end`` if there are only markers and aborted records.

        If no record arrives in time, ``start``: then there are records that cannot be read.
        """
        if (empty := self._empty_up_to.get(partition, start)) <= end:  # else it was recreated
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
                if error is not None and is_unreadable_batch(error):
                    return start
            return start
        finally:
            self._consumer.unassign()


class PartitionWatch:
    """Checks the partitions regularly, and reports to a callback and the log.

    Args:
        limit_seconds: a partition is stuck after this long without progress.
        assigned: the partitions owned now; called in the watch's thread.
        source: opens the backlog; called in the watch's thread.
        report: receives the seconds without progress by partition, and the stuck partitions.
        unreadable: partitions that wait at a batch that cannot be read, each with what to do.
    """

    def __init__(
        self,
        limit_seconds: float,
        assigned: Callable[[], frozenset[int]],
        source: Callable[[], BacklogSource],
        report: Callable[[Mapping[int, float], Mapping[int, Standstill]], None],
        unreadable: Callable[[], Mapping[int, str]] = dict,
    ) -> None:
        self._interval_seconds = min(_MAX_INTERVAL_SECONDS, limit_seconds / _CHECKS)
        self.progress = ProgressWatch(limit_seconds, self._interval_seconds)
        self._assigned = assigned
        self._open = source
        self._source: BacklogSource | None = None
        self._report = report
        self._unreadable = unreadable
        self._logged: set[int] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="partitions", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, without waiting long for a check in progress."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def check(self) -> None:
        """Check all partitions once."""
        if self._source is None:
            self._source = self._open()
        try:
            self.progress.check(self._assigned(), self._source)
        except ScorerError as error:  # without an answer the last result stays
            log.debug("cannot check which partitions have records to read: %s", error)
        stuck = self.progress.stuck()
        self._report(self.progress.seconds(), stuck)
        causes = self._unreadable()
        for partition in stuck.keys() - self._logged:
            text = stall_advice(partition, stuck[partition], causes.get(partition))
            log.error("%s", text, extra={"partition": partition})
        for partition in self._logged - stuck.keys():
            log.info("partition %d is no longer stuck", partition)
        self._logged = set(stuck)

    def _watch(self) -> None:
        while not self._stop.wait(self._interval_seconds):
            try:
                self.check()
            except Exception:
                log.exception("the check for stuck partitions failed and will be repeated")
        if self._source is not None:
            self._source.close()


def stall_advice(partition: int, still: Standstill, unreadable: str | None = None) -> str:
    """What is wrong with a stuck partition, and what to do."""
    backlog = still.backlog
    if unreadable is not None:
        return (
            f"partition {partition} is stuck, and nothing was committed for {still.seconds:.0f} s: "
            f"{unreadable}"
        )
    text = (
        f"partition {partition} is stuck: the next record is at offset {backlog.next_offset}, the "
        f"log ends at {backlog.end}, and nothing was committed for {still.seconds:.0f} s, although "
        "the loop is running. This process is not ready until the partition moves. Restart it: "
        "another member, or a new client, will read from the committed offset"
    )
    if backlog.expired_from is not None:
        text += (
            f". The committed offset {backlog.expired_from} is outside the topic (retention has "
            "removed records, or the topic was recreated). Records before the next one were "
            "removed without an outcome; to list them, run: stream-scorer verify"
        )
    else:
        text += (
            ". If it remains stuck, check that the record can be read and that the partition's "
            "leader is healthy"
        )
    return text
