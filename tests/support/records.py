"""Produces to and reads whole topics in tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from schemas.framing import Header
from stream_scorer.kafka.clients import open_consumer, open_producer
from stream_scorer.kafka.driver import Consumer, Message, TopicPartition
from stream_scorer.kafka.reader import fetch_span
from stream_scorer.runtime.settings import KafkaSettings
from tests.support.waiting import wait_until

_FLUSH_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A record read by a read_committed consumer."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]


def _seen(message: Message) -> Seen:
    assert message.error() is None
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    headers = {
        name: value.encode() if isinstance(value, str) else value
        for name, value in dict(message.headers() or []).items()
    }
    return Seen(partition, offset, message.key(), message.value(), headers)


def produce(
    settings: KafkaSettings,
    topic: str,
    values: Sequence[bytes | None],
    partitions: int,
    headers: Sequence[Header] | None = None,
) -> None:
    """Record ``i`` goes to partition ``i % partitions`` with the key ``1000 + i % 7``."""
    producer = open_producer(settings)
    errors: list[str] = []
    for i, value in enumerate(values):
        producer.produce(
            topic,
            value,
            str(1000 + i % 7).encode(),
            i % partitions,
            headers=list(headers) if headers else None,
            on_delivery=lambda error, _: errors.append(str(error)) if error else None,
        )
        producer.poll(0)
    assert producer.flush(_FLUSH_SECONDS) == 0
    assert not errors


def read_all(settings: KafkaSettings, topic: str) -> list[Seen]:
    """Every committed record of a topic, up to its end as of now."""
    with _reader(settings) as consumer:
        spans = {p: fetch_span(consumer, topic, p) for p in range(_partitions(consumer, topic))}
        ends = {p: span.high for p, span in spans.items() if span.high > span.low}
        consumer.assign([TopicPartition(topic, p, 0) for p in ends])
        seen: list[Seen] = []
        while ends:
            seen += [_seen(message) for message in consumer.consume(1000, 0.1)]
            # Control records have offsets but are never delivered: the position shows the end.
            for place in consumer.position([TopicPartition(topic, p) for p in ends]):
                if place.offset >= ends[place.partition]:
                    del ends[place.partition]
        return seen


def wait_readable(settings: KafkaSettings, *topics: str) -> None:
    """Wait until every record on the topics is readable; call it only when no txn is open.

    Kafka acknowledges the end of a txn before it writes the markers, so a record that was just
    committed may not be readable yet.
    """
    with _reader(settings) as committed, _reader(settings, "read_uncommitted") as written:
        for topic in topics:
            wait_until(partial(_is_readable, committed, written, topic), what=f"{topic}'s markers")


def _is_readable(committed: Consumer, written: Consumer, topic: str) -> bool:
    return all(
        fetch_span(committed, topic, p).high == fetch_span(written, topic, p).high
        for p in range(_partitions(written, topic))
    )


@contextmanager
def _reader(settings: KafkaSettings, isolation: str = "read_committed") -> Iterator[Consumer]:
    name = f"reader-{uuid.uuid4().hex[:8]}"
    consumer = open_consumer(settings, name, **{"isolation.level": isolation})
    try:
        yield consumer
    finally:
        consumer.close()


def _partitions(consumer: Consumer, topic: str) -> int:
    """The number of partitions; a topic that was just created has none at first."""
    return wait_until(
        lambda: len(consumer.list_topics(topic, timeout=10).topics[topic].partitions),
        what=f"the partitions of {topic}",
    )
