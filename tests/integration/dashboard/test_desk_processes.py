"""Several dashboards as processes on real Apache Kafka: they agree, and they may die."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from dashboard.cases.kafka_log import KafkaLog
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.settings import GroupSettings
from tests.conftest import MakeTopics
from tests.support.dashboard_kit import encode_score, make_score
from tests.support.desk.processes import DashboardProcess, Users, dashboard_process, make_users
from tests.support.desk.replica import running_desk
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import produce, read_all
from tests.support.waiting import wait_until

FLAGS = 6
RACERS = [f"user-{number}" for number in range(8)]


@pytest.fixture
def names(kafka: KafkaUnderTest, topics: MakeTopics) -> TopicSettings:
    """Topics with six flagged transactions, ``0-0`` to ``0-5``."""
    names = topics(3)
    scores = []
    for offset in range(FLAGS):
        source = {"topic": names.input_topic, "partition": 0, "offset": offset}
        scores.append(encode_score(make_score(0.9, transaction_id=100 + offset, source=source)))
    produce(kafka.settings, names.output_topic, scores, 3)
    return names


@pytest.fixture
def users(tmp_path: Path) -> Users:
    return make_users(tmp_path / "tokens", dict.fromkeys(RACERS, "analyst"))


def cases(dashboard: DashboardProcess) -> dict[str, Any]:
    """Status, holder and label of all cases, and their histories."""
    found = {}
    for offset in range(FLAGS):
        history = dashboard.call(RACERS[0], "GET", f"/flags/0-{offset}/history").json()["items"]
        found[f"0-{offset}"] = [(e["kind"], e["by"], e["recorded"]) for e in history]
    return found


def test_two_dashboards_agree_on_racing_claims_and_show_each_others_decisions(
    kafka: KafkaUnderTest, names: TopicSettings, users: Users, tmp_path: Path
) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(len(RACERS)) as pool:
        first, second = (
            stack.enter_context(dashboard_process(kafka.settings, names, tmp_path / n, users))
            for n in ("first", "second")
        )
        for dashboard in (first, second):
            wait_until(lambda d=dashboard: d.is_following(FLAGS), what="the dashboard")  # type: ignore[misc]

        def race(flag_id: str) -> None:
            def claim(number: int) -> httpx.Response:
                dashboard = (first, second)[number % 2]
                answer: httpx.Response = dashboard.call(
                    RACERS[number], "POST", f"/flags/{flag_id}/claim"
                )
                return answer

            answers = list(pool.map(claim, range(len(RACERS))))
            statuses = [answer.status_code for answer in answers]
            assert sorted(statuses) == [200, *[409] * 7], [a.text for a in answers]
            winner = RACERS[statuses.index(200)]
            assert {a.json()["by"] for a in answers if a.status_code == 409} == {winner}

        for flag_id in ("0-0", "0-1", "0-2"):
            race(flag_id)
        for dashboard in (first, second):
            assert "Traceback" not in dashboard.log.read_text()
        ana, bo = RACERS[:2]
        body = {"label": "FRAUD", "note": "both show it"}
        decided = first.call(ana, "POST", "/flags/0-4/decision", body)
        assert decided.status_code == 201, decided.text
        recorded = decided.json()["case"]["recorded"]
        wait_until(lambda: ("decision", ana, recorded) in cases(second)["0-4"], what="the decision")
        assert second.call(bo, "DELETE", "/flags/0-4/decision").status_code == 201
        wait_until(lambda: cases(first) == cases(second), what="both show the same")
        assert cases(first)["0-4"][-1][0] == "withdrawal"
        second.kill()
        known = cases(first)
    log = KafkaLog(GroupSettings(**kafka.settings.model_dump(), **names.model_dump()))
    with running_desk(tmp_path / "new", log, FLAGS, names.input_topic) as desk:
        wait_until(lambda: desk.status().state == "live", what="a desk without any state")
        for flag_id, events in known.items():
            assert [(e.kind, e.by, e.recorded) for e in desk.events(flag_id)] == events


def test_desk_killed_after_the_broker_confirmed_loses_and_doubles_nothing(
    kafka: KafkaUnderTest, topics: MakeTopics, tmp_path: Path
) -> None:
    names = topics(3)
    settings = GroupSettings(**kafka.settings.model_dump(), **names.model_dump())
    command = (
        "tests.support.desk.dying_desk", str(tmp_path), settings.kafka_bootstrap_servers,
        settings.labels_topic, settings.audit_topic,
    )  # fmt: skip
    assert subprocess.run([sys.executable, "-m", *command], check=False).returncode == -9
    (record,) = read_all(settings, names.labels_topic)
    with running_desk(tmp_path, KafkaLog(settings)) as desk:
        wait_until(lambda: desk.status().state == "live", what="the desk")
        wait_until(lambda: desk.status().waiting == 0, what="an empty outbox")
        wait_until(lambda: desk.status().events_waiting == 0, what="the event")
        (event,) = desk.events("0-3")
        assert (event.by, event.recorded) == ("ana", f"{record.partition}:{record.offset}")
    assert len(read_all(settings, names.labels_topic)) == 1
    assert len(read_all(settings, names.audit_topic)) == 1
