"""What the operations page reads from real Apache Kafka: backlog, missing topics, dead letters."""

from __future__ import annotations

from contextlib import closing

import pytest

from dashboard.feed.backlog import BacklogGauge, KafkaInput
from dashboard.operations.backlog import WatchedBacklog
from dashboard.operations.dead_letters import NEWEST, KafkaDeadLetters
from schemas.rejections import Rejection, Stage
from stream_scorer.dead_letters.headers import dead_letter_headers
from stream_scorer.errors import RetryableError
from stream_scorer.kafka.clients import open_consumer, open_producer
from stream_scorer.kafka.driver import TopicPartition
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.settings import GroupSettings
from tests.conftest import MakeTopics
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.names import random_topics
from tests.support.records import produce, wait_readable


def own_settings(kafka: KafkaUnderTest, names: TopicSettings) -> GroupSettings:
    group = f"scorers-of-{names.input_topic}"
    return GroupSettings(**kafka.settings.model_dump(), **names.model_dump(), kafka_group_id=group)


def open_input(settings: GroupSettings) -> KafkaInput:
    return KafkaInput(settings, settings.input_topic, settings.kafka_group_id)


def test_backlog_is_read_without_joining_the_group(
    kafka: KafkaUnderTest, topics: MakeTopics
) -> None:
    settings = own_settings(kafka, topics(2))
    with closing(open_input(settings)) as offsets:
        source = WatchedBacklog(settings, BacklogGauge(offsets).measure)
        produce(kafka.settings, settings.input_topic, [b"x"] * 6, 2)
        assert [p.committed for p in source.read()] == [None, None]
        consumer = open_consumer(settings, settings.kafka_group_id)
        place = TopicPartition(settings.input_topic, 0, 2)
        consumer.commit(offsets=[place], asynchronous=False)  # as the only member could
        consumer.close()
        found = source.read()
        assert [(p.committed, p.end, p.waiting) for p in found] == [(2, 3, 1), (None, 3, 3)]
        assert source.missing([settings.input_topic, "no-such-topic"]) == ["no-such-topic"]


def test_topic_that_does_not_exist_is_said(kafka: KafkaUnderTest) -> None:
    settings = own_settings(kafka, random_topics())
    with closing(open_input(settings)) as offsets:
        source = WatchedBacklog(settings, BacklogGauge(offsets).measure)
        with pytest.raises(RetryableError, match="the input topic does not exist"):
            source.read()
    assert KafkaDeadLetters(settings).read().records is None


def test_newest_dead_letters_are_read_from_the_end(
    kafka: KafkaUnderTest, topics: MakeTopics
) -> None:
    settings = own_settings(kafka, topics(2))
    reader = KafkaDeadLetters(settings)
    assert reader.read().newest == []
    producer = open_producer(settings, **{"transactional.id": settings.dlq_topic})
    producer.init_transactions(60)
    for offset in range(NEWEST + 5):  # a transaction each: its marker takes an offset too
        rejection = Rejection(0, Stage.DECODE, f"reason {offset}\x1b[31m")
        producer.begin_transaction()
        producer.produce(
            settings.dlq_topic,
            b"value",
            partition=offset % 2,
            headers=dead_letter_headers("input", 1, offset, rejection),
            timestamp=1_000 + offset,
        )
        producer.commit_transaction(60)
    wait_readable(settings, settings.dlq_topic)
    found = reader.read()
    assert found.records is not None
    assert found.records >= NEWEST + 5
    assert [row["time"] for row in found.newest] == list(range(1_024, 1_004, -1))
    first = found.newest[0]
    assert first["reason"] == "reason 24\\x1b[31m"
    assert (first["stage"], first["input"], first["value_bytes"]) == ("decode", "input 1-24", 5)
