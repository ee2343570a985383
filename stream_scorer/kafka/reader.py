"""Reads a topic's committed records from one offset to another, even while some are removed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from stream_scorer.errors import RetryableError
from stream_scorer.kafka.clients import open_consumer
from stream_scorer.kafka.driver import Consumer, KafkaError, KafkaException, Message, TopicPartition
from stream_scorer.kafka.errors import is_unreadable_batch, translate
from stream_scorer.kafka.spans import Span, Spans
from stream_scorer.kafka.unreadable import PassedBatch, UnreadableBatch, pass_batch
from stream_scorer.runtime.settings import KafkaSettings

QUERY_SECONDS: Final = 10.0  # timeout of one query to the broker
_RETRY_SECONDS: Final = 0.1
_BATCH_RECORDS: Final = 5000
_QUEUE_KBYTES: Final = 32 * 1024  # prefetch limit; the default is 64 MiB
_FETCH_BYTES: Final = 256 * 1024
"""Fetch limit for one partition, compressed: small records can unpack to a hundred times the size.
A larger batch is still delivered, on its own (KIP-74)."""
_BATCH_SECONDS: Final = 0.1  # how long consume() waits for a full batch


def committed_spans(settings: KafkaSettings, group_id: str, topic: str, partitions: int) -> Spans:
    """The spans from the first record to the current last stable offset."""
    return _spans(settings, group_id, topic, partitions, "read_committed")


def written_spans(settings: KafkaSettings, group_id: str, topic: str, partitions: int) -> Spans:
    """The spans from the first record to the current high watermark, including open txns.

    Reading up to the end of these spans waits for those txns to end.
    """
    return _spans(settings, group_id, topic, partitions, "read_uncommitted")


def _spans(
    settings: KafkaSettings, group_id: str, topic: str, partitions: int, isolation: str
) -> Spans:
    consumer = open_consumer(settings, group_id, **{"isolation.level": isolation})
    try:
        return {
            partition: fetch_span(consumer, topic, partition) for partition in range(partitions)
        }
    finally:
        consumer.close()


def fetch_span(consumer: Consumer, topic: str, partition: int) -> Span:
    """The offsets that a partition holds now and that this consumer's isolation level can read.

    Transient errors are retried: a partition returns them just after its creation and during
    leader changes.

    Raises:
        RetryableError: no successful response within ``QUERY_SECONDS``.
        FatalError: login failed, or this user is not authorized.
    """
    deadline = time.monotonic() + QUERY_SECONDS
    while True:
        left = max(_RETRY_SECONDS, deadline - time.monotonic())
        try:
            low, high = consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=left
            )
            return Span(low, high)
        except KafkaException as error:
            failure = translate(error)
            if not isinstance(failure, RetryableError) or time.monotonic() > deadline:
                raise failure from error
        time.sleep(_RETRY_SECONDS)


def time_offsets(
    settings: KafkaSettings, group_id: str, topic: str, spans: Spans, time_ms: int
) -> dict[int, int]:
    """By partition, the first offset with a record of ``time_ms`` or later, or the span's end.

    Raises:
        RetryableError: no response within ``QUERY_SECONDS``.
        FatalError: login failed, or this user is not authorized.
    """
    consumer = open_consumer(settings, group_id)
    try:
        times = [TopicPartition(topic, p, time_ms) for p in spans]
        found = consumer.offsets_for_times(times, timeout=QUERY_SECONDS)
    except KafkaException as error:
        raise translate(error) from error
    finally:
        consumer.close()
    for part in found:
        if part.error:
            raise translate(KafkaException(part.error))
    return {
        part.partition: part.offset if part.offset >= 0 else spans[part.partition].high
        for part in found
    }


def read_spans(
    settings: KafkaSettings,
    group_id: str,
    topic: str,
    spans: Spans,
    stall_seconds: float,
    on_lost: Callable[[int, int], None] = lambda _partition, _low: None,
    on_unreadable: Callable[[int, PassedBatch], None] = lambda _partition, _passed: None,
) -> Iterator[list[Message]]:
    """The committed data records of the spans, in batches; each partition in offset order.

    A partition is unassigned as soon as its end is reached. Nothing is committed and no group is
    joined.

    Args:
        settings: the broker.
        group_id: appears in the broker's logs.
        topic: the topic to read.
        spans: the offsets to read.
        stall_seconds: give up when no record arrives for this long.
        on_lost: called with a partition and its first offset when records were removed before they
            were read. All earlier records were yielded before the call; reading continues at that
            offset.
        on_unreadable: called with a batch whose records cannot be read at all; reading continues
            after it. One that only unpacks to too much is read with a larger limit.

    Raises:
        RetryableError: no record arrived for ``stall_seconds`` (the message has the partition), or
            the end of the topic was truncated.
        FatalError: login failed, or this user is not authorized.
    """
    left = {p: span for p, span in spans.items() if span.high > span.low}
    reached = {p: span.low for p, span in left.items()}
    consumer = _open_reader(settings, group_id)
    try:
        consumer.assign([TopicPartition(topic, p, span.low) for p, span in left.items()])
        last_record_at = time.monotonic()
        while left:
            batch = consumer.consume(_BATCH_RECORDS, _BATCH_SECONDS)
            lost, unreadable = list[int](), dict[int, UnreadableBatch]()
            if records := _within(consumer, topic, batch, left, reached, lost, unreadable):
                yield records
            for partition in lost:
                on_lost(partition, _resume(consumer, topic, partition, left, reached))
            for partition, failed in unreadable.items():
                passed = _pass(
                    consumer, settings, group_id, topic, partition, failed, left, reached
                )
                if passed and passed.records is None:
                    on_unreadable(partition, passed)
                elif passed and (found := passed.before(spans[partition].high)):
                    yield found
            if batch:
                last_record_at = time.monotonic()
            elif time.monotonic() - last_record_at > stall_seconds:
                raise RetryableError(_stalled(topic, left, stall_seconds))
    except KafkaException as error:
        raise translate(error) from error
    finally:
        consumer.close()


def _open_reader(settings: KafkaSettings, group_id: str) -> Consumer:
    return open_consumer(
        settings,
        group_id,
        **{
            "enable.partition.eof": True,
            "auto.offset.reset": "error",  # do not skip records silently
            "queued.min.messages": _BATCH_RECORDS * 4,
            "queued.max.messages.kbytes": _QUEUE_KBYTES,
            "fetch.message.max.bytes": _FETCH_BYTES,
        },
    )


def _within(
    consumer: Consumer,
    topic: str,
    batch: list[Message],
    left: dict[int, Span],
    reached: dict[int, int],
    lost: list[int],
    unreadable: dict[int, UnreadableBatch],
) -> list[Message]:
    """The records inside their spans; partitions that reached their end are unassigned.

    ``reached`` is updated with what was read. Partitions whose next record was removed are added to
    ``lost``, those whose next batch cannot be read to ``unreadable``.
    """
    records = []
    for message in batch:
        partition, offset = message.partition(), message.offset()
        if partition is None or offset is None:
            continue
        span = left.get(partition)
        error = message.error()
        if error is not None and error.code() == KafkaError._AUTO_OFFSET_RESET:
            lost += [partition] if span else []
            continue
        if error is not None and is_unreadable_batch(error):
            unreadable[partition] = UnreadableBatch(offset, error.str())
            continue
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        if span is None:
            continue
        if error is None and offset < span.high:
            records.append(message)
            reached[partition] = offset + 1
        # An end-of-partition event has the next offset; a record has its own.
        if offset + (error is None) >= span.high:
            del left[partition]
            consumer.incremental_unassign([TopicPartition(topic, partition)])
    return records


def _resume(
    consumer: Consumer,
    topic: str,
    partition: int,
    left: dict[int, Span],
    reached: dict[int, int],
) -> int:
    """Continue at the first record of a partition after earlier ones were removed; its offset.

    Raises:
        RetryableError: no record was removed, so the requested offset is beyond the end.
    """
    low = fetch_span(consumer, topic, partition).low
    if low <= reached[partition]:
        raise RetryableError(
            f"{topic} partition {partition} ends before offset {reached[partition]}: it was "
            "truncated or restored"
        )
    _continue_at(consumer, topic, partition, low, left, reached)
    return low


def _continue_at(
    consumer: Consumer,
    topic: str,
    partition: int,
    offset: int,
    left: dict[int, Span],
    reached: dict[int, int],
) -> None:
    """Continue reading a partition at another offset."""
    reached[partition] = offset
    consumer.incremental_unassign([TopicPartition(topic, partition)])
    if offset < left[partition].high:
        consumer.incremental_assign([TopicPartition(topic, partition, offset)])
    else:
        del left[partition]


def _pass(
    consumer: Consumer,
    settings: KafkaSettings,
    group_id: str,
    topic: str,
    partition: int,
    failed: UnreadableBatch,
    left: dict[int, Span],
    reached: dict[int, int],
) -> PassedBatch | None:
    """Continue after a batch that cannot be read; None if that has been done before."""
    if partition not in left or failed.offset < reached[partition]:
        return None
    high = fetch_span(consumer, topic, partition).high
    passed = pass_batch(settings, group_id, topic, partition, failed.offset, high)
    _continue_at(consumer, topic, partition, passed.next_offset, left, reached)
    return passed


def _stalled(topic: str, left: Mapping[int, Span], seconds: float) -> str:
    partition, span = next(iter(left.items()))
    return (
        f"{topic} partition {partition} could not be read up to offset {span.high} within "
        f"{seconds:.0f} s: an open transaction there has not ended, or no broker answers"
    )
