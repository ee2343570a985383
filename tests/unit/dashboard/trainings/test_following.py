"""The end of a training is counted and recorded though nobody looks at the trainings."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dashboard.trainings.training import Order, State, TrainingsUnavailable, Trigger
from dashboard.trainings.trainings import Trainings
from dashboard.web.trainings import following
from tests.support.dashboard_kit import make_app
from tests.support.desk.desk_kit import MemoryLog
from tests.support.trainings.memory_runner import MemoryRunner
from tests.support.waiting import wait_until

LOCAL = "http://127.0.0.1"
ORDER = Order("why", Trigger.PERSON, "ana")


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "INTERVAL_SECONDS", 0.01)


def counted(client: TestClient, state: str) -> bool:
    line = f'fraud_dashboard_trainings_ended_total{{state="{state}"}} 1.0'
    return line in client.get("/metrics").text


def ends(client: TestClient) -> list[tuple[str, str, str]]:
    found = client.get("/api/v1/audit", params={"kind": "training-ended"}).json()["items"]
    return [(one["by"], one["details"]["training"], one["details"]["state"]) for one in found]


def test_end_is_counted_and_recorded_once_by_two_dashboards(tmp_path: Path) -> None:
    runner, log = MemoryRunner(), MemoryLog()
    apps = [
        make_app(tmp_path / name, trainings=Trainings(runner, 24), desk_log=log) for name in "ab"
    ]
    runner.start(ORDER, 1000, [])  # before both: each sees it at its start
    with TestClient(apps[0], LOCAL) as first, TestClient(apps[1], LOCAL) as second:
        for app in apps:
            wait_until(lambda app=app: app.state.parts.trainings.is_waiting, what="a look")  # type: ignore[misc]
        runner.end(State.FAILED, "exit code 1")
        for client in (first, second):
            wait_until(lambda client=client: counted(client, "failed"), what="the end is counted")  # type: ignore[misc]
            wait_until(lambda client=client: ends(client), what="the end is recorded")  # type: ignore[misc]
        for app in apps:
            context = app.state.parts.desk._context
            wait_until(lambda context=context: not any(context.outbox._counts.values()),  # type: ignore[misc]
                       what="all is sent")  # fmt: skip
        for client in (first, second):
            assert ends(client) == [("dashboard", "training-1", "failed")]
            assert "A training ended" in client.get("/audit").text


def test_trainings_that_cannot_be_read_are_read_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runner = MemoryRunner()
    trainings = Trainings(runner, 24)
    with TestClient(make_app(tmp_path, trainings=trainings), LOCAL) as client:
        trainings.start(ORDER)
        runner.problem = TrainingsUnavailable("the API server does not answer")
        runner.end()
        with caplog.at_level(logging.WARNING):
            wait_until(lambda: "the trainings cannot be read" in caplog.text, what="a look")
        runner.problem = None
        wait_until(lambda: counted(client, "succeeded"), what="the end is counted")
    assert caplog.text.count("the trainings cannot be read") == 1
