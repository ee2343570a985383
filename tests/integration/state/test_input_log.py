"""What a restore asks Kafka: offsets with their marks, and where dead letters begin and end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stream_scorer.kafka.clients import open_consumer, open_producer
from stream_scorer.kafka.driver import TopicPartition
from stream_scorer.kafka.spans import Span
from stream_scorer.settings import GroupSettings
from stream_scorer.state.input_log import KafkaInputLog, Place, using_input_log
from tests.support.command_kit import PARTITIONS, delete_before, give_outcomes, with_inputs
from tests.support.waiting import wait_until


@pytest.fixture
def log(settings: GroupSettings) -> Iterator[KafkaInputLog]:
    with using_input_log(settings) as log:
        yield log


def test_offsets_come_with_the_fields_of_their_marks(
    settings: GroupSettings, log: KafkaInputLog
) -> None:
    consumer = open_consumer(settings, settings.kafka_group_id)
    topic = settings.input_topic
    places = [TopicPartition(topic, 0, 7, "t=id;era=3;sum=abc"), TopicPartition(topic, 1, 5)]
    consumer.commit(offsets=places, asynchronous=False)
    consumer.close()
    assert log.committed(range(PARTITIONS)) == {
        0: Place(7, {"t": "id", "era": "3", "sum": "abc"}),
        1: Place(5),
        2: Place(None),
    }


def test_offset_of_an_open_transaction_is_waited_for(
    settings: GroupSettings, log: KafkaInputLog
) -> None:
    """The group's last owner may have been killed between its outcomes and the commit."""
    member = open_consumer(settings, settings.kafka_group_id)
    producer = open_producer(settings, **{"transactional.id": f"owner-{settings.input_topic}"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(settings.output_topic, b"x", partition=0)
    producer.flush(30)
    metadata = member.consumer_group_metadata()
    producer.send_offsets_to_transaction([TopicPartition(settings.input_topic, 0, 9)], metadata, 30)
    seen = []

    def is_answered() -> bool:
        seen.append(1)
        if len(seen) == 1:
            producer.commit_transaction(30)
        return log.committed([0])[0] == Place(9)

    wait_until(is_answered, what="the offset of the ended transaction")
    member.close()


def test_dead_letters_reach_to_the_end_of_the_log_and_stable_ones_to_the_open_transaction(
    settings: GroupSettings, log: KafkaInputLog
) -> None:
    give_outcomes(settings, with_inputs(settings, 9), ["decode"])  # in one txn: with a marker
    producer = open_producer(settings, **{"transactional.id": f"open-{settings.dlq_topic}"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(settings.dlq_topic, b"x", partition=1)
    producer.flush(30)
    assert log.dead_letters(1) == Span(0, 5)
    assert log.stable_dead_letter_end(1) == 4
    producer.abort_transaction(30)
    wait_until(lambda: log.stable_dead_letter_end(1) == 6, what="the marker of the abort")
    assert log.refused(1, Span(0, 6)).tolist() == [0, 1, 2]
    assert log.refused(1, Span(1, 6)).tolist() == [1, 2]
    assert log.refused(1, Span(3, 3)).tolist() == []


def test_inputs_are_read_without_what_was_removed_or_refused(
    settings: GroupSettings, log: KafkaInputLog
) -> None:
    give_outcomes(settings, with_inputs(settings, 30), ["decode", None, None])
    delete_before(settings, settings.input_topic, {1: 4})
    assert [log.first_retained(p) for p in range(PARTITIONS)] == [0, 4, 0]
    refused = log.refused(2, log.dead_letters(2))
    assert 0 < len(refused) < 10
    found = list(log.read(2, Span(2, 9), refused, None))
    accepted = [o for o in range(2, 9) if o not in refused.tolist()]
    assert [o for rows in found for o in rows.offsets.tolist()] == accepted
    assert [rows.begin for rows in found] == [2]


def test_connections_can_be_used_after_they_were_closed(
    settings: GroupSettings, log: KafkaInputLog
) -> None:
    assert log.first_retained(0) == 0
    log.close()
    assert log.first_retained(0) == 0
