"""The audit on real Kafka: it verifies one outcome per input, and lists every fault."""

from __future__ import annotations

import threading
from pathlib import Path
from time import time_ns

import numpy as np
import pytest

from schemas.contracts import load_schema
from schemas.transactions.codec import encode_transactions, encode_transactions_json
from stream_scorer.__main__ import main
from stream_scorer.audit.report import conclude
from stream_scorer.audit.verdict import Fault
from stream_scorer.audit.verify import AuditOptions, verify_topics
from stream_scorer.errors import RetryableError, UsageError
from stream_scorer.kafka.admin import create_topics, topic_partitions
from stream_scorer.kafka.clients import open_admin, open_consumer, open_producer
from stream_scorer.kafka.driver import TopicPartition
from stream_scorer.settings import GroupSettings
from tests.support.command_kit import (
    PARTITIONS,
    delete_before,
    error_headers,
    faults,
    give_outcomes,
    run_json,
    score_of,
    send,
    transaction_of,
    with_inputs,
)
from tests.support.factories import make_batch
from tests.support.http_registry import running_registry
from tests.support.records import Seen, read_all
from tests.support.waiting import wait_until


def test_every_input_with_its_outcome_is_verified(settings: GroupSettings) -> None:
    inputs = with_inputs(settings, 30)
    give_outcomes(settings, inputs, [None, None, "score"])
    report = verify_topics(settings)
    assert report.is_verified, faults(report)
    verdict = report.verdict
    assert (verdict.inputs, verdict.scores, verdict.dead_letters) == (30, 20, 10)
    assert report.first_time is not None
    assert verify_topics(settings).verdict.digest == verdict.digest


def test_scores_with_a_registry_schema_id_are_verified(settings: GroupSettings) -> None:
    inputs = with_inputs(settings, 3)
    with running_registry() as registry:
        schema_id, _ = registry.add(load_schema("fraud_score"))
        producer = open_producer(settings)
        for record in inputs:
            body = score_of(record, settings.input_topic)[10:]
            framed = b"\x00" + schema_id.to_bytes(4, "big") + body
            send(producer, settings.output_topic, record, framed)
        assert producer.flush(30) == 0
        with_registry = settings.model_copy(update={"schema_registry_url": registry.url})
        report = verify_topics(with_registry)
        assert report.is_verified, faults(report)
        registry.fail_with = 503
        with pytest.raises(RetryableError, match="schema registry"):
            verify_topics(with_registry)
    report = verify_topics(settings)
    assert faults(report) == {Fault.MISSING: 3, Fault.UNREADABLE: 3}
    assert "set SCHEMA_REGISTRY_URL" in conclude(report)


