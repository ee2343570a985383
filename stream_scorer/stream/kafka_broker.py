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
from stream_scorer.kafka.errors import driver_error, is_unreadable_batch, translate
from stream_scorer.kafka.messages import Records
from stream_scorer.kafka.retry import raise_partition_errors
from stream_scorer.kafka.unreadable import UnreadableBatch, describe_unreadable
from stream_scorer.runtime.settings import KafkaSettings
from stream_scorer.stream.kafka_calls import TransactionCalls, serve_callbacks
from stream_scorer.stream.kafka_options import GroupOptions, member_config
from stream_scorer.stream.kafka_producer import OutcomeProducer
from stream_scorer.stream.kafka_transaction import KafkaTransaction
from stream_scorer.stream.ports import Polled

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
    """A member of a consumer group on Kafka. One thread owns it."""

    def __init__(
        self, settings: KafkaSettings, options: GroupOptions, *, is_transactional: bool = True
    ) -> None:
        self._topic = options.topic
        self._timeout = options.txn_timeout_ms / 1000
        self._assigned: frozenset[int] = frozenset()
        self._positions: dict[int, int] = {}
        self._revoked: set[int] = set()
        self._unreadable: dict[int, UnreadableBatch] = {}
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
        self._revoked.clear()
        for producer in self._producers:
            producer.serve()
        try:
            first = self._consumer.poll(timeout)
            messages = [] if first is None else [first]
            if messages:
                self._fill(messages, max_records)
            # Taken before the next poll can change it: this is the fence.
            fence = self._fence() if messages else None
        except (KafkaException, SystemError) as error:
            cause = driver_error(error)
            raise translate(cause) from cause
        good = [m for m in messages if m.error() is None]
        failed = [m for m in messages if m.error() is not None] if len(good) < len(messages) else []
        self._raise_or_log(self._without_unreadable(failed), bool(good))
        if self._revoked:
            good = self._without_revoked(good)
        return self._polled(good, fence) if good else None

    def _fill(self, messages: list[Message], max_records: int) -> None:
        """Add what has arrived, until the batch is full by records or by bytes.

        Raises:
            FatalError: the client failed. Its position is past the records taken before, so
                continuing would skip them. A new process reads them again.
        """
        step_records, largest = _FIRST_STEP_RECORDS, len(messages[0])
        room = BATCH_MAX_BYTES - largest
        try:
            while (left := max_records - len(messages)) > 0 and room > 0:
                wanted = min(left, step_records, 1 + room // max(largest, 1))
                step_records *= 2
                step = self._consumer.consume(wanted, 0)
                messages += step
                if len(step) < wanted:
                    return
                sizes = list(map(len, step))
                room, largest = room - sum(sizes), max(largest, *sizes)
        except (KafkaException, SystemError) as error:
            cause = driver_error(error)
            raise FatalError(f"cannot poll the rest of a batch: {translate(cause)}") from cause

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
        return KafkaTransaction(self._begin(), self.assigned, self._rewind)

    def assigned(self) -> frozenset[int]:
        """The partitions of the last assignment."""
        return self._assigned

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
        return {
            partition: describe_unreadable(self._topic, partition, batch)
            for partition, batch in self._unreadable.copy().items()
        }

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
            except (
                FatalError,
                RetryableError,
            ) as error:  # probably the reason for closing this member
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

    def _without_unreadable(self, failed: Iterable[Message]) -> list[KafkaError]:
        """The errors, without those of single batches: they are noted, and logged once each."""
        errors = []
        for message in failed:
            error, partition, offset = message.error(), message.partition(), message.offset()
            if error is None:
                continue
            if partition is None or partition < 0 or not is_unreadable_batch(error):
                errors.append(error)
                continue
            batch = UnreadableBatch(offset or 0, error.str())
            known = self._unreadable.get(partition)
            self._unreadable[partition] = batch
            if known is None or known.offset != batch.offset:
                log.error(
                    "%s",
                    describe_unreadable(self._topic, partition, batch),
                    extra={"partition": partition, "offset": batch.offset},
                )
        return errors

    def _without_revoked(self, messages: Iterable[Message]) -> list[Message]:
        """Drop records of partitions that a rebalance during this poll revoked.

        A partition that was assigned again at once is read again from its committed offset, since
        another member may have owned it in between.
        """
        kept = [m for m in messages if m.partition() not in self._revoked]
        back = self._revoked & self._assigned
        if back:
            self._seek_to_committed(dict.fromkeys(back, OFFSET_BEGINNING))
        return kept

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
        for partition, offset in polled.next_offsets().items():
            self._positions[partition] = offset
            batch = self._unreadable.get(partition)
            if batch is not None and offset > batch.offset:
                del self._unreadable[partition]
        return polled

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._assigned |= {p.partition for p in partitions}
        log.info("assigned", extra={"partitions": sorted(self._assigned)})

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        revoked = {p.partition for p in partitions}
        self._assigned -= revoked
        self._revoked |= revoked
        for partition in revoked:
            self._positions.pop(partition, None)
            self._unreadable.pop(partition, None)
        log.info("revoked", extra={"partitions": sorted(revoked)})

    def _begin(self) -> OutcomeProducer:
        """Begin a transaction on the next producer in turn."""
        self._last_producer = (self._last_producer + 1) % len(self._producers)
        producer = self._producers[self._last_producer]
        producer.begin()
        return producer

    def _rewind(self, batches: Sequence[Polled]) -> None:
        """Read the batches again."""
        first: dict[int, int] = {}
        for polled in reversed(batches):  # of a partition in several, the earliest offset wins
            first |= polled.first_offsets()
        self._seek_to_committed(first)

    def _seek_to_committed(self, otherwise: Mapping[int, int]) -> None:
        """Read partitions again from their committed offsets; without one, from ``otherwise``."""
        mine = [TopicPartition(self._topic, p) for p in otherwise if p in self._assigned]
        if not mine:
            return
        for found in self._committed(mine):
            offset = found.offset if found.offset >= 0 else otherwise[found.partition]
            target = TopicPartition(self._topic, found.partition, offset)
            try:
                self._consumer.seek(target)
                self._positions[found.partition] = offset
            except KafkaException as error:
                # Revoked in the meantime: its next owner starts at the committed offset.
                log.info("cannot seek: %s", error, extra={"partition": found.partition})

    def _committed(self, places: list[TopicPartition]) -> list[TopicPartition]:
        """The group's committed offsets.

        Raises:
            FatalError: they cannot be read. The consumer's position is past records that were not
                committed, so continuing would skip them. A new process starts at the right offset.
        """
        try:
            return self._calls.make(
                lambda: raise_partition_errors(self._consumer.committed(places, self._timeout))
            )
        except RetryableError as error:
            raise FatalError(f"cannot rewind to the committed offsets: {error}") from error
