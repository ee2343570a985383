"""The broker port on Apache Kafka: the consumer group, its rebalances, and the fence."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
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
from stream_scorer.runtime.settings import KafkaSettings
from stream_scorer.runtime.stopping import close_within
from stream_scorer.stream.group_offsets import GroupOffsets
from stream_scorer.stream.held_partitions import HeldPartitions
from stream_scorer.stream.kafka_calls import TransactionCalls, read_fence, serve_callbacks
from stream_scorer.stream.kafka_options import GroupOptions, member_config
from stream_scorer.stream.kafka_producer import OutcomeProducer
from stream_scorer.stream.kafka_transaction import KafkaTransaction
from stream_scorer.stream.member_offsets import MemberOffsets
from stream_scorer.stream.offset_check import Committed
from stream_scorer.stream.partition_starts import NextOffset, PartitionStarts
from stream_scorer.stream.ports import Polled
from stream_scorer.stream.received import Received
from stream_scorer.stream.unreadable_batches import UnreadableBatches

log = logging.getLogger(__name__)

_CLOSE_SECONDS: Final = 5.0


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
        self._offsets = offsets or GroupOffsets(
            settings, options.group_id, options.topic, options.topic_id
        )
        self._starts = PartitionStarts(self._offsets, has_marks=options.topic_id is not None)
        self._holds = HeldPartitions(options.topic)
        self._unsought: dict[int, int] = {}  # to be read again from their committed offsets
        self._assigned: frozenset[int] = frozenset()
        self._positions: dict[int, int] = {}
        self._released: set[int] = set()  # nothing was read of them since
        self._revoked: set[int] = set()
        self._unreadable = UnreadableBatches(options.topic)
        self._calls = TransactionCalls(options.txn_timeout_ms / 1000)
        self._last_producer = 0
        self._producers = [
            OutcomeProducer(settings, options, self._calls, is_transactional=is_transactional)
            for _ in range(options.producers)
        ]
        self._consumer = build_client(Consumer, member_config(settings, options))
        self._committed = MemberOffsets(
            self._consumer, options, self._calls, self._offsets.committed
        )
        self._received = Received(self._consumer)
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
        if not self._received:
            self._revoked.clear()
        for producer in self._producers:
            producer.finish_abort()
            producer.serve()
        try:
            self._seek_to_committed({})
            # What was received of these will be delivered again.
            self._received.drop(self._starts.waiting)
            self._starts.start(self._consumer, self._next_offset, self._holds.current)
            not_started = self._starts.waiting
            self._receive(max_records, timeout)
            self._received.drop(not_started | self._holds.current)
            # Taken before the next poll can change it: this is the fence.
            fence = read_fence(self._consumer) if self._received else None
            if self._received:
                self._starts.check_marks(self._committed.fetch)
            else:
                self._committed.serve_idle(self._assigned)
        except (KafkaException, SystemError) as error:
            cause = driver_error(error)
            raise translate(cause) from cause
        self._drop_revoked()
        messages = self._received.take()
        good = [m for m in messages if m.error() is None]
        failed = [m for m in messages if m.error() is not None] if len(good) < len(messages) else []
        self._raise_or_log(self._unreadable.take(failed), bool(good))
        return self._polled(good, fence) if good else None

    def _receive(self, max_records: int, timeout: float) -> None:
        """Add what arrives to the messages received, except events that a partition stopped."""
        self._received.receive(max_records, timeout)
        if any(m.error() is not None for m in self._received.messages):
            owned = self._assigned - self._revoked
            self._received.messages = [
                m for m in self._received.messages if not self._starts.takes(m, owned)
            ]

    def begin(self) -> KafkaTransaction:
        """Begin a transaction on the producer that has been idle longest."""
        return KafkaTransaction(self._begin(), self.assigned, self.rewind)

    def assigned(self) -> frozenset[int]:
        """The partitions of the last assignment."""
        return self._assigned

    def lost(self) -> Mapping[int, int]:
        """Records that were removed before they were read, by partition, since the start."""
        return self._starts.lost

    def assignments(self) -> Mapping[int, int]:
        """How often each assigned partition was assigned."""
        return self._holds.assignments(self._assigned)

    def hold_new(self, is_on: bool) -> None:
        """Whether partitions are held from their assignment on."""
        self._holds.holds_new = is_on

    def hold(self, partitions: Collection[int]) -> None:
        """Deliver nothing of these partitions, also of what was received already."""
        owned = self._assigned.intersection(partitions)
        self._holds.hold(self._consumer, owned)
        self._received.drop(owned)

    def release(self, partition: int, offset: int) -> None:
        """Deliver a held partition from an offset on."""
        if partition not in self._holds.current:
            return
        self._unsought.pop(partition, None)
        self._released.add(partition)
        self._seek(partition, offset)
        self._holds.release(self._consumer, partition)

    def held(self) -> frozenset[int]:
        """The partitions that are held."""
        return self._holds.current

    def committed(self, partitions: Collection[int]) -> Mapping[int, Committed]:
        """The group's offsets and marks, from a client of its own.

        The member's own request would wait behind its JoinGroup while the group rebalances.
        """
        return self._offsets.committed(partitions)

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
        closings: list[Callable[[], object]] = [self._leave]
        closings += [partial(producer.close, _CLOSE_SECONDS) for producer in self._producers]
        for close in closings:
            try:
                serve_callbacks(close)
            except (FatalError, RetryableError) as error:
                # Probably the reason for closing this member.
                log.info("closing a client: %s", error)

    def _leave(self) -> None:
        if self._committed.is_stale:  # its goodbye would not be answered either
            close_within(_CLOSE_SECONDS, self._consumer.close, "consumer-close")
        else:
            self._consumer.close()

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
            self._received.drop(self._revoked)
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
        if self._released:
            self._released.difference_update(next_offsets)
        self._unreadable.read(next_offsets)
        return polled

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._committed.answered()
        self._assigned |= {p.partition for p in partitions}
        self._starts.assigned(p.partition for p in partitions)
        log.info("assigned", extra={"partitions": sorted(self._assigned)})
        self._holds.assigned(consumer, partitions)

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        revoked = {p.partition for p in partitions}
        self._assigned -= revoked
        self._revoked |= revoked
        self._holds.revoked(revoked)
        self._released -= revoked
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
        reading = self._assigned - self._holds.current  # a release seeks itself
        self._unsought = {p: o for p, o in {**otherwise, **self._unsought}.items() if p in reading}
        if not self._unsought:
            return
        self._received.drop(self._unsought)
        for found in self._committed.fetch(self._unsought):
            offset = found.offset if found.offset >= 0 else self._unsought[found.partition]
            self._seek(found.partition, offset)
        self._unsought.clear()

    def _seek(self, partition: int, offset: int) -> None:
        """Read a partition from an offset on."""
        self._positions[partition] = offset
        try:
            self._consumer.seek(TopicPartition(self._topic, partition, offset))
        except KafkaException as error:
            # The client does not fetch it: not yet, or it has stopped.
            log.info("cannot seek: %s", error, extra={"partition": partition})
            self._starts.restart(self._topic, partition)

    def _next_offset(self, partition: int) -> NextOffset:
        """Where a partition has to be read.

        Raises:
            RetryableError, FatalError: its committed offset cannot be read.
        """
        position = self._positions.get(partition, -1)
        if position >= 0 and partition not in self._released:
            return NextOffset(position)
        (place,) = self._committed.fetch([partition])
        if place.offset < 0:
            return NextOffset(None, position if position >= 0 else None)
        return NextOffset(position if position >= 0 else place.offset)
