"""The commands around the scorer, on real Kafka."""

from __future__ import annotations

import csv
import json
import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from schemas.batch import build_batch
from schemas.contracts import column_name, load_schema
from schemas.framing import Header
from schemas.records import encode_record
from schemas.transaction_codec import encode_transactions
from stream_scorer.__main__ import main
from stream_scorer.audit_report import Report
from stream_scorer.dead_letters import Selection, read_dead_letters
from stream_scorer.errors import RetryableError, UsageError
from stream_scorer.findings import Fault
from stream_scorer.model.file_store import FileStore
from stream_scorer.produce import produce_batches
from stream_scorer.redrive import GROUP_SUFFIX, Redriven, redrive
from stream_scorer.runtime.kafka import (
    KafkaException,
    Producer,
    TopicPartition,
    create_topics,
    open_admin,
    open_consumer,
    open_producer,
    topic_config,
    topic_partitions,
)
from stream_scorer.settings import GroupSettings
from stream_scorer.topics import ensure_topics
from stream_scorer.verify import verify_topics
from tests.conftest import MakeTopics
from tests.factories import make_batch, make_transaction, make_transactions, publish
from tests.http_registry import running_registry
from tests.kafka_under_test import KafkaUnderTest
from tests.records import Seen, produce, read_all
from tests.waiting import wait_until

PARTITIONS = 3


@pytest.fixture
def settings(kafka: KafkaUnderTest, topics: MakeTopics, group_id: str) -> GroupSettings:
    return GroupSettings(
        **kafka.settings.model_dump(),
        **topics(PARTITIONS).model_dump(),
        kafka_group_id=group_id,
        schema_registry_url=None,
        schema_registry_basic_auth_user_info=None,
    )


@pytest.fixture
def environment(
    settings: GroupSettings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GroupSettings]:
    """The settings as environment variables, for commands run through ``main``."""
    for name, value in settings.model_dump(exclude_none=True).items():
        monkeypatch.setenv(name.upper(), str(value))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield settings
    root.handlers[:], root.level = handlers, level


def score_of(record: Seen, topic: str, **changes: Any) -> bytes:
    source = {"topic": topic, "partition": record.partition, "offset": record.offset, **changes}
    return encode_record(
        "fraud_score",
        {
            "transaction_id": record.offset,
            "score": 0.75,
            "decision": "REVIEW" if record.offset % 2 else "APPROVE",
            "is_flagged": bool(record.offset % 2),
            "review_threshold": 0.5,
            "block_threshold": 0.9,
            "model_version": "v1",
            "scored_at": 1_700_000_000_000,
            "event_time": None,
            "reasons": [],
            "source": source,
            "context": None,
        },
    )


def error_headers(record: Seen, topic: str, stage: str = "decode") -> list[Header]:
    start = "__connect.errors."
    return [
        ("traceparent", b"00-1"),
        (start + "topic", topic.encode()),
        (start + "partition", str(record.partition).encode()),
        (start + "offset", str(record.offset).encode()),
        (start + "stage", stage.encode()),
        (start + "exception.class.name", b"DecodeError"),
        (start + "exception.message", f"made to fail at {stage}".encode()),
    ]


def send(producer: Producer, topic: str, record: Seen, value: bytes | None, **more: Any) -> None:
    producer.produce(topic, value, record.key, record.partition, **more)


def give_outcomes(
    settings: GroupSettings, inputs: Sequence[Seen], stages: Sequence[str | None] = ()
) -> None:
    """A score, or a dead letter where a stage is given, for each input; in one txn."""
    producer = open_producer(settings, **{"transactional.id": settings.kafka_group_id})
    producer.init_transactions(30)
    producer.begin_transaction()
    for i, record in enumerate(inputs):
        stage = stages[i % len(stages)] if stages else None
        topic = settings.input_topic
        if stage is None:
            send(producer, settings.output_topic, record, score_of(record, topic))
        else:
            headers = error_headers(record, topic, stage)
            send(producer, settings.dlq_topic, record, record.value, headers=headers)
    producer.flush(30)
    producer.commit_transaction(30)


def with_inputs(settings: GroupSettings, n: int = 30) -> list[Seen]:
    """Produce ``n`` inputs; what is on the topic then."""
    values: list[bytes | None] = [*encode_transactions(make_batch(n))]
    produce(settings, settings.input_topic, values, PARTITIONS)
    return read_all(settings, settings.input_topic)


