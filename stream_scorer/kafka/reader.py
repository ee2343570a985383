"""Reads a topic's committed records from one offset to another, whatever happens meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from stream_scorer.errors import RetryableError
from stream_scorer.kafka.clients import open_consumer
from stream_scorer.kafka.driver import Consumer, KafkaError, KafkaException, Message, TopicPartition
from stream_scorer.kafka.errors import translate
from stream_scorer.kafka.spans import Span, Spans
from stream_scorer.runtime.settings import KafkaSettings

QUERY_SECONDS: Final = 10.0  # of one question to the broker
_RETRY_SECONDS: Final = 0.1
_BATCH_RECORDS: Final = 5000
_QUEUE_KBYTES: Final = 32 * 1024  # fetched ahead; the default of 64 MiB is for busier readers
_FETCH_BYTES: Final = 256 * 1024
"""Of a partition at once, compressed: small records can unpack to a hundred times as much. A larger
batch still comes, alone (KIP-74)."""
_BATCH_SECONDS: Final = 0.1  # consume() waits this long for a full batch, so also at the very end


def committed_spans(settings: KafkaSettings, group_id: str, topic: str, partitions: int) -> Spans:
    """From the first record to the last stable offset, as of now."""
    return _spans(settings, group_id, topic, partitions, "read_committed")


def written_spans(settings: KafkaSettings, group_id: str, topic: str, partitions: int) -> Spans:
    """From the first record to the high watermark as of now, open txns included.

    Reading up to here waits for the end of those txns.
    """
    return _spans(settings, group_id, topic, partitions, "read_uncommitted")


def _spans(
    settings: KafkaSettings, group_id: str, topic: str, partitions: int, isolation: str
) -> Spans:
    consumer = open_consumer(settings, group_id, **{"isolation.level": isolation})
    try:
        return {partition: ask_span(consumer, topic, partition) for partition in range(partitions)}
    finally:
        consumer.close()


def ask_span(consumer: Consumer, topic: str, partition: int) -> Span:
    """What a partition holds as of now, as far as this consumer's isolation lets it see.

    Asked again for a while: just after its creation, or while leaders change, a partition answers
    with errors that pass.

    Raises:
        RetryableError: no answer within ``QUERY_SECONDS``.
        FatalError: the broker refuses us.
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
    """By partition, the first offset with a record of ``time_ms`` or later; else the span's end.

    Raises:
        RetryableError: no answer within ``QUERY_SECONDS``.
        FatalError: the broker refuses us.
    """
    consumer = open_consumer(settings, group_id)
    try:
        asked = [TopicPartition(topic, p, time_ms) for p in spans]
        found = consumer.offsets_for_times(asked, timeout=QUERY_SECONDS)
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
) -> Iterator[list[Message]]:
    """The committed data records of the spans, in batches; a partition's in its order.

    Each partition is let go as soon as its end was reached. Nothing is committed and no group is
    joined.

    Args:
        settings: the broker.
        group_id: for the broker's logs.
        topic: to read.
        spans: what of it.
        stall_seconds: how long nothing may come.
        on_lost: told a partition and its first offset when records were removed before they were
            read, after all that came before; reading goes on from that offset.

    Raises:
        RetryableError: no partition moved for ``stall_seconds``; the message names where. Or the
            topic was cut at its end.
        FatalError: the broker refuses us.
    """
    left = {p: span for p, span in spans.items() if span.high > span.low}
    reached = {p: span.low for p, span in left.items()}
    consumer = open_consumer(
        settings,
        group_id,
        **{
            "enable.partition.eof": True,
            "auto.offset.reset": "error",  # not silently from the earliest: that would be a gap
            "queued.min.messages": _BATCH_RECORDS * 4,
            "queued.max.messages.kbytes": _QUEUE_KBYTES,
            "fetch.message.max.bytes": _FETCH_BYTES,
        },
    )
    try:
        consumer.assign([TopicPartition(topic, p, span.low) for p, span in left.items()])
        moved = time.monotonic()
        while left:
            batch = consumer.consume(_BATCH_RECORDS, _BATCH_SECONDS)
            lost: list[int] = []
            if records := _within(consumer, topic, batch, left, reached, lost):
                yield records
            for partition in lost:
                on_lost(partition, _go_on(consumer, topic, partition, left, reached))
            if batch:
                moved = time.monotonic()
            elif time.monotonic() - moved > stall_seconds:
                raise RetryableError(_stalled(topic, left, stall_seconds))
    except KafkaException as error:
        raise translate(error) from error
    finally:
        consumer.close()


def _within(
    consumer: Consumer,
    topic: str,
    batch: list[Message],
    left: dict[int, Span],
    reached: dict[int, int],
    lost: list[int],
) -> list[Message]:
    """The records inside their spans; partitions that reached their end are dropped.

    ``reached`` follows what was read; partitions whose next record is gone go to ``lost``.
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
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        if span is None:
            continue
        if error is None and offset < span.high:
            records.append(message)
            reached[partition] = offset + 1
        # The end's own offset is the next to come; a record's is that of the record.
        if offset + (error is None) >= span.high:
            del left[partition]
            consumer.incremental_unassign([TopicPartition(topic, partition)])
    return records


def _go_on(
    consumer: Consumer,
    topic: str,
    partition: int,
    left: dict[int, Span],
    reached: Mapping[int, int],
) -> int:
    """Read a partition from its first record on, now that those before it are gone; its offset.

    Raises:
        RetryableError: nothing is gone before it, so the offset is beyond the end.
    """
    low = ask_span(consumer, topic, partition).low
    if low <= reached[partition]:
        raise RetryableError(
            f"{topic} partition {partition} ends before offset {reached[partition]}: it was cut or "
            "restored"
        )
    consumer.incremental_unassign([TopicPartition(topic, partition)])
    if low < left[partition].high:
        consumer.incremental_assign([TopicPartition(topic, partition, low)])
    else:
        del left[partition]
    return low


def _stalled(topic: str, left: Mapping[int, Span], seconds: float) -> str:
    partition, span = next(iter(left.items()))
    return (
        f"{topic} partition {partition} could not be read up to offset {span.high} within "
        f"{seconds:.0f} s: an open transaction there has not ended, or no broker answers"
    )
