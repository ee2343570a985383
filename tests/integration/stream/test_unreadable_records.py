"""Records that Python's client cannot look at: one dead letter each, on every reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.rejections import OMITTED_HEADER
from stream_scorer.__main__ import main
from stream_scorer.kafka.clients import open_consumer
from stream_scorer.kafka.driver import TopicPartition
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.settings import GroupSettings
from tests.support.command_kit import run_json
from tests.support.factories import publish
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.kafka.raw_producer import raw_producer
from tests.support.records import produce, read_all, wait_readable
from tests.support.scorer_kit import running, scorer_settings
from tests.support.scoring_kit import make_value, read_score
from tests.support.waiting import wait_until

NEIGHBOURS = 200
"""Enough for the interpreter to specialize the calls that read them (PEP 659)."""
NOT_UTF8 = [(b"traceparent", b"00-1"), (b"caf\xe9", b"x")]


def is_beyond_the_client(settings: GroupSettings, offset: int) -> bool:
    """Whether Python's client raises for the headers of this record."""
    consumer = open_consumer(settings, "reader")
    consumer.assign([TopicPartition(settings.input_topic, 0, offset)])
    try:
        message = wait_until(lambda: consumer.poll(0.1), what="the record")
        assert message.offset() == offset
        try:
            message.headers()
        except SystemError:
            return True
        return False
    finally:
        consumer.close()


def test_header_names_that_are_not_utf8_get_one_dead_letter_each_and_stop_no_reader(
    environment: GroupSettings,
    kafka: KafkaUnderTest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = environment
    names = TopicSettings(**own.model_dump(include=set(TopicSettings.model_fields)))
    publish(FileStore(tmp_path / "store"))
    values: list[bytes | None] = [make_value(i) for i in range(NEIGHBOURS)]
    produce(own, own.input_topic, values, 1, [("traceparent", b"00-1-2-01")])
    with raw_producer(kafka.bootstrap_servers) as producer:
        producer.produce(own.input_topic, make_value(3), b"13926", NOT_UTF8)
        producer.produce(own.input_topic, b"bad", b"13926", NOT_UTF8)
    produce(own, own.input_topic, values, 1)
    assert is_beyond_the_client(own, NEIGHBOURS)
    with running(scorer_settings(kafka, names, own.kafka_group_id, tmp_path)):
        wait_until(
            lambda: len(read_all(own, own.output_topic)) == 2 * NEIGHBOURS, what="the neighbours"
        )
        wait_until(lambda: len(read_all(own, own.dlq_topic)) == 2, what="the dead letters")
    wait_readable(own, own.output_topic, own.dlq_topic)
    scored = [
        read_score(record.value)["transaction_id"] for record in read_all(own, own.output_topic)
    ]
    assert scored == [*range(NEIGHBOURS)] * 2
    dead = read_all(own, own.dlq_topic)
    assert [(d.key, d.value) for d in dead] == [(b"13926", make_value(3)), (b"13926", b"bad")]
    assert [d.headers["__connect.errors.offset"] for d in dead] == [b"200", b"201"]
    assert {d.headers["__connect.errors.stage"] for d in dead} == {b"framing"}
    assert {d.headers[OMITTED_HEADER] for d in dead} == {b"the name of a header is not UTF-8"}

    code, report = run_json(own, capsys, "verify", "--sample", "1")
    assert (code, report["verified"], report["dead_letters"]) == (0, True, 2)
    assert main(["dlq", "show", "0-0"]) == 0
    shown = capsys.readouterr().out
    assert "the input's headers were left out: the name of a header is not UTF-8" in shown
    code, sent = run_json(own, capsys, "dlq", "redrive")  # without the headers: a way out
    assert (code, sent["redriven"]) == (0, 2)
    with running(scorer_settings(kafka, names, own.kafka_group_id, tmp_path)):
        wait_until(
            lambda: len(read_all(own, own.output_topic)) == 2 * NEIGHBOURS + 1,
            what="the redriven one",
        )
        wait_until(lambda: len(read_all(own, own.dlq_topic)) == 3, what="the bad one again")
    wait_readable(own, own.input_topic, own.output_topic, own.dlq_topic)
    code, report = run_json(own, capsys, "verify", "--sample", "1")
    assert (code, report["verified"], report["redriven"]) == (0, True, 2)

    with raw_producer(kafka.bootstrap_servers) as producer:  # somebody else's, on our topic
        producer.produce(own.dlq_topic, b"x", b"k", NOT_UTF8)
    code, listed = run_json(own, capsys, "dlq", "list")
    assert (code, listed["dead_letters"]) == (0, 4)
    code, again = run_json(own, capsys, "dlq", "redrive")
    assert (code, again["redriven"], again["impossible"]) == (0, 1, 1)
