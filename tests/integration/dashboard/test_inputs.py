"""What the dashboard reads of the input topic on real Apache Kafka: backlog and single records."""

from __future__ import annotations

from contextlib import closing

import pytest

from dashboard.feed.backlog import BacklogGauge, KafkaInput
from dashboard.feed.records import KafkaRecords, RecordGone, decode_input
from schemas.records import encode_record
from schemas.resolver import LocalSchemas
from stream_scorer.kafka.clients import open_admin, open_consumer, open_producer
from stream_scorer.kafka.driver import TopicPartition
from stream_scorer.runtime.settings import KafkaSettings
from tests.conftest import MakeTopics
from tests.support.dashboard_kit import make_transaction
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import produce, wait_readable


def commit(settings: KafkaSettings, group: str, topic: str, partition: int, offset: int) -> None:
    """Commit as the only member of the group could."""
    with closing(open_consumer(settings, group)) as member:
        member.commit(offsets=[TopicPartition(topic, partition, offset)], asynchronous=False)


def write_in_transactions(settings: KafkaSettings, topic: str, *, count: int, end: bool) -> None:
    """Records in one Kafka transaction each on partition 1; the last one is aborted at ``end``."""
    producer = open_producer(settings, **{"transactional.id": topic})
    producer.init_transactions(60)
    for number in range(count):
        producer.begin_transaction()
        producer.produce(topic, b"{}", partition=1, timestamp=5_000 + number)
        producer.flush(60)
        if end and number == count - 1:
            producer.abort_transaction(60)
        else:
            producer.commit_transaction(60)
    wait_readable(settings, topic)


def test_backlog_counts_records_and_no_control_records(
    kafka: KafkaUnderTest, topics: MakeTopics
) -> None:
    topic = topics(2).input_topic
    group = f"scorers-of-{topic}"
    wait_readable(kafka.settings, topic)
    with closing(KafkaInput(kafka.settings, topic, group)) as source:
        gauge = BacklogGauge(source)
        assert gauge.measure().records == 0
        produce(kafka.settings, topic, [b"x"] * 6, 2)
        assert gauge.measure().records == 6  # nothing is committed: scorers start at the first
        commit(kafka.settings, group, topic, 0, 3)
        commit(kafka.settings, group, topic, 1, 1)
        assert gauge.measure().records == 2
        write_in_transactions(kafka.settings, topic, count=2, end=True)
        commit(kafka.settings, group, topic, 1, 4)  # after the committed record, before its marker
        found = [gauge.measure() for _ in range(4)]
        assert found[0].records == 3
        assert (found[-1].records, found[-1].oldest_at) == (0, None)
        # A partition that was not read to its end shows the append time of what waits there.
        commit(kafka.settings, group, topic, 1, 3)
        last = [gauge.measure() for _ in range(4)][-1]
        assert last.oldest_at == 5_000


def test_topic_that_does_not_exist_has_no_backlog(kafka: KafkaUnderTest) -> None:
    with closing(KafkaInput(kafka.settings, "no-such-topic", "scorers")) as source:
        assert BacklogGauge(source).measure().detail.endswith("the input topic does not exist.")


def test_record_is_read_by_its_coordinates_until_it_is_gone(
    kafka: KafkaUnderTest, topics: MakeTopics
) -> None:
    topic = topics(2).input_topic
    rows = [make_transaction(i) for i in range(4)]
    produce(kafka.settings, topic, [encode_record("transaction", row) for row in rows], 2)
    write_in_transactions(kafka.settings, topic, count=1, end=True)
    with closing(KafkaRecords(kafka.settings)) as records:
        for partition, offset, number in ((1, 1, 3), (0, 0, 0), (1, 0, 1)):
            found = records.read(topic, partition, offset)
            assert decode_input(found, LocalSchemas("transaction"))[1] == rows[number]
            assert found.key == str(1000 + number).encode()
            assert found.appended_at > 0
        for where in ((topic, 0, 99), (topic, 1, 2), (topic, 7, 0), ("no-such-topic", 0, 0)):
            with pytest.raises(RecordGone):
                records.read(*where)
        admin = open_admin(kafka.settings)
        for future in admin.delete_records([TopicPartition(topic, 0, 1)]).values():
            future.result(60)
        with pytest.raises(RecordGone, match="retention time"):
            records.read(topic, 0, 0)
        assert records.read(topic, 0, 1).key == b"1002"
