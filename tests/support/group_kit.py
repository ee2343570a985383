"""Offsets of a group and transactions of a producer, for tests."""

from __future__ import annotations

from stream_scorer.kafka.clients import open_consumer, open_producer
from stream_scorer.kafka.driver import TopicPartition
from stream_scorer.kafka.reader import committed_spans
from stream_scorer.runtime.settings import KafkaSettings
from tests.support.waiting import wait_until


def in_txn(
    settings: KafkaSettings, topic: str, records: int, end: int, *, commit: bool = True
) -> None:
    """Write one transaction, after which the topic ends at ``end``."""
    producer = open_producer(settings, **{"transactional.id": f"writer-{topic}"})
    producer.init_transactions(30)
    producer.begin_transaction()
    for _ in range(records):
        producer.produce(topic, b"x", partition=0)
    producer.flush(30)
    producer.commit_transaction(30) if commit else producer.abort_transaction(30)
    # The marker is written after the call has returned.
    wait_until(lambda: committed_spans(settings, "reader", topic, 1)[0].high == end)


def commit_offset(settings: KafkaSettings, group: str, topic: str, offset: int) -> None:
    consumer = open_consumer(settings, group)
    consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    consumer.close()
