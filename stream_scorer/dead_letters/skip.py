"""Passes a batch of the input topic that scorers cannot read: its records become dead letters.

The dead letters and the group's new committed offset are written in one Kafka transaction. This
command joins the scorers' group and continues only if it is the only member: it is assigned every
partition then. The group's metadata is the fence (KIP-447), so that a scorer that starts meanwhile
makes the commit fail.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from schemas.framing import Header
from schemas.rejections import Rejection, Stage
from stream_scorer.dead_letters.dead_letter import check_partition
from stream_scorer.dead_letters.writing import RejectedInput, build_dead_letter
from stream_scorer.errors import FatalError, RetryableError, UsageError
from stream_scorer.kafka.admin import topic_config
from stream_scorer.kafka.clients import open_admin, open_consumer, open_producer
from stream_scorer.kafka.driver import (
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from stream_scorer.kafka.errors import driver_error, translate
from stream_scorer.kafka.messages import Records
from stream_scorer.kafka.reader import QUERY_SECONDS, committed_spans, read_spans
from stream_scorer.kafka.retry import fetch_committed
from stream_scorer.kafka.sizes import OUTPUT_MAX_BYTES, record_limit
from stream_scorer.kafka.spans import Span
from stream_scorer.kafka.topics import require_topics
from stream_scorer.kafka.unreadable import PassedBatch, pass_batch
from stream_scorer.settings import GroupSettings

ERROR_CLASS: Final = "UnreadableBatch"
TRANSACTIONAL_SUFFIX: Final = "-skip"

_READER_GROUP: Final = "-skip"  # added to the scorers' group id; it never joins or commits
_JOIN_SECONDS: Final = 45.0
"""Longer than the session of a killed scorer (15 s), which keeps its partitions until it ends."""

_STALL_SECONDS: Final = 30.0
_TXN_MS: Final = 300_000  # a batch can unpack to a gigabyte
_TXN_SECONDS: Final = _TXN_MS / 1000
_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class SkippedBatch:
    """What a skip did.

    Attributes:
        partition: the partition of the input topic.
        begin: the first offset passed.
        next_offset: the offset that scorers continue at.
        dead_letters: number of dead letters written.
        has_values: the records could be read, with a larger limit.
    """

    partition: int
    begin: int
    next_offset: int
    dead_letters: int
    has_values: bool


def skip(settings: GroupSettings, partition: int, offset: int) -> SkippedBatch:
    """Dead-letter the records of an unreadable batch, and commit the offset after it.

    Args:
        settings: broker, topics and group.
        partition: a partition of the input topic.
        offset: where the scorers wait, as they report it.

    Raises:
        UsageError: there is no unreadable batch at this place, records before it have no outcome
            yet, or the group has other members.
        RetryableError: a transient error of Kafka; nothing was written.
        FatalError: a scorer joined the group meanwhile; nothing was written.
    """
    topic, group = settings.input_topic, settings.kafka_group_id
    counts = require_topics(settings, (topic, settings.dlq_topic))
    check_partition(topic, partition, counts[topic])
    if partition >= counts[settings.dlq_topic]:
        raise UsageError(
            f"topic {settings.dlq_topic} has no partition {partition}: add it with: "
            "stream-scorer topics create"
        )
    span = committed_spans(settings, group + _READER_GROUP, topic, counts[topic])[partition]
    try:
        with _sole_member(settings, counts[topic]) as member:
            # Before anything is read: a later one would vouch for what this member has lost since.
            fence = member.consumer_group_metadata()
            if not member.memberid():
                raise RetryableError("kafka: this command has just lost its membership: repeat it")
            place = _committed(member, topic, partition)
            begin = _check_place(settings, place, span, offset)
            passed = pass_batch(settings, group + _READER_GROUP, topic, partition, begin, span.high)
            if passed.next_offset == begin:
                raise UsageError(f"{topic} {partition}-{begin} can be read: nothing was skipped")
            return _commit(settings, fence, place, passed)
    except (KafkaException, SystemError) as error:
        cause = driver_error(error)
        raise translate(cause) from cause


@contextmanager
def _sole_member(settings: GroupSettings, partitions: int) -> Iterator[Consumer]:
    """The only member of the scorers' group.

    Raises:
        UsageError: other members are active.
    """
    assigned: set[int] = set()

    def on_assign(consumer: Consumer, places: list[TopicPartition]) -> None:
        assigned.update(place.partition for place in places)
        consumer.incremental_assign(places)
        consumer.pause(places)  # nothing is read through this member

    def on_revoke(_: Consumer, places: list[TopicPartition]) -> None:
        assigned.difference_update(place.partition for place in places)

    member = open_consumer(
        settings,
        settings.kafka_group_id,
        **{"partition.assignment.strategy": "cooperative-sticky", "queued.min.messages": 1},
    )
    try:
        member.subscribe(
            [settings.input_topic], on_assign=on_assign, on_revoke=on_revoke, on_lost=on_revoke
        )
        deadline = time.monotonic() + _JOIN_SECONDS
        while len(assigned) < partitions:
            if time.monotonic() > deadline:
                raise UsageError(
                    f"group {settings.kafka_group_id} has other active members: stop all scorers "
                    "first, and start them again after this command"
                )
            member.poll(_POLL_SECONDS)
        yield member
    finally:
        member.close()


def _committed(member: Consumer, topic: str, partition: int) -> TopicPartition:
    (place,) = fetch_committed(member, [TopicPartition(topic, partition)], QUERY_SECONDS)
    return place


def _check_place(settings: GroupSettings, place: TopicPartition, span: Span, offset: int) -> int:
    """The offset to begin at.

    Raises:
        UsageError: the scorers do not wait there.
    """
    topic, partition = settings.input_topic, place.partition
    committed = place.offset if place.offset >= 0 else span.low
    if not max(committed, span.low) <= offset < span.high:
        raise UsageError(
            f"{topic} partition {partition} has records without an outcome from offset {committed} "
            f"to {span.high}: {offset} is not one of them"
        )
    before = {partition: Span(max(committed, span.low), offset)}
    group = settings.kafka_group_id + _READER_GROUP

    def refuse(_: int, passed: PassedBatch) -> None:
        raise UsageError(
            f"{topic} {partition}-{passed.begin} has no outcome yet and cannot be read either: "
            "skip it first; scorers report the first offset at which they wait"
        )

    for records in read_spans(settings, group, topic, before, _STALL_SECONDS, on_unreadable=refuse):
        raise UsageError(
            f"{topic} {partition}-{records[0].offset()} has no outcome yet and can be read: start "
            "the scorers, and skip only the offset at which they wait"
        )
    return offset


def _commit(
    settings: GroupSettings, fence: Any, place: TopicPartition, passed: PassedBatch
) -> SkippedBatch:
    """Write the dead letters and the offset after them in one Kafka transaction."""
    failures: list[KafkaError] = []
    producer: Producer = open_producer(
        settings,
        **{
            "transactional.id": settings.kafka_group_id + TRANSACTIONAL_SUFFIX,
            "transaction.timeout.ms": _TXN_MS,
            "on_delivery": lambda error, _: failures.append(error) if error else None,
        },
    )
    producer.init_transactions(_TXN_SECONDS)
    producer.begin_transaction()
    number = 0
    try:
        for key, value, headers in _dead_letters(settings, place, passed):
            number += 1
            _produce(producer, settings.dlq_topic, place.partition, key, value, headers)
        left = producer.flush(_TXN_SECONDS)
        if failures:
            raise KafkaException(failures[0])
        if left:
            raise RetryableError("kafka: not every dead letter was acknowledged in time")
        after = TopicPartition(
            place.topic, place.partition, passed.next_offset, place.metadata or ""
        )
        producer.send_offsets_to_transaction([after], fence, _TXN_SECONDS)
        producer.commit_transaction(_TXN_SECONDS)
    except BaseException:
        _abort(producer)
        raise
    return SkippedBatch(
        place.partition, passed.begin, passed.next_offset, number, passed.records is not None
    )


def _dead_letters(
    settings: GroupSettings, place: TopicPartition, passed: PassedBatch
) -> Iterator[tuple[bytes | None, bytes | None, list[Header]]]:
    limit = _limit(settings)
    topic, partition = place.topic, place.partition
    reason = f"the batch at offset {passed.begin} cannot be read by scorers and was skipped"
    if passed.records is None:
        rejection = Rejection(0, Stage.FRAMING, f"{reason}; its records cannot be read at all")
        for offset in range(passed.begin, passed.next_offset):
            rejected = RejectedInput(
                topic, partition, offset, None, None, omitted="they cannot be read"
            )
            yield build_dead_letter(rejected, rejection, limit, ERROR_CLASS)
        return
    records = Records(passed.records)
    faults, rejection = records.faults(), Rejection(0, Stage.FRAMING, reason)
    for row, offset in enumerate(records.offsets.tolist()):
        rejected = RejectedInput(
            topic,
            partition,
            offset,
            records.keys[row],
            records.values[row],
            records.headers[row],
            faults.get(row),
        )
        yield build_dead_letter(rejected, rejection, limit, ERROR_CLASS)


def _limit(settings: GroupSettings) -> int:
    """Bytes of key, value and headers that fit into one dead letter."""
    try:
        text = topic_config(open_admin(settings), settings.dlq_topic).get("max.message.bytes")
        allowed = int(text or OUTPUT_MAX_BYTES)
    except (FatalError, RetryableError):  # not authorized to read it
        allowed = OUTPUT_MAX_BYTES
    return record_limit(allowed)


def _produce(
    producer: Producer,
    topic: str,
    partition: int,
    key: bytes | None,
    value: bytes | None,
    headers: list[Header],
) -> None:
    while True:
        try:
            producer.produce(topic, value, key, partition, headers=headers)
            return
        except BufferError:
            producer.poll(_POLL_SECONDS)


def _abort(producer: Producer) -> None:
    try:
        producer.flush(_TXN_SECONDS)  # without it an early abort can be fatal (librdkafka #4849)
        producer.abort_transaction(_TXN_SECONDS)
    except (KafkaException, SystemError) as error:
        driver_error(error)  # the first error is raised; the broker aborts the txn
