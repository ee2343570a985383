"""The topics, produce, tail and doctor commands on real Kafka."""

from __future__ import annotations

import csv
import json
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from schemas.batch import build_batch
from schemas.contracts import column_name
from stream_scorer.__main__ import main
from stream_scorer.cli.produce import produce_batches
from stream_scorer.kafka.admin import create_topics, topic_config, topic_partitions
from stream_scorer.kafka.clients import open_admin, open_producer
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.process.topics import ensure_topics
from stream_scorer.settings import GroupSettings
from tests.support.command_kit import (
    PARTITIONS,
    give_outcomes,
    run_json,
    with_inputs,
)
from tests.support.factories import make_transaction, make_transactions, publish
from tests.support.http_registry import running_registry
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.kafka.murmur2 import murmur2_partition
from tests.support.records import read_all
from tests.support.waiting import wait_until

# --- topics


def test_topics_are_created_once_with_their_sizes(settings: GroupSettings, group_id: str) -> None:
    kinds = ("input", "output", "dlq", "labels", "audit", "shadow")
    names = {f"{kind}_topic": f"{kind}-{group_id}" for kind in kinds}
    settings = settings.model_copy(update=names)
    states = ensure_topics(settings, partitions=2)
    assert [(state.made, state.warnings) for state in states] == [(True, ())] * len(kinds)
    admin = open_admin(settings)
    sizes = [int(topic_config(admin, t)["max.message.bytes"]) for t in names.values()]
    assert sizes[:3] == [4 * 2**20, 5 * 2**20, 5 * 2**20]
    again = ensure_topics(settings, partitions=7)
    assert [(state.made, state.partitions) for state in again] == [(False, 2)] * len(kinds)


def test_topic_that_does_not_fit_its_input_is_warned_about(
    kafka: KafkaUnderTest, settings: GroupSettings, group_id: str
) -> None:
    other = settings.model_copy(update={"output_topic": f"other-{group_id}"})
    create_topics(open_admin(other), {other.output_topic: {}}, PARTITIONS + 1, -1)
    output = next(s for s in ensure_topics(other) if s.name == other.output_topic)
    assert not output.made
    assert "has 4 partitions, but the input has 3" in output.warnings[0]


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
    code, printed = run_json(environment, capsys, "produce", str(path), "--limit", "33")
    assert code == 0
    assert (printed["sent"], printed["delivered"], printed["failed"]) == (33, 33, 0)
    seen = read_all(environment, environment.input_topic)
    expected = Counter(str(int(row["card1"])).encode() for row in rows[:33])
    assert Counter(record.key for record in seen) == expected
    places: dict[bytes | None, set[int]] = {}
    for record in seen:
        places.setdefault(record.key, set()).add(record.partition)
    assert all(len(partitions) == 1 for partitions in places.values())


def test_card_goes_to_the_partition_that_java_producers_choose(settings: GroupSettings) -> None:
    # murmur2 of "13926" as in org.apache.kafka.common.utils.Utils, positive, modulo 3
    batch = build_batch([make_transaction(1, card1=13926.0)])
    producer = open_producer(settings)
    produced = produce_batches(producer, settings.input_topic, [batch], fmt="json")
    assert produced.delivered == 1
    (record,) = read_all(settings, settings.input_topic)
    assert record.key == b"13926"
    assert record.partition == murmur2_partition(b"13926", PARTITIONS)


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    names = list(dict.fromkeys(column_name(name) for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_transactions_have_the_schema_id_of_the_registry(
    environment: GroupSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_csv(tmp_path / "t.csv", make_transactions(3))
    with running_registry() as registry:
        monkeypatch.setenv("SCHEMA_REGISTRY_URL", registry.url)
        assert run_json(environment, capsys, "produce", str(path))[0] == 0
    (schema_id,) = registry.subjects[f"{environment.input_topic}-value"]
    values = [record.value or b"" for record in read_all(environment, environment.input_topic)]
    assert [value[:5] for value in values] == [b"\x00" + schema_id.to_bytes(4, "big")] * 3


def test_producing_to_a_missing_topic_says_what_to_do(
    environment: GroupSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text("TransactionID,TransactionDT,TransactionAmt\n1,2,3\n")
    assert main(["produce", str(tmp_path / "t.csv"), "--topic", "nowhere"]) == 1
    assert "stream-scorer topics create" in capsys.readouterr().err


# --- tail


def test_tail_prints_existing_flagged_scores(
    environment: GroupSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    give_outcomes(environment, with_inputs(environment, 12))
    assert main(["tail", "--from-beginning", "--flagged", "--json", "--limit", "6"]) == 0
    scores = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(scores) == 6
    assert all(score["is_flagged"] for score in scores)


def test_tail_prints_scores_as_they_are_committed(
    environment: GroupSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = with_inputs(environment, 6)
    give_outcomes(environment, inputs[:2])
    codes: list[int] = []
    tail = threading.Thread(target=lambda: codes.append(main(["tail", "--limit", "4"])))
    tail.start()
    wait_until(lambda: "scored at" in capsys.readouterr().out, what="tail's heading")
    # The heading is printed before the first fetch, so tail may miss what is committed now: write
    # outcomes until it has seen enough.
    while tail.is_alive():
        give_outcomes(environment, inputs)
    tail.join(30)
    assert codes == [0]
    assert len(capsys.readouterr().out.splitlines()) == 4


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
    code, printed = run_json(environment, capsys, "doctor")
    assert code == 1
    found = {check["check"]: check for check in printed}
    assert found["topic nowhere"]["advice"] == "stream-scorer topics create"
    assert found["broker"]["level"] == "ok"
    assert "fraud-trainer train" in found["store"]["advice"]
    publish(FileStore(store))
    monkeypatch.setenv("DLQ_TOPIC", environment.dlq_topic)
    code, printed = run_json(environment, capsys, "doctor")
    assert code == 0, printed
    assert {check["level"] for check in printed if check["check"] in ("store", "model")} == {"ok"}
