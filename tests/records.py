"""Producing to and reading whole topics in tests."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.framing import Header
from stream_scorer.runtime.kafka import Message, TopicPartition, open_consumer, open_producer
from stream_scorer.runtime.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class Seen:
    """A record that a read_committed reader got."""

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
    assert producer.flush(30) == 0
    assert not errors


def read_all(settings: KafkaSettings, topic: str) -> list[Seen]:
    """Every committed record of a topic, up to its end as of now."""
    consumer = open_consumer(settings, f"reader-{uuid.uuid4().hex[:8]}")
    try:
        count = len(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
        ends = {}
        for partition in range(count):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            if high > low:
                ends[partition] = high
        consumer.assign([TopicPartition(topic, p, 0) for p in ends])
        seen: list[Seen] = []
        while ends:
            seen += [_seen(message) for message in consumer.consume(1000, 0.1)]
            # Control records have offsets but are never delivered: the position tells.
            for place in consumer.position([TopicPartition(topic, p) for p in ends]):
                if place.offset >= ends[place.partition]:
                    del ends[place.partition]
        return seen
    finally:
        consumer.close()