def faults(report: Report) -> dict[Fault, int]:
    return {fault: count for fault, count in report.verdict.faults.items() if count}


def say(settings: GroupSettings, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run a command with ``--json``; its exit code and what it said."""
    code = main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


# --- topics


def test_topics_are_created_once_with_their_sizes(settings: GroupSettings, group_id: str) -> None:
    names = {f"{kind}_topic": f"{kind}-{group_id}" for kind in ("input", "output", "dlq", "labels")}
    settings = settings.model_copy(update=names)
    states = ensure_topics(settings, partitions=2)
    assert [(state.made, state.warnings) for state in states] == [(True, ())] * 4
    admin = open_admin(settings)
    sizes = [int(topic_config(admin, t)["max.message.bytes"]) for t in names.values()]
    assert sizes[:3] == [4 * 2**20, 5 * 2**20, 5 * 2**20]
    again = ensure_topics(settings, partitions=7)
    assert [(state.made, state.partitions) for state in again] == [(False, 2)] * 4


def test_topic_that_does_not_fit_its_input_is_warned_about(
    kafka: KafkaUnderTest, settings: GroupSettings, group_id: str
) -> None:
    other = settings.model_copy(update={"output_topic": f"other-{group_id}"})
    create_topics(open_admin(other), {other.output_topic: {}}, PARTITIONS + 1, -1)
    output = next(s for s in ensure_topics(other) if s.name == other.output_topic)
    assert not output.made
    assert "4 partitions, the input 3" in output.warnings[0]


def test_missing_outputs_get_the_inputs_partition_count(
    settings: GroupSettings, group_id: str
) -> None:
    other = settings.model_copy(update={"output_topic": f"other-{group_id}"})
    ensure_topics(other, partitions=12)
    counts = topic_partitions(open_admin(other), [other.output_topic], 10)
    assert counts[other.output_topic] == PARTITIONS


# --- produce


def test_produced_csv_arrives_keyed_by_card(
    environment: GroupSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = make_transactions(40)
    path = write_csv(tmp_path / "transactions.csv", rows)
    code, said = say(environment, capsys, "produce", str(path), "--limit", "33")
    assert code == 0
    assert (said["sent"], said["delivered"], said["failed"]) == (33, 33, 0)
    seen = read_all(environment, environment.input_topic)
    expected = Counter(str(int(row["card1"])).encode() for row in rows[:33])
    assert Counter(record.key for record in seen) == expected
    places: dict[bytes | None, set[int]] = {}
    for record in seen:
        places.setdefault(record.key, set()).add(record.partition)
    assert all(len(partitions) == 1 for partitions in places.values())


def test_card_lands_where_java_producers_put_it(settings: GroupSettings) -> None:
    # murmur2 of "13926" as in org.apache.kafka.common.utils.Utils, positive, modulo 3
    batch = build_batch([make_transaction(1, card1=13926.0)])
    producer = open_producer(settings)
    produced = produce_batches(producer, settings.input_topic, [batch], fmt="json")
    assert produced.delivered == 1
    (record,) = read_all(settings, settings.input_topic)
    assert record.key == b"13926"
    assert record.partition == murmur2_partition(b"13926", PARTITIONS)


def murmur2_partition(key: bytes, partitions: int) -> int:
    """Kafka's own murmur2 (Utils.murmur2 in kafka-clients), 32 bits."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(key)) & mask
    whole = len(key) - len(key) % 4
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if tail := key[whole:]:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return ((h ^ h >> 15) & 0x7FFFFFFF) % partitions


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    names = list(dict.fromkeys(column_name(name) for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_with_a_registry_transactions_carry_their_schemas_id(
    environment: GroupSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_csv(tmp_path / "t.csv", make_transactions(3))
    with running_registry() as registry:
        monkeypatch.setenv("SCHEMA_REGISTRY_URL", registry.url)
        assert say(environment, capsys, "produce", str(path))[0] == 0
    (schema_id,) = registry.subjects[f"{environment.input_topic}-value"]
    values = [record.value or b"" for record in read_all(environment, environment.input_topic)]
    assert [value[:5] for value in values] == [b"\x00" + schema_id.to_bytes(4, "big")] * 3


def test_producing_to_no_topic_says_what_to_do(
    environment: GroupSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text("TransactionID,TransactionDT,TransactionAmt\n1,2,3\n")
    assert main(["produce", str(tmp_path / "t.csv"), "--topic", "nowhere"]) == 1
    assert "stream-scorer topics create" in capsys.readouterr().err


# --- tail


def test_tail_prints_flagged_scores_that_are_there(
    environment: GroupSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    give_outcomes(environment, with_inputs(environment, 12))
    assert main(["tail", "--from-beginning", "--flagged", "--json", "--limit", "6"]) == 0
    scores = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(scores) == 6
    assert all(score["is_flagged"] for score in scores)


def test_tail_prints_what_is_committed_from_now_on(
    environment: GroupSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = with_inputs(environment, 6)
    give_outcomes(environment, inputs[:2])
    codes: list[int] = []
    tail = threading.Thread(target=lambda: codes.append(main(["tail", "--limit", "4"])))
    tail.start()
    wait_until(lambda: "scored at" in capsys.readouterr().out, what="tail's heading")
    # The heading comes before the first fetch: what is committed now may or may not be seen,
    # so keep giving outcomes until it has seen enough.
    while tail.is_alive():
        give_outcomes(environment, inputs)
    tail.join(30)
    assert codes == [0]
    assert len(capsys.readouterr().out.splitlines()) == 4


# --- verify


def test_every_input_with_its_outcome_is_verified(settings: GroupSettings) -> None:
    inputs = with_inputs(settings, 30)
    give_outcomes(settings, inputs, [None, None, "decode"])
    report = verify_topics(settings)
    assert report.is_verified, faults(report)
    verdict = report.verdict
    assert (verdict.inputs, verdict.scores, verdict.dead_letters) == (30, 20, 10)
    assert report.first_time is not None
    assert verify_topics(settings).verdict.digest == verdict.digest


def test_scores_with_a_registrys_id_are_verified(settings: GroupSettings) -> None:
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
    assert faults(verify_topics(settings)) == {Fault.MISSING: 3, Fault.UNREADABLE: 3}


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


def test_each_kind_of_fault_is_found_and_named(
    environment: GroupSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = environment
    inputs = [r for r in with_inputs(settings, 30) if r.partition == 0]
    topic = settings.input_topic
    give_outcomes(settings, [inputs[1], inputs[0], inputs[2], inputs[2], *inputs[5:]])
    producer = open_producer(settings)
    send(producer, settings.output_topic, inputs[0], score_of(inputs[0], topic, offset=999))
    send(producer, settings.output_topic, inputs[0], score_of(inputs[0], "elsewhere"))
    send(producer, settings.output_topic, inputs[0], b"no score")
    producer.produce(settings.output_topic, score_of(inputs[3], topic), b"other key", 1)
    assert producer.flush(30) == 0
    code, said = say(settings, capsys, "verify", "--limit-offenders", "50")
    assert code == 1
    assert not said["verified"]
    assert said["faults"] == {
        "missing": 21,  # one here, and the twenty of the other partitions
        "duplicate": 1,
        "out_of_order": 1,
        "orphan": 2,
        "wrong_partition": 1,
        "wrong_key": 1,
        "unreadable": 1,
        "redriven_twice": 0,
    }
    missing = [o["input"] for o in said["offenders"] if o["fault"] == "missing"]
    assert {"partition": 0, "offset": inputs[4].offset} in missing


def test_only_committed_inputs_are_judged_when_asked(settings: GroupSettings) -> None:
    inputs = with_inputs(settings, 30)
    half = [record for record in inputs if record.offset < 5]
    give_outcomes(settings, half)
    with pytest.raises(UsageError, match="committed nothing"):
        verify_topics(settings, committed_only=True)
    commit(settings, dict.fromkeys(range(PARTITIONS), 5))
    assert faults(verify_topics(settings)) == {Fault.MISSING: 15}
    report = verify_topics(settings, committed_only=True)
    assert report.is_verified, faults(report)
    assert report.verdict.inputs == 15
    assert report.uncommitted == 15


def commit(settings: GroupSettings, offsets: dict[int, int]) -> None:
    consumer = open_consumer(settings, settings.kafka_group_id)
    try:
        consumer.commit(
            offsets=[TopicPartition(settings.input_topic, p, o) for p, o in offsets.items()],
            asynchronous=False,
        )
    finally:
        consumer.close()


def test_open_txn_is_waited_for_and_then_named(settings: GroupSettings) -> None:
    inputs = with_inputs(settings, 3)
    producer = open_producer(settings, **{"transactional.id": settings.kafka_group_id})
    producer.init_transactions(30)
    producer.begin_transaction()
    for record in inputs:
        send(producer, settings.output_topic, record, score_of(record, settings.input_topic))
    producer.flush(30)
    with pytest.raises(RetryableError, match="open transaction"):
        verify_topics(settings, stall_seconds=0.5)
    threading.Timer(0.5, lambda: producer.commit_transaction(30)).start()
    assert verify_topics(settings, stall_seconds=20).is_verified


def test_expired_inputs_are_no_orphans(settings: GroupSettings) -> None:
    inputs = with_inputs(settings, 9)
    give_outcomes(settings, inputs)
    delete_before(settings, settings.input_topic, {0: 2})
    report = verify_topics(settings)
    assert report.is_verified, faults(report)
    assert (report.verdict.inputs, report.verdict.expired) == (7, 2)


def delete_before(settings: GroupSettings, topic: str, offsets: dict[int, int]) -> None:
    admin = open_admin(settings)
    wanted = [TopicPartition(topic, p, o) for p, o in offsets.items()]
    for future in admin.delete_records(wanted).values():
        future.result(30)


def more_inputs(settings: GroupSettings, n: int) -> list[Seen]:
    """Produce ``n`` more; those only."""
    before = {
        (record.partition, record.offset) for record in read_all(settings, settings.input_topic)
    }
    seen = with_inputs(settings, n)
    return [record for record in seen if (record.partition, record.offset) not in before]


def test_audit_goes_on_from_its_state(
    environment: GroupSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, state = environment, str(tmp_path / "audit.state")
    give_outcomes(settings, with_inputs(settings, 30), [None, None, "decode"])
    commit(settings, dict.fromkeys(range(PARTITIONS), 10))
    code, said = say(settings, capsys, "verify", "--state", state)
    assert (code, said["inputs"], said["state"]["continued"]) == (0, 30, False)
    give_outcomes(settings, more_inputs(settings, 30))  # not committed: these outcomes wait
    code, said = say(settings, capsys, "verify", "--state", state, "--model", "v1")
    assert (code, said["inputs"], said["waiting"]) == (0, 0, 30)
    assert sum(part["count"] for part in said["model"]["ranges"]) == 20
    commit(settings, dict.fromkeys(range(PARTITIONS), 20))
    code, said = say(settings, capsys, "verify", "--state", state)
    assert (code, said["inputs"], said["waiting"]) == (0, 30, 0)
    assert said["state"]["totals"]["inputs"] == 60
    assert said["digest"] == verify_topics(settings).verdict.digest
    give_outcomes(settings, read_all(settings, settings.input_topic)[:1])
    give_outcomes(settings, more_inputs(settings, 6)[1:])
    commit(settings, dict.fromkeys(range(PARTITIONS), 22))
    code, said = say(settings, capsys, "verify", "--state", state)
    found = {fault: count for fault, count in said["faults"].items() if count}
    assert (code, found) == (1, {"missing": 1, "duplicate": 1, "out_of_order": 1})
    assert say(settings, capsys, "verify", "--state", state)[0] == 0  # told once, kept in totals
    assert main(["verify", "--state", state, "--since", "1h"]) == 1
    assert "leave --since out" in capsys.readouterr().err


def test_interrupted_audit_goes_on_where_it_was(settings: GroupSettings, tmp_path: Path) -> None:
    state = tmp_path / "audit.state"
    inputs = with_inputs(settings, 60)
    give_outcomes(settings, inputs[1:])
    commit(settings, dict.fromkeys(range(PARTITIONS), 20))

    def interrupt(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify_topics(settings, state=state, on_progress=interrupt, stripe_offsets=5)
    told: list[tuple[int, int]] = []
    report = verify_topics(
        settings, state=state, on_progress=lambda *at: told.append(at), stripe_offsets=5
    )
    whole = verify_topics(settings)
    assert told[-1][1] < 120  # some of the 60 inputs and 59 scores were not read again
    assert faults(report) == faults(whole) == {Fault.MISSING: 1}
    assert report.verdict.inputs == 60
    assert report.verdict.digest == whole.verdict.digest


def test_state_of_topics_made_anew_is_refused(settings: GroupSettings, tmp_path: Path) -> None:
    give_outcomes(settings, with_inputs(settings, 3))
    commit(settings, dict.fromkeys(range(PARTITIONS), 1))
    state = tmp_path / "audit.state"
    assert verify_topics(settings, state=state).is_verified
    admin = open_admin(settings)
    for future in admin.delete_topics([settings.output_topic]).values():
        future.result(30)

    def is_gone() -> bool:
        return not topic_partitions(admin, [settings.output_topic], 10)

    wait_until(is_gone, what="the topic's end")
    create_topics(admin, {settings.output_topic: {}}, PARTITIONS, 1)
    with pytest.raises(UsageError, match="made anew"):
        verify_topics(settings, state=state)


def test_only_inputs_of_a_time_are_judged_when_asked(settings: GroupSettings) -> None:
    producer = open_producer(settings)
    hours = [1_700_000_000_000 + hour * 3_600_000 for hour in range(10)]
    for time in hours:
        producer.produce(settings.input_topic, b"{}", b"1", 0, timestamp=time)
    assert producer.flush(30) == 0
    inputs = read_all(settings, settings.input_topic)
    give_outcomes(settings, inputs[:2] + inputs[3:7])
    report = verify_topics(settings, since=hours[3], until=hours[7])
    assert report.is_verified, faults(report)
    assert report.verdict.inputs == 4
    assert (report.first_time, report.last_time) == (hours[3], hours[6])
    assert faults(verify_topics(settings, since=hours[2], until=hours[8])) == {Fault.MISSING: 2}
    assert verify_topics(settings, since=hours[9] + 1).verdict.inputs == 0


def test_compacted_outcomes_prove_nothing(settings: GroupSettings, group_id: str) -> None:
    topic = f"compacted-{group_id}"
    create_topics(open_admin(settings), {topic: {"cleanup.policy": "compact"}}, PARTITIONS, 1)
    with pytest.raises(UsageError, match="compacted"):
        verify_topics(settings.model_copy(update={"output_topic": topic}))


# --- dead letters


def test_dead_letters_are_counted_and_filtered(
    environment: GroupSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    give_outcomes(environment, with_inputs(environment, 9), ["decode", "schema", None])
    code, said = say(environment, capsys, "dlq", "list")
    assert code == 0
    assert said["dead_letters"] == 6
    assert {c["stage"]: c["count"] for c in said["counts"]} == {"decode": 3, "schema": 3}
    _, said = say(environment, capsys, "dlq", "list", "--stage", "schema", "--limit", "2")
    assert said["dead_letters"] == 3
    assert len(said["newest"]) == 2
    assert main(["dlq", "list", "--reason", "AT SCHEMA"]) == 0
    assert capsys.readouterr().out.startswith("3 dead letters\n")


def test_dead_letter_is_shown_whole(
    environment: GroupSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = with_inputs(environment, 3)
    give_outcomes(environment, inputs, ["decode"])
    (letter, *_) = read_dead_letters(environment)
    code, said = say(environment, capsys, "dlq", "show", letter.place)
    assert code == 0
    source = next(r for r in inputs if r.partition == letter.partition)
    assert said["input"]["offset"] == source.offset
    assert source.value is not None
    assert said["value_hex"] == source.value[:256].hex()
    assert said["transaction"]["TransactionID"]
    assert ["traceparent", "00-1"] in said["headers"]
    assert main(["dlq", "show", letter.place]) == 0
    assert "TransactionAmt" in capsys.readouterr().out


def test_dead_letter_that_is_not_there_is_a_clear_message(
    environment: GroupSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("0-17", "77-0"):
        assert main(["dlq", "show", place]) == 1
        assert f"no dead letter at {environment.dlq_topic} {place}" in capsys.readouterr().err


def redriven(settings: GroupSettings) -> list[Seen]:
    """The inputs that came from a redrive."""
    seen = read_all(settings, settings.input_topic)
    return [record for record in seen if "redrive.topic" in record.headers]


def test_each_dead_letter_is_redriven_once_with_its_origin(settings: GroupSettings) -> None:
    inputs = with_inputs(settings, 12)
    give_outcomes(settings, inputs, ["decode", None])
    letters = list(read_dead_letters(settings))
    assert redrive(settings, Selection()).redriven == len(letters) == 6
    assert redrive(settings, Selection()) == Redriven(0, 0, 0, 0, {})
    back = redriven(settings)
    assert len(back) == 6
    by_origin = {(r.headers["redrive.partition"], r.headers["redrive.offset"]): r for r in back}
    for letter in letters:
        record = by_origin[str(letter.partition).encode(), str(letter.offset).encode()]
        assert record.headers["redrive.topic"] == settings.dlq_topic.encode()
        assert (record.key, record.value) == (letter.key, letter.value)
        assert record.partition == letter.partition
        assert record.headers["traceparent"] == b"00-1"
        assert not any(name.startswith("__connect.errors.") for name in record.headers)


def test_redriven_records_are_inputs_that_need_outcomes(settings: GroupSettings) -> None:
    give_outcomes(settings, with_inputs(settings, 6), ["decode"])
    redrive(settings, Selection())
    assert faults(verify_topics(settings)) == {Fault.MISSING: 6}
    give_outcomes(settings, redriven(settings))
    report = verify_topics(settings)
    assert report.is_verified, faults(report)
    assert report.verdict.inputs == 12


def test_dry_run_changes_nothing(settings: GroupSettings) -> None:
    give_outcomes(settings, with_inputs(settings, 6), ["decode", "schema"])
    told = redrive(settings, Selection(stage="schema"), dry_run=True)
    assert (told.redriven, told.left) == (3, 3)
    assert redriven(settings) == []
    assert redrive(settings, Selection()).redriven == 6


def test_what_a_filter_leaves_out_can_be_redriven_later(settings: GroupSettings) -> None:
    give_outcomes(settings, with_inputs(settings, 18), ["decode", "schema"])
    first = redrive(settings, Selection(stage="schema"))
    assert (first.redriven, first.left, dict(first.by_stage)) == (9, 9, {"schema": 9})
    again = redrive(settings, Selection(stage="schema"))
    assert again.redriven == 0
    rest = redrive(settings, Selection())
    assert (rest.redriven, rest.left) == (9, 0)
    origins = Counter(
        (r.headers["redrive.partition"], r.headers["redrive.offset"]) for r in redriven(settings)
    )
    assert len(origins) == 18
    assert set(origins.values()) == {1}


def test_cut_dead_letter_is_passed_over_and_told(settings: GroupSettings) -> None:
    (record,) = with_inputs(settings, 1)
    headers = [*error_headers(record, settings.input_topic), ("dlq.value.original.bytes", b"9")]
    producer = open_producer(settings)
    send(producer, settings.dlq_topic, record, b"cut", headers=headers)
    assert producer.flush(30) == 0
    assert redrive(settings, Selection()) == Redriven(0, 0, 0, 1, {})
    assert redriven(settings) == []


def test_second_redrive_ends_the_first(settings: GroupSettings) -> None:
    give_outcomes(settings, with_inputs(settings, 3), ["decode"])
    first = open_producer(settings, **{"transactional.id": settings.kafka_group_id + GROUP_SUFFIX})
    first.init_transactions(30)
    first.begin_transaction()
    first.produce(settings.input_topic, b"halfway")
    first.flush(30)
    assert redrive(settings, Selection()).redriven == 3
    with pytest.raises(KafkaException, match="fenced"):
        first.commit_transaction(30)
    assert len(redriven(settings)) == 3
    assert b"halfway" not in [r.value for r in read_all(settings, settings.input_topic)]


def test_dlq_that_was_made_anew_stops_the_redrive(settings: GroupSettings) -> None:
    consumer = open_consumer(settings, settings.kafka_group_id + GROUP_SUFFIX)
    consumer.commit(offsets=[TopicPartition(settings.dlq_topic, 0, 100)], asynchronous=False)
    consumer.close()
    with pytest.raises(UsageError, match="made anew"):
        redrive(settings, Selection())


# --- doctor


def test_doctor_says_what_is_missing_and_what_to_do(
    environment: GroupSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = tmp_path / "store"
    monkeypatch.setenv("MODEL_STORE_URI", store.as_uri())
    monkeypatch.setenv("MODEL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("DLQ_TOPIC", "nowhere")
    code, said = say(environment, capsys, "doctor")
    assert code == 1
    found = {check["check"]: check for check in said}
    assert found["topic nowhere"]["advice"] == "stream-scorer topics create"
    assert found["broker"]["level"] == "ok"
    assert "fraud-trainer train" in found["store"]["advice"]
    publish(FileStore(store))
    monkeypatch.setenv("DLQ_TOPIC", environment.dlq_topic)
    code, said = say(environment, capsys, "doctor")
    assert code == 0, said
    assert {check["level"] for check in said if check["check"] in ("store", "model")} == {"ok"}
