"""The broker port on Apache Kafka: the consumer group, its rebalances, and the fence."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.clients import build_client
from stream_scorer.kafka.driver import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from stream_scorer.kafka.errors import driver_error, translate
from stream_scorer.kafka.messages import Records
from stream_scorer.kafka.retry import raise_partition_errors
from stream_scorer.runtime.settings import KafkaSettings
from stream_scorer.stream.group_offsets import GroupOffsets
from stream_scorer.stream.kafka_calls import TransactionCalls, serve_callbacks
from stream_scorer.stream.kafka_options import GroupOptions, member_config
from stream_scorer.stream.kafka_producer import OutcomeProducer
from stream_scorer.stream.kafka_transaction import KafkaTransaction
from stream_scorer.stream.partition_starts import PartitionStarts
from stream_scorer.stream.ports import Polled
from stream_scorer.stream.unreadable_batches import UnreadableBatches

log = logging.getLogger(__name__)

_CLOSE_SECONDS: Final = 5.0

BATCH_MAX_BYTES: Final = 32 * 1024 * 1024
"""Bytes of values in a batch; the step that reaches it can exceed it. It bounds the memory of a
batch: decoding, scores and dead letters take a few times its size. 2,000 usual records have 5 MB as
Avro and 16 MB as JSON, so only unusual ones make a batch smaller."""

_FIRST_STEP_RECORDS: Final = 8
"""Records taken from the client before the first look at their size; each step takes twice as many
as the one before. So a batch holds few records that are much larger than those before them."""


class KafkaBroker:
    """A member of a consumer group on Kafka. One thread owns it.

    Args:
        settings: how to connect to the broker.
        options: how the member joins its group.
        offsets: checks where partitions are read from; None: without comparing outcomes.
        is_transactional: False only for comparisons: such a member can duplicate records.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        options: GroupOptions,
        offsets: GroupOffsets | None = None,
        *,
        is_transactional: bool = True,
    ) -> None:
        self._topic = options.topic
        self._starts = PartitionStarts(
            offsets or GroupOffsets(settings, options.group_id, options.topic, options.topic_id),
            has_marks=options.topic_id is not None,
        )
        self._held: list[Message] = []
        self._unsought: dict[int, int] = {}  # to be read again from their committed offsets
        self._timeout = options.txn_timeout_ms / 1000
        self._assigned: frozenset[int] = frozenset()
        self._positions: dict[int, int] = {}
        self._revoked: set[int] = set()
        self._unreadable = UnreadableBatches(options.topic)
        self._calls = TransactionCalls(self._timeout)
        self._last_producer = 0
        self._producers = [
            OutcomeProducer(settings, options, self._calls, is_transactional=is_transactional)
            for _ in range(options.producers)
        ]
        self._consumer = build_client(Consumer, member_config(settings, options))
        for producer in self._producers:
            producer.connect()
        self._consumer.subscribe(
            [options.topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )

    def poll(self, max_records: int, timeout: float) -> Polled | None:
        """Records of the assigned partitions, with the fence that is valid for them."""
        if not self._held:
            self._revoked.clear()
        for producer in self._producers:
            producer.finish_abort()
            producer.serve()
        try:
            self._seek_to_committed({})
            if waiting := self._starts.waiting:  # what is held of them will be delivered again
                self._held = [m for m in self._held if m.partition() not in waiting]
                self._starts.start(self._consumer, self._next_offset)
            self._receive(max_records, timeout)
            # Taken before the next poll can change it: this is the fence.
            fence = self._fence() if self._held else None
            if self._held:
                self._starts.check_marks(self._committed_now)
        except (KafkaException, SystemError) as error:
            cause = driver_error(error)
            raise translate(cause) from cause
        self._drop_revoked()
        messages, self._held = self._held, []
        good = [m for m in messages if m.error() is None]
        failed = [m for m in messages if m.error() is not None] if len(good) < len(messages) else []
        self._raise_or_log(self._unreadable.take(failed), bool(good))
        return self._polled(good, fence) if good else None

    def _receive(self, max_records: int, timeout: float) -> None:
        """Add what arrives to the messages held.

        They are held until they can be returned with a fence. The client's position is already past
        them, so losing one to an error in between would skip it.
        """
        first = self._consumer.poll(0 if self._held else timeout)
        if first is not None:
            self._held.append(first)
        if self._held:
            self._fill(max_records)
        if any(m.error() is not None for m in self._held):
            owned = self._assigned - self._revoked
            self._held = [m for m in self._held if not self._starts.takes(m, owned)]

    def _fill(self, max_records: int) -> None:
        """Add what has arrived, until the batch is full by records or by bytes."""
        sizes = list(map(len, self._held))
        step_records, largest, room = _FIRST_STEP_RECORDS, max(sizes), BATCH_MAX_BYTES - sum(sizes)
        while (left := max_records - len(self._held)) > 0 and room > 0:
            wanted = min(left, step_records, 1 + room // max(largest, 1))
            step_records *= 2
            step = self._consumer.consume(wanted, 0)
            self._held += step
            if len(step) < wanted:
                return
            sizes = list(map(len, step))
            room, largest = room - sum(sizes), max(largest, *sizes)

    def _fence(self) -> Any:
        """The group's metadata; None if it does not identify a member.

        A classic member that was expelled but has not noticed yet can still receive records. Its
        metadata then names no member, and the broker may accept offsets without fencing them.
        The member id is checked before and after, since it may change in between.
        """
        was_member = bool(self._consumer.memberid())
        fence = self._consumer.consumer_group_metadata()
        return fence if was_member and self._consumer.memberid() else None

    def begin(self) -> KafkaTransaction:
        """Begin a transaction on the producer that has been idle longest."""
        return KafkaTransaction(self._begin(), self.assigned, self.rewind)

    def assigned(self) -> frozenset[int]:
        """The partitions of the last assignment."""
        return self._assigned

    def lost(self) -> Mapping[int, int]:
        """Records that were removed before they were read, by partition, since the start."""
        return self._starts.lost

    def lag(self) -> Mapping[int, int]:
        """Lag by the high watermarks of the last fetches."""
        found = {}
        for partition in self._assigned & self._positions.keys():
            try:
                _, high = self._consumer.get_watermark_offsets(
                    TopicPartition(self._topic, partition), cached=True
                )
            except KafkaException:
                continue
            found[partition] = max(0, high - self._positions[partition])
        return found

    def unreadable(self) -> Mapping[int, str]:
        """Assigned partitions that wait at a batch that cannot be read, each with what to do.

        Safe to call from any thread.
        """
        return self._unreadable.describe()

    def call_seconds(self) -> float:
        """Seconds since the current transaction call began; safe to call from any thread.

        No call takes longer than the transaction timeout unless the driver hangs (librdkafka
        #5456).
        """
        return self._calls.seconds()

    def close(self) -> None:
        """Leave the group."""
        closings: list[Callable[[], object]] = [self._consumer.close]
        closings += [partial(producer.close, _CLOSE_SECONDS) for producer in self._producers]
        for close in closings:
            try:
                serve_callbacks(close)
            except (FatalError, RetryableError) as error:
                # Probably the reason for closing this member.
                log.info("closing a client: %s", error)

    def _raise_or_log(self, errors: Sequence[KafkaError], has_records: bool) -> None:
        """Raise an error that arrived instead of records.

        If records arrived too, an error is only logged, unless it is fatal: the client's position
        is already past those records, and raising would skip them.
        """
        for error in errors:
            if error.code() == KafkaError._PARTITION_EOF:
                continue
            translated = translate(KafkaException(error))
            if isinstance(translated, FatalError) or not has_records:
                raise translated
            log.warning("%s", translated)

    def _drop_revoked(self) -> None:
        """Drop records of partitions that a rebalance since they arrived has revoked.

        A partition that was assigned again at once is read again from its committed offset, since
        another member may have owned it in between.
        """
        if self._revoked:
            self._held = [m for m in self._held if m.partition() not in self._revoked]
            back = self._revoked & self._assigned
            self._revoked.clear()
            self._seek_to_committed(dict.fromkeys(back, OFFSET_BEGINNING))

    def _polled(self, messages: Sequence[Message], fence: Any) -> Polled:
        records = Records(messages)
        polled = Polled(
            self._topic,
            records.values,
            records.keys,
            records.headers,
            records.partitions,
            records.offsets,
            fence,
            records.faults(),
        )
        next_offsets = polled.next_offsets()
        self._positions.update(next_offsets)
        self._unreadable.read(next_offsets)
        return polled

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._assigned |= {p.partition for p in partitions}
        self._starts.assigned(p.partition for p in partitions)
        log.info("assigned", extra={"partitions": sorted(self._assigned)})

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        revoked = {p.partition for p in partitions}
        self._assigned -= revoked
        self._revoked |= revoked
        self._starts.revoked(revoked)
        self._unreadable.revoked(revoked)
        for partition in revoked:
            self._positions.pop(partition, None)
        log.info("revoked", extra={"partitions": sorted(revoked)})

    def _begin(self) -> OutcomeProducer:
        """Begin a transaction on the next producer in turn."""
        self._last_producer = (self._last_producer + 1) % len(self._producers)
        producer = self._producers[self._last_producer]
        producer.begin()
        return producer

    def rewind(self, *batches: Polled) -> None:
        """Read the batches again; if no broker answers now, the next poll seeks first."""
        first: dict[int, int] = {}
        for polled in reversed(batches):  # of a partition in several, the earliest offset wins
            first |= polled.first_offsets()
        try:
            self._seek_to_committed(first)
        except RetryableError as error:
            log.warning("cannot rewind yet, will be retried: %s", error)

    def _seek_to_committed(self, otherwise: Mapping[int, int]) -> None:
        """Read partitions again from their committed offsets; without one, from ``otherwise``.

        Raises:
            RetryableError: the offsets cannot be read. The consumer is past records that were not
                committed, so nothing may be read before another call has succeeded.
        """
        self._unsought = {p: o for p, o in {**otherwise, **self._unsought}.items()
                          if p in self._assigned}  # fmt: skip
        if not self._unsought:
            return
        self._held = [m for m in self._held if m.partition() not in self._unsought]
        for found in self._committed_now(self._unsought):
            offset = found.offset if found.offset >= 0 else self._unsought[found.partition]
            target = TopicPartition(self._topic, found.partition, offset)
            self._positions[found.partition] = offset
            try:
                self._consumer.seek(target)
            except KafkaException as error:
                # The client does not fetch it: not yet, or it has stopped.
                log.info("cannot seek: %s", error, extra={"partition": found.partition})
                self._starts.restart(self._topic, found.partition)
        self._unsought.clear()

    def _next_offset(self, partition: int) -> int | None:
        """Where a partition has to be read; None if nothing of it was read or committed.

        Raises:
            RetryableError, FatalError: its committed offset cannot be read.
        """
        offset = self._positions.get(partition, -1)
        if offset < 0:
            (place,) = self._committed_now([partition])
            offset = place.offset
        return offset if offset >= 0 else None

    def _committed_now(self, partitions: Iterable[int]) -> list[TopicPartition]:
        """The group's committed offsets.

        Raises:
            RetryableError, FatalError: they cannot be read.
        """
        places = [TopicPartition(self._topic, p) for p in partitions]
        return self._calls.make(
            lambda: raise_partition_errors(self._consumer.committed(places, self._timeout))
        )