def test_aborted_outcomes_and_inputs_do_not_count(settings: GroupSettings) -> None:
    producer = open_producer(settings, **{"transactional.id": settings.input_topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    for partition in range(PARTITIONS):
        producer.produce(settings.input_topic, b"aborted", partition=partition)
    producer.flush(30)
    producer.abort_transaction(30)
    inputs = with_inputs(settings, 6)
    producer.begin_transaction()
    for record in inputs:
        send(producer, settings.output_topic, record, score_of(record, settings.input_topic))
    producer.flush(30)
    producer.abort_transaction(30)
    assert faults(verify_topics(settings)) == {Fault.MISSING: 6}
    give_outcomes(settings, inputs)
    report = verify_topics(settings)
    assert report.is_verified, faults(report)
    assert report.verdict.inputs == 6


def test_each_kind_of_fault_is_found_and_listed(
    environment: GroupSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = environment
    inputs = [r for r in with_inputs(settings, 30) if r.partition == 0]
    topic = settings.input_topic
    give_outcomes(settings, [inputs[1], inputs[0], inputs[2], inputs[2], *inputs[5:]])
    producer = open_producer(settings)
    send(producer, settings.output_topic, inputs[0], score_of(inputs[0], topic, offset=999))
    send(producer, settings.output_topic, inputs[0], score_of(inputs[0], "elsewhere"))
    send(producer, settings.output_topic, inputs[0], b"not a score")
    producer.produce(settings.output_topic, score_of(inputs[3], topic), b"other key", 1)
    odd = score_of(inputs[4], topic, score=7.5, transaction_id=999_999_999)
    send(producer, settings.output_topic, inputs[4], odd)
    assert producer.flush(30) == 0
    code, printed = run_json(settings, capsys, "verify", "--limit-offenders", "50", "--sample", "1")
    assert code == 1
    assert not printed["verified"]
    assert printed["faults"] == {
        "missing": 20,  # all inputs of the other partitions
        "duplicate": 1,
        "out_of_order": 2,
        "orphan": 2,
        "wrong_partition": 1,
        "wrong_key": 1,
        "wrong_transaction": 1,
        "implausible": 1,
        "unreadable": 1,
        "redriven_twice": 0,
        "malformed": 0,
        "wrong_version": 0,
        "other_thresholds": 0,
        "unscorable": 0,
        "wrong_rejection": 0,
        "wrong_value": 0,
        "unexplained": 0,
        "not_reproduced": 0,
    }
    place = {"partition": 0, "offset": inputs[4].offset}
    named = {o["fault"] for o in printed["offenders"] if o["input"] == place}
    assert named == {"wrong_transaction", "implausible", "out_of_order"}


def test_transactions_are_compared_whatever_the_format_of_the_inputs(
    settings: GroupSettings,
) -> None:
    batch, producer = make_batch(20), open_producer(settings)
    with running_registry() as registry:
        schema_id, _ = registry.add(load_schema("transaction"))
        settings = settings.model_copy(update={"schema_registry_url": registry.url})
        for framed, plain in zip(
            encode_transactions(batch, schema_id), encode_transactions_json(batch), strict=True
        ):
            producer.produce(settings.input_topic, framed, b"1", 0)
            producer.produce(settings.input_topic, plain, b"1", 0)
        assert producer.flush(30) == 0
        inputs, ids = read_all(settings, settings.input_topic), np.repeat(batch.ids, 2).tolist()
        give_outcomes(settings, inputs, transactions=ids)
        report = verify_topics(settings, AuditOptions(sample=1))
        assert report.is_verified, faults(report)
        assert report.verdict.counts["transactions_compared"] == 40
        some = verify_topics(settings, AuditOptions(sample=4)).verdict.counts[
            "transactions_compared"
        ]
        assert 0 < some < 20
        assert (
            "transactions_compared"
            not in verify_topics(settings, AuditOptions(sample=0)).verdict.counts
        )
    without = settings.model_copy(update={"schema_registry_url": None})
    report = verify_topics(without, AuditOptions(sample=1))
    assert report.is_verified, faults(report)
    assert report.verdict.counts["inputs_unread"] == 20


def test_mixed_up_rows_of_a_batch_are_found(settings: GroupSettings) -> None:
    inputs = with_inputs(settings, 30)
    ids = [transaction_of(record.value) for record in inputs]
    give_outcomes(settings, inputs, transactions=[*ids[1:], ids[0]])
    assert faults(verify_topics(settings, AuditOptions(sample=1))) == {Fault.WRONG_TRANSACTION: 30}


def test_only_committed_inputs_are_judged_with_committed_only(settings: GroupSettings) -> None:
    inputs = with_inputs(settings, 30)
    half = [record for record in inputs if record.offset < 5]
    give_outcomes(settings, half)
    with pytest.raises(UsageError, match="committed nothing"):
        verify_topics(settings, AuditOptions(committed_only=True))
    commit(settings, dict.fromkeys(range(PARTITIONS), 5))
    assert faults(verify_topics(settings)) == {Fault.MISSING: 15}
    report = verify_topics(settings, AuditOptions(committed_only=True))
    assert report.is_verified, faults(report)
    assert report.verdict.inputs == 15
    assert report.uncommitted == 15
    assert conclude(report) == "verified: every committed input has exactly one outcome"


def commit(settings: GroupSettings, offsets: dict[int, int]) -> None:
    consumer = open_consumer(settings, settings.kafka_group_id)
    try:
        consumer.commit(
            offsets=[TopicPartition(settings.input_topic, p, o) for p, o in offsets.items()],
            asynchronous=False,
        )
    finally:
        consumer.close()


def test_open_txn_is_waited_for_and_reported_after_the_timeout(settings: GroupSettings) -> None:
    inputs = with_inputs(settings, 3)
    producer = open_producer(settings, **{"transactional.id": settings.kafka_group_id})
    producer.init_transactions(30)
    producer.begin_transaction()
    for record in inputs:
        send(producer, settings.output_topic, record, score_of(record, settings.input_topic))
    producer.flush(30)
    with pytest.raises(RetryableError, match="open transaction"):
        verify_topics(settings, AuditOptions(stall_seconds=0.5))
    threading.Timer(0.5, lambda: producer.commit_transaction(30)).start()
    assert verify_topics(settings, AuditOptions(stall_seconds=20)).is_verified


def test_outcomes_of_expired_inputs_are_not_orphans(settings: GroupSettings) -> None:
    inputs = with_inputs(settings, 9)
    give_outcomes(settings, inputs)
    delete_before(settings, settings.input_topic, {0: 2})
    report = verify_topics(settings)
    assert report.is_verified, faults(report)
    assert (report.verdict.inputs, report.verdict.expired) == (7, 2)


def test_missing_scores_are_found_though_every_dead_letter_expired(
    settings: GroupSettings,
) -> None:
    now = time_ns() // 1_000_000
    month_ago = now - 30 * 86_400_000
    (value,) = encode_transactions(make_batch(1))
    producer = open_producer(settings)
    for offset in range(20):
        stamp = month_ago + offset if offset < 10 else now
        producer.produce(settings.input_topic, value, b"1", 0, timestamp=stamp)
    assert producer.flush(30) == 0
    inputs = read_all(settings, settings.input_topic)
    for record in inputs[:10]:
        if record.offset % 2:
            score = score_of(record, settings.input_topic)
            send(producer, settings.output_topic, record, score, timestamp=month_ago)
        else:
            headers = error_headers(record, settings.input_topic, "score")
            send(producer, settings.dlq_topic, record, record.value, headers=headers)
    assert producer.flush(30) == 0
    delete_before(settings, settings.dlq_topic, {0: 5})  # as retention would
    report = verify_topics(settings)
    assert faults(report) == {Fault.MISSING: 10}
    assert report.verdict.counts["not_judged"] == 5
    give_outcomes(settings, inputs[10:])
    report = verify_topics(settings)
    assert report.is_verified, faults(report)
    assert report.verdict.counts["not_judged"] == 5


def test_deleted_dead_letters_are_missing_and_reported_as_deleted(
    environment: GroupSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = with_inputs(environment, 30)
    give_outcomes(environment, inputs, [None, None, "score"])
    delete_before(environment, environment.dlq_topic, dict.fromkeys(range(PARTITIONS), -1))
    assert main(["verify"]) == 1
    printed = capsys.readouterr().out
    assert "10 of the missing outcomes were probably deleted by hand" in printed


def test_outcomes_that_expire_during_the_audit_are_not_missing(
    settings: GroupSettings, group_id: str
) -> None:
    topic = f"small-{group_id}"
    create_topics(open_admin(settings), {topic: {"retention.bytes": "1000"}}, PARTITIONS, 1)
    settings = settings.model_copy(update={"output_topic": topic})
    give_outcomes(settings, with_inputs(settings, 30))

    def expire(done: int, _total: int) -> None:
        if not done:
            delete_before(settings, topic, {0: 4, 1: -1})

    report = verify_topics(settings, on_progress=expire)
    assert report.is_verified, faults(report)
    assert report.verdict.counts["not_judged"] == 14


def more_inputs(settings: GroupSettings, n: int) -> list[Seen]:
    """Produce ``n`` more inputs; returns only those."""
    before = {
        (record.partition, record.offset) for record in read_all(settings, settings.input_topic)
    }
    seen = with_inputs(settings, n)
    return [record for record in seen if (record.partition, record.offset) not in before]


def test_audit_continues_from_its_state_file(
    environment: GroupSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, state = environment, str(tmp_path / "audit.state")
    give_outcomes(settings, with_inputs(settings, 30), [None, None, "score"])
    commit(settings, dict.fromkeys(range(PARTITIONS), 10))
    code, printed = run_json(settings, capsys, "verify", "--state", state)
    assert (code, printed["inputs"], printed["state"]["continued"]) == (0, 30, False)
    give_outcomes(settings, more_inputs(settings, 30))  # not committed, so these outcomes wait
    code, printed = run_json(settings, capsys, "verify", "--state", state, "--model", "v1")
    assert (code, printed["inputs"], printed["waiting"]) == (0, 0, 30)
    assert sum(part["count"] for part in printed["model"]["ranges"]) == 20
    commit(settings, dict.fromkeys(range(PARTITIONS), 20))
    code, printed = run_json(settings, capsys, "verify", "--state", state)
    assert (code, printed["inputs"], printed["waiting"]) == (0, 30, 0)
    assert printed["state"]["totals"]["inputs"] == 60
    assert printed["digest"] == verify_topics(settings).verdict.digest
    give_outcomes(settings, read_all(settings, settings.input_topic)[:1])
    give_outcomes(settings, more_inputs(settings, 6)[1:])
    commit(settings, dict.fromkeys(range(PARTITIONS), 22))
    code, printed = run_json(settings, capsys, "verify", "--state", state)
    found = {fault: count for fault, count in printed["faults"].items() if count}
    assert (code, found) == (1, {"missing": 1, "duplicate": 1, "out_of_order": 1})
    assert (
        run_json(settings, capsys, "verify", "--state", state)[0] == 0
    )  # reported once, kept in the totals
    assert main(["verify", "--state", state, "--since", "1h"]) == 1
    assert "omit --since" in capsys.readouterr().err


def test_interrupted_audit_continues_from_its_last_checkpoint(
    settings: GroupSettings, tmp_path: Path
) -> None:
    state = tmp_path / "audit.state"
    inputs = with_inputs(settings, 60)
    give_outcomes(settings, inputs[1:])
    commit(settings, dict.fromkeys(range(PARTITIONS), 20))

    def interrupt(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify_topics(settings, AuditOptions(state=state, stripe_offsets=5), on_progress=interrupt)
    progress: list[tuple[int, int]] = []
    report = verify_topics(
        settings,
        AuditOptions(state=state, stripe_offsets=5),
        on_progress=lambda *at: progress.append(at),
    )
    complete = verify_topics(settings)
    assert progress[-1][1] < 120  # some of the 60 inputs and 59 scores were not read again
    assert faults(report) == faults(complete) == {Fault.MISSING: 1}
    assert report.verdict.inputs == 60
    assert report.verdict.digest == complete.verdict.digest


def test_state_of_another_group_or_of_recreated_topics_is_refused(
    settings: GroupSettings, tmp_path: Path
) -> None:
    give_outcomes(settings, with_inputs(settings, 3))
    commit(settings, dict.fromkeys(range(PARTITIONS), 1))
    state = tmp_path / "audit.state"
    assert verify_topics(settings, AuditOptions(state=state)).is_verified
    others = settings.model_copy(update={"kafka_group_id": f"{settings.kafka_group_id}-2"})
    commit(others, dict.fromkeys(range(PARTITIONS), 1))
    with pytest.raises(UsageError, match=f"belongs to group {settings.kafka_group_id}, not to"):
        verify_topics(others, AuditOptions(state=state))
    admin = open_admin(settings)
    for future in admin.delete_topics([settings.output_topic]).values():
        future.result(30)

    def is_gone() -> bool:
        return not topic_partitions(admin, [settings.output_topic], 10)

    wait_until(is_gone, what="the topic to be deleted")
    create_topics(admin, {settings.output_topic: {}}, PARTITIONS, 1)
    with pytest.raises(UsageError, match="was recreated"):
        verify_topics(settings, AuditOptions(state=state))


def test_only_inputs_of_the_requested_time_are_judged(settings: GroupSettings) -> None:
    producer = open_producer(settings)
    (value,) = encode_transactions(make_batch(1))
    hours = [1_700_000_000_000 + hour * 3_600_000 for hour in range(10)]
    for time in hours:
        producer.produce(settings.input_topic, value, b"1", 0, timestamp=time)
    assert producer.flush(30) == 0
    inputs = read_all(settings, settings.input_topic)
    give_outcomes(settings, inputs[:2] + inputs[3:7])
    report = verify_topics(settings, AuditOptions(since=hours[3], until=hours[7]))
    assert report.is_verified, faults(report)
    assert report.verdict.inputs == 4
    assert (report.first_time, report.last_time) == (hours[3], hours[6])
    assert faults(verify_topics(settings, AuditOptions(since=hours[2], until=hours[8]))) == {
        Fault.MISSING: 2
    }
    report = verify_topics(settings, AuditOptions(since=hours[9] + 1))
    assert (report.verdict.inputs, report.is_verified, report.outside) == (0, False, 10)
    assert "nothing to judge: no inputs of the range; 10 offsets are outside" in conclude(report)


def test_inputs_deleted_before_they_were_scored_are_lost(
    environment: GroupSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = environment
    inputs = with_inputs(settings, 30)
    give_outcomes(settings, [record for record in inputs if record.offset < 2])
    commit(settings, dict.fromkeys(range(PARTITIONS), 2))
    delete_before(settings, settings.input_topic, {0: 5})
    give_outcomes(settings, [r for r in inputs if r.offset >= (5 if r.partition == 0 else 2)])
    code, printed = run_json(settings, capsys, "verify")
    assert (code, printed["verified"], printed["inputs_lost"]) == (1, False, 3)
    assert printed["partitions"][0]["inputs_lost"] == 3
    assert not any(printed["faults"].values())
    commit(settings, dict.fromkeys(range(PARTITIONS), 10))  # the scorers have gone on
    code, printed = run_json(settings, capsys, "verify")
    assert (code, printed["inputs_lost"]) == (1, 3)
    assert "up to 3 inputs were deleted before they were scored" in printed["conclusion"]
    code, printed = run_json(settings, capsys, "verify", "--allow-lost", "3")
    assert (code, printed["verified"], printed["inputs_lost"]) == (0, True, 3)


def test_committed_offset_beyond_the_end_is_named(settings: GroupSettings) -> None:
    give_outcomes(settings, with_inputs(settings, 30))
    commit(settings, {0: 10, 1: 5000, 2: 10})
    report = verify_topics(settings)
    assert not report.is_verified
    assert report.uncommitted == 0
    (problem,) = report.problems
    assert f"has committed offset 5000 of {settings.input_topic} partition 1" in problem
    assert "which ends at 10" in problem


def test_outcomes_older_than_their_inputs_are_those_of_an_earlier_topic(
    settings: GroupSettings,
) -> None:
    inputs, producer = with_inputs(settings, 30), open_producer(settings)
    before = time_ns() // 1_000_000 - 10_000
    for record in inputs:
        score = score_of(record, settings.input_topic)
        send(producer, settings.output_topic, record, score, timestamp=before)
    assert producer.flush(30) == 0
    report = verify_topics(settings, AuditOptions(sample=0))
    assert report.verdict.counts["older"] == 30
    assert faults(report) == {Fault.MISSING: 30}
    give_outcomes(settings, inputs)  # as scorers do once they read the new topic
    report = verify_topics(settings)
    assert report.is_verified, faults(report)
    assert (
        verify_topics(settings, AuditOptions(clock_skew_ms=60_000)).verdict.faults[Fault.DUPLICATE]
        == 30
    )


def test_committed_offsets_of_an_earlier_topic_of_that_name_are_named(
    settings: GroupSettings,
) -> None:
    give_outcomes(settings, with_inputs(settings, 30))
    consumer = open_consumer(settings, settings.kafka_group_id)
    try:
        place = TopicPartition(settings.input_topic, 0, 10, metadata="era=3;t=earlier")
        consumer.commit(offsets=[place], asynchronous=False)
    finally:
        consumer.close()
    report = verify_topics(settings)
    assert not report.is_verified
    assert f"an earlier topic {settings.input_topic} (id earlier" in conclude(report)


def test_compacted_outcomes_prove_nothing(settings: GroupSettings, group_id: str) -> None:
    topic = f"compacted-{group_id}"
    create_topics(open_admin(settings), {topic: {"cleanup.policy": "compact"}}, PARTITIONS, 1)
    with pytest.raises(UsageError, match="compacted"):
        verify_topics(settings.model_copy(update={"output_topic": topic}))
