"""The desk on real Apache Kafka."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dashboard.cases.case import Decision, Status, Who
from dashboard.cases.desk import Desk
from dashboard.cases.kafka_log import KafkaLog
from schemas.records import decode_record, encode_record
from stream_scorer.kafka.admin import create_topics
from stream_scorer.kafka.clients import open_admin, open_producer
from stream_scorer.process.topics import wanted_topics
from stream_scorer.runtime.settings import KafkaSettings, TopicSettings
from stream_scorer.settings import GroupSettings
from tests.conftest import MakeTopics, StartBroker
from tests.support.desk.patient_dashboard import LIMITS, SECONDS
from tests.support.desk.replica import running_desk
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.names import random_topics
from tests.support.records import produce, read_all
from tests.support.waiting import wait_until

ANA, BO = Who("ana", "analyst"), Who("bo", "analyst")


def log_of(kafka: KafkaSettings, topics: TopicSettings) -> KafkaLog:
    return KafkaLog(GroupSettings(**kafka.model_dump(), **topics.model_dump()))


def wait_live(desk: Desk) -> None:
    wait_until(lambda: desk.status().state == "live", what="the desk")


def test_decisions_wait_for_missing_topics_and_bad_records_stop_nothing(
    kafka: KafkaUnderTest, tmp_path: Path
) -> None:
    topics = random_topics()
    with running_desk(tmp_path, log_of(kafka.settings, topics)) as desk:
        wait_live(desk)
        status = desk.status()
        assert status.missing == (topics.audit_topic, topics.labels_topic)
        assert "run stream-scorer topics create" in status.detail
        assert desk.claim("0-1", ANA).is_local
        case = desk.decide(Decision("0-1", "FRAUD"), ANA, "first")
        assert (case.status, case.pending, case.recorded) == (Status.DECIDED, True, None)
        assert desk.status().waiting == 1
        wanted = wanted_topics(topics)
        create_topics(open_admin(kafka.settings), wanted, 3, -1)
        wait_until(lambda: desk.status().waiting == 0, what="the decision is recorded")
        assert desk.case_of(["0-1"])["0-1"].recorded
        assert desk.status().missing == ()
        bad = [b"not a label", None, b"\x00", b"{}"]
        produce(kafka.settings, topics.labels_topic, bad, 3)
        produce(kafka.settings, topics.audit_topic, bad, 3)
        late = {
            "transaction_id": 102, "label": "FRAUD", "origin": "CHARGEBACK",
            "decided_by": "bank", "decided_at": 1,
        }  # fmt: skip
        producer = open_producer(kafka.settings)
        producer.produce(topics.labels_topic, encode_record("fraud_label", late), b"102")
        assert producer.flush(60) == 0
        wait_until(lambda: desk.case_of(["0-2"])["0-2"].external == "FRAUD", what="the chargeback")
        wait_until(lambda: desk.status().unreadable == 8, what="all bad records are read")
        assert desk.claim("0-3", BO).by == "bo"


def test_broker_that_is_down_delays_decisions_and_loses_none(
    own_broker: StartBroker, tmp_path: Path
) -> None:
    broker = own_broker(tmp_path / "kafka")
    topics = random_topics()
    create_topics(open_admin(broker.settings), wanted_topics(topics), 3, 1)
    port = int(broker.settings.kafka_bootstrap_servers.rpartition(":")[2])
    with running_desk(tmp_path / "a", log_of(broker.settings, topics)) as desk:
        wait_live(desk)
        desk.decide(Decision("0-0", "FRAUD"), ANA, "before")
        broker.stop()
        begun = time.monotonic()
        assert desk.claim("0-1", ANA).is_local
        case = desk.decide(Decision("0-1", "FRAUD"), ANA, "meanwhile")
        decided = time.monotonic()
        assert case.pending
        assert decided - begun < 60  # seconds of which four are for the broker
        wait_until(lambda: desk.status().state == "waiting", what="the outage to show")
        desk.snooze("0-2", int(time.time() * 1000) + 3_600_000, ANA)
        assert desk.case_of(["0-2"])["0-2"].status is Status.SNOOZED
        assert desk.status().waiting == 1
        own_broker(tmp_path / "kafka", port=port)
        wait_until(lambda: desk.status().waiting == 0, what="the decision is recorded")
        wait_until(lambda: desk.status().events_waiting == 0, what="the events are recorded")
        assert desk.case_of(["0-2"])["0-2"].status is Status.SNOOZED
        records = read_all(broker.settings, topics.labels_topic)
        ids = [record.headers["decision-id"] for record in records]
        assert sorted(filter(None, ids)) == [b"before", b"meanwhile"]


def test_decision_is_recorded_when_it_returns(
    kafka: KafkaUnderTest, topics: MakeTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in LIMITS:
        monkeypatch.setattr(module, name, SECONDS)
    names = topics(3)
    with running_desk(tmp_path, log_of(kafka.settings, names), flags=20) as desk:
        wait_live(desk)
        for number in range(20):
            case = desk.decide(Decision(f"0-{number}", "LEGITIMATE"), ANA, f"key-{number}")
            assert case.recorded
        records = read_all(kafka.settings, names.labels_topic)
        found = [decode_record("fraud_label", record.value) for record in records]
        assert sorted(label["transaction_id"] for label in found) == list(range(100, 120))
