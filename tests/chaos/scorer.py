"""The scorer's program with switches for campaigns, set in the environment.

``CHAOS_AT_LEAST_ONCE=1`` is the negative control: batches are published and their offsets committed
separately, without a transaction. ``CHAOS_DWELL_SECONDS`` is a wait between publish and commit of
each batch, where a fault does the most harm. Without it, most faults would hit a scorer that is
idle. ``CHAOS_RESTORE_DWELL_SECONDS`` is a wait in each restore of a card history. During the waits,
the folder ``CHAOS_MARKS`` contains a file named after the process id and the place.
``CHAOS_CLOCK_FILE`` names a file with the error of the wall clock in seconds, which may change at
any time. ``CHAOS_EXTRA_SCHEMA`` names a transaction schema that this process knows by its
fingerprint, like a scorer of the next release.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from schemas.contracts import known_schemas, schema_fingerprint
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.driver import Consumer, KafkaException, TopicPartition
from stream_scorer.kafka.errors import translate
from stream_scorer.kafka.retry import raise_partition_errors
from stream_scorer.process import scorer, startup
from stream_scorer.runtime.settings import KafkaSettings
from stream_scorer.state.restore import PartitionRestore, PartitionState
from stream_scorer.stream.group_offsets import GroupOffsets
from stream_scorer.stream.kafka_broker import KafkaBroker
from stream_scorer.stream.kafka_options import GroupOptions
from stream_scorer.stream.kafka_producer import OutcomeProducer
from stream_scorer.stream.loop import ScorerLoop
from stream_scorer.stream.ports import NO_MARKS, Marks, Outgoing, Polled, Txn

AT_LEAST_ONCE = "CHAOS_AT_LEAST_ONCE"
DWELL = "CHAOS_DWELL_SECONDS"
RESTORE_DWELL = "CHAOS_RESTORE_DWELL_SECONDS"
MARKS = "CHAOS_MARKS"
CLOCK_FILE = "CHAOS_CLOCK_FILE"
EXTRA_SCHEMA = "CHAOS_EXTRA_SCHEMA"


class SlowTxn:
    """Waits before it commits, and leaves a mark during the wait."""

    def __init__(self, txn: Txn, seconds: float, mark: Path) -> None:
        self._txn = txn
        self._seconds = seconds
        self._mark = mark
        self.publish = txn.publish
        self.abort = txn.abort

    def commit(self, polled: Polled, marks: Marks = NO_MARKS) -> None:
        self._mark.touch()
        time.sleep(self._seconds)
        self._mark.unlink()  # a process stopped while its mark exists has not begun to commit
        self._txn.commit(polled, marks)


class UnsafeBroker(KafkaBroker):
    """A member that can duplicate records, like most consumers.

    It commits where it begins to read a partition. Without that, scores whose first commit fails,
    because a member was killed or the group rebalances, would have no offset beside them, and every
    scorer would refuse to continue.
    """

    def __init__(
        self, settings: KafkaSettings, options: GroupOptions, offsets: GroupOffsets | None = None
    ) -> None:
        super().__init__(settings, options, offsets, is_transactional=False)
        self._begun: set[int] = set()

    def poll(self, max_records: int, timeout: float) -> Polled | None:
        polled = super().poll(max_records, timeout)
        if polled is not None:
            self._begin_partitions(polled)
        return polled

    def begin(self) -> UnsafeTxn:  # type: ignore[override]  # it has none of the guarantees
        return UnsafeTxn(self._begin(), self._consumer)

    def _begin_partitions(self, polled: Polled) -> None:
        first = {p: o for p, o in polled.first_offsets().items() if p not in self._begun}
        if not first:
            return
        try:
            commit(self._consumer, polled.topic, first)
        except RetryableError:
            self.rewind(polled)
            raise
        self._begun |= first.keys()


class UnsafeTxn:
    """Publish, then commit."""

    def __init__(self, producer: OutcomeProducer, consumer: Consumer) -> None:
        self._producer = producer
        self._consumer = consumer

    def publish(self, records: list[Outgoing]) -> None:
        self._producer.publish(records)

    def commit(self, polled: Polled, _: Marks = NO_MARKS) -> None:
        commit(self._consumer, polled.topic, polled.next_offsets())

    def abort(self, *_: Polled) -> None:
        raise FatalError("published records cannot be undone")


def commit(consumer: Consumer, topic: str, offsets: Mapping[int, int]) -> None:
    """Commit offsets as a member, outside of any transaction."""
    places = [TopicPartition(topic, p, o) for p, o in offsets.items()]
    try:
        raise_partition_errors(consumer.commit(offsets=places, asynchronous=False) or [])
    except KafkaException as error:
        raise translate(error) from error


def dwelling(kind: type[KafkaBroker], seconds: float, mark: Path) -> type[KafkaBroker]:
    """The same broker with slow transactions."""

    class DwellingBroker(kind):  # type: ignore[misc,valid-type]
        def begin(self) -> Txn:
            return SlowTxn(super().begin(), seconds, mark)

    return DwellingBroker


def restore_slowly(seconds: float, mark: Path) -> None:
    """Every restore waits when it knows the group's offset, and leaves a mark during the wait."""
    nearest = PartitionRestore.nearest

    def slow(self: PartitionRestore, partition: int, offset: int) -> PartitionState:
        mark.touch()
        time.sleep(seconds)
        mark.unlink()
        return nearest(self, partition, offset)

    PartitionRestore.nearest = slow  # type: ignore[method-assign]


def wrong_clock(path: Path) -> Callable[[], float]:
    """The wall clock plus the number of seconds in a file."""

    def now() -> float:
        try:
            return time.time() + float(path.read_text() or 0)
        except (OSError, ValueError):
            return time.time()

    return now


def _mark(place: str) -> Path:
    return Path(os.environ[MARKS], f"{os.getpid()}-{place}")


def main() -> int:
    kind: type[Any] = UnsafeBroker if os.environ.get(AT_LEAST_ONCE) else KafkaBroker
    if seconds := os.environ.get(DWELL):
        kind = dwelling(kind, float(seconds), _mark("txn"))
    if seconds := os.environ.get(RESTORE_DWELL):
        restore_slowly(float(seconds), _mark("restore"))
    startup.KafkaBroker = kind  # type: ignore[attr-defined]  # replaced, not used
    if path := os.environ.get(CLOCK_FILE):
        clock = wrong_clock(Path(path))
        scorer.ScorerLoop = partial(ScorerLoop, clock=clock)  # type: ignore[attr-defined,assignment]
    if path := os.environ.get(EXTRA_SCHEMA):
        schema = json.loads(Path(path).read_text())
        known_schemas("transaction")[schema_fingerprint(schema)] = schema
    from stream_scorer.__main__ import main as command

    return command(["run"])


if __name__ == "__main__":
    sys.exit(main())
