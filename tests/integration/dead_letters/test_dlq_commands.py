"""The dlq commands on real Kafka: list, show and redrive."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from stream_scorer.__main__ import main
from stream_scorer.audit.verdict import Fault
from stream_scorer.audit.verify import verify_topics
from stream_scorer.dead_letters.dead_letter import DeadLetterFilter, read_dead_letters
from stream_scorer.dead_letters.redrive import GROUP_SUFFIX, redrive
from stream_scorer.dead_letters.redrive_plan import Redriven
from stream_scorer.dead_letters.redrive_retention import DEFAULT_RETENTION_MS, MOST_SKEW_MS
from stream_scorer.errors import UsageError
from stream_scorer.kafka.clients import open_admin, open_consumer, open_producer
from stream_scorer.kafka.driver import KafkaException, TopicPartition
from stream_scorer.settings import GroupSettings
from tests.support.command_kit import (
    error_headers,
    faults,
    give_outcomes,
    run_json,
    send,
    with_inputs,
)
from tests.support.records import Seen, read_all, wait_readable


def test_dead_letters_are_counted_and_filtered(
    environment: GroupSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    give_outcomes(environment, with_inputs(environment, 9), ["decode", "schema", None])
    code, printed = run_json(environment, capsys, "dlq", "list")
    assert code == 0
    assert printed["dead_letters"] == 6
    assert {c["stage"]: c["count"] for c in printed["counts"]} == {"decode": 3, "schema": 3}
    _, printed = run_json(environment, capsys, "dlq", "list", "--stage", "schema", "--limit", "2")
    assert printed["dead_letters"] == 3
    assert len(printed["newest"]) == 2
    assert main(["dlq", "list", "--reason", "AT SCHEMA"]) == 0
    assert capsys.readouterr().out.startswith("3 dead letters\n")


def test_dead_letter_is_shown_in_full(
    environment: GroupSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = with_inputs(environment, 3)
    give_outcomes(environment, inputs, ["decode"])
    (dead_letter, *_) = read_dead_letters(environment)
    code, printed = run_json(environment, capsys, "dlq", "show", dead_letter.place)
    assert code == 0
    source = next(r for r in inputs if r.partition == dead_letter.partition)
    assert printed["input"]["offset"] == source.offset
    assert source.value is not None
    assert printed["value_hex"] == source.value[:256].hex()
    assert printed["transaction"]["TransactionID"]
    assert ["traceparent", "00-1"] in printed["headers"]
    assert main(["dlq", "show", dead_letter.place]) == 0
    assert "TransactionAmt" in capsys.readouterr().out


def test_missing_dead_letter_is_a_clear_message(
    environment: GroupSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("0-17", "77-0"):
        assert main(["dlq", "show", place]) == 1
        assert f"no dead letter at {environment.dlq_topic} {place}" in capsys.readouterr().err


def redriven(settings: GroupSettings) -> list[Seen]:
    """The inputs that a finished redrive has written."""
    wait_readable(settings, settings.input_topic)
    seen = read_all(settings, settings.input_topic)
    return [record for record in seen if "redrive.topic" in record.headers]


def test_each_dead_letter_is_redriven_once_with_its_origin(settings: GroupSettings) -> None:
    inputs = with_inputs(settings, 12)
    give_outcomes(settings, inputs, ["decode", None])
    dead_letters = list(read_dead_letters(settings))
    assert redrive(settings, DeadLetterFilter()).redriven == len(dead_letters) == 6
    assert redrive(settings, DeadLetterFilter()) == Redriven(0, 0, 0, 0, 0, {})
    back = redriven(settings)
    assert len(back) == 6
    by_origin = {(r.headers["redrive.partition"], r.headers["redrive.offset"]): r for r in back}
    for dead_letter in dead_letters:
        record = by_origin[str(dead_letter.partition).encode(), str(dead_letter.offset).encode()]
        assert record.headers["redrive.topic"] == settings.dlq_topic.encode()
        assert record.headers["redrive.stage"] == b"decode"
        assert (record.key, record.value) == (dead_letter.key, dead_letter.value)
        assert record.partition == dead_letter.partition
        assert record.headers["traceparent"] == b"00-1"
        assert not any(name.startswith("__connect.errors.") for name in record.headers)


def test_redriven_records_are_inputs_that_need_outcomes(settings: GroupSettings) -> None:
    give_outcomes(settings, with_inputs(settings, 6), ["score"])
    redrive(settings, DeadLetterFilter())
    wait_readable(settings, settings.input_topic)
    assert faults(verify_topics(settings)) == {Fault.MISSING: 6}
    give_outcomes(settings, redriven(settings))
    report = verify_topics(settings)
    assert report.is_verified, faults(report)
    assert report.verdict.inputs == 12


def test_dry_run_changes_nothing(settings: GroupSettings) -> None:
    give_outcomes(settings, with_inputs(settings, 6), ["decode", "schema"])
    result = redrive(settings, DeadLetterFilter(stage="schema"), dry_run=True)
    assert (result.redriven, result.left) == (3, 3)
    assert redriven(settings) == []
    assert redrive(settings, DeadLetterFilter()).redriven == 6


def test_what_a_filter_leaves_out_can_be_redriven_later(settings: GroupSettings) -> None:
    give_outcomes(settings, with_inputs(settings, 18), ["decode", "schema"])
    first = redrive(settings, DeadLetterFilter(stage="schema"))
    assert (first.redriven, first.left, dict(first.by_stage)) == (9, 9, {"schema": 9})
    again = redrive(settings, DeadLetterFilter(stage="schema"))
    assert again.redriven == 0
    rest = redrive(settings, DeadLetterFilter())
    assert (rest.redriven, rest.left) == (9, 0)
    origins = Counter(
        (r.headers["redrive.partition"], r.headers["redrive.offset"]) for r in redriven(settings)
    )
    assert len(origins) == 18
    assert set(origins.values()) == {1}


def test_truncated_dead_letter_is_skipped_and_counted(settings: GroupSettings) -> None:
    (record,) = with_inputs(settings, 1)
    headers = [*error_headers(record, settings.input_topic), ("dlq.value.original.bytes", b"9")]
    producer = open_producer(settings)
    send(producer, settings.dlq_topic, record, b"cut", headers=headers)
    assert producer.flush(30) == 0
    assert redrive(settings, DeadLetterFilter()) == Redriven(0, 0, 0, 1, 0, {})
    assert redriven(settings) == []


def test_second_redrive_fences_the_first(settings: GroupSettings) -> None:
    give_outcomes(settings, with_inputs(settings, 3), ["decode"])
    first = open_producer(settings, **{"transactional.id": settings.kafka_group_id + GROUP_SUFFIX})
    first.init_transactions(30)
    first.begin_transaction()
    first.produce(settings.input_topic, b"halfway")
    first.flush(30)
    assert redrive(settings, DeadLetterFilter()).redriven == 3
    with pytest.raises(KafkaException, match="fenced"):
        first.commit_transaction(30)
    assert len(redriven(settings)) == 3
    assert b"halfway" not in [r.value for r in read_all(settings, settings.input_topic)]


def test_recreated_dead_letter_topic_stops_the_redrive(settings: GroupSettings) -> None:
    consumer = open_consumer(settings, settings.kafka_group_id + GROUP_SUFFIX)
    consumer.commit(offsets=[TopicPartition(settings.dlq_topic, 0, 100)], asynchronous=False)
    consumer.close()
    with pytest.raises(UsageError, match="was recreated"):
        redrive(settings, DeadLetterFilter())


OLD_MS = DEFAULT_RETENTION_MS - MOST_SKEW_MS // 2


def give_dead_letters(settings: GroupSettings, ages_ms: list[int]) -> None:
    """Write dead letters of these ages to partition 0."""
    producer, now = open_producer(settings), int(time.time() * 1000)
    for age in ages_ms:
        record = Seen(0, age, b"13926", b"%d" % age, {})
        headers = error_headers(record, settings.input_topic)
        send(producer, settings.dlq_topic, record, record.value, headers=headers,
             timestamp=now - age)  # fmt: skip
    assert producer.flush(30) == 0


def forget(settings: GroupSettings) -> None:
    """Delete the group, as the broker does when its offsets have expired."""
    group = settings.kafka_group_id + GROUP_SUFFIX
    admin = open_admin(settings)
    admin.delete_consumer_groups([group])[group].result(30)


def test_forgotten_progress_redrives_nothing_twice(settings: GroupSettings) -> None:
    give_dead_letters(settings, [OLD_MS, OLD_MS])
    assert redrive(settings, DeadLetterFilter(), again=True).redriven == 2
    forget(settings)
    give_dead_letters(settings, [60_000, OLD_MS])
    for dry_run in (True, False):
        result = redrive(settings, DeadLetterFilter(), dry_run=dry_run)
        assert (result.redriven, result.too_old) == (1, 3)
    result = redrive(
        settings, DeadLetterFilter()
    )  # progress is stored now, but the old ones are still uncertain
    assert (result.redriven, result.earlier, result.too_old) == (0, 1, 3)
    assert [r.headers["redrive.offset"] for r in redriven(settings)] == [b"0", b"1", b"2"]


def test_dead_letters_of_unknown_progress_are_redriven_once_with_again(
    environment: GroupSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    give_dead_letters(environment, [OLD_MS, 60_000])
    assert main(["dlq", "redrive"]) == 0
    printed = capsys.readouterr().out
    assert "1 skipped: too old to know whether they were redriven before (use --again" in printed
    for expected in (1, 0):
        _, found = run_json(environment, capsys, "dlq", "redrive", "--again")
        assert (found["redriven"], found["too_old"]) == (expected, 0)
    assert len(redriven(environment)) == 2


def commits(settings: GroupSettings) -> Counter[bytes]:
    """How often the progress of each partition was committed, from Kafka's offsets topic."""
    group, topic = settings.kafka_group_id + GROUP_SUFFIX, settings.dlq_topic
    keys = [record.key or b"" for record in read_all(settings, "__consumer_offsets")]
    return Counter(key for key in keys if group.encode() in key and topic.encode() in key)


def test_redrive_without_new_dead_letters_commits_the_progress_of_all_partitions(
    settings: GroupSettings,
) -> None:
    give_outcomes(settings, with_inputs(settings, 3), ["decode", None, None])
    assert redrive(settings, DeadLetterFilter()).redriven == 1
    before = commits(settings)
    assert len(before) == 3
    assert redrive(settings, DeadLetterFilter()).redriven == 0
    assert commits(settings) == {key: times + 1 for key, times in before.items()}
