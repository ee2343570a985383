"""MLflow's alias follows a promotion on the dashboard, and never stands in its way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dashboard.cases.case import DeskUnavailable
from dashboard.cases.desk import Desk as CasesDesk
from stream_scorer.local.probe import pick_free_port
from stream_scorer.tracking.identity import model_digest
from tests.support.dashboard_kit import make_app
from tests.support.factories import publish_only
from tests.support.tracking.memory_mlflow import MemoryMlflow, memory_mlflow
from tests.unit.dashboard.admin.test_models import PASSED, Desk, wish


@pytest.fixture
def mlflow() -> Iterator[MemoryMlflow]:
    with memory_mlflow() as server:
        yield server


def tracked_desk(folder: Path, uri: str) -> Desk:
    """A dashboard with two versions in its store and an MLflow server."""
    desk = Desk(folder)
    for seed in (1, 2):
        publish_only(desk.store, PASSED, seed)
    app = make_app(
        folder, store=desk.store, mlflow_tracking_uri=uri, dashboard_auth="proxy",
        dashboard_proxy_addresses="10.1.0.0/16", dashboard_proxy_role_header="X-Role",
    )  # fmt: skip
    desk.client = TestClient(
        app, "http://board.example", client=("10.1.2.3", 5000), follow_redirects=False
    )
    return desk


def register(mlflow: MemoryMlflow, desk: Desk, version: str) -> str:
    metadata = json.loads(desk.store.read_metadata(version))
    return mlflow.register(version, model_digest(metadata))


def test_alias_follows_promotion_and_rollback(tmp_path: Path, mlflow: MemoryMlflow) -> None:
    desk = tracked_desk(tmp_path, mlflow.uri)
    first, second = (register(mlflow, desk, version) for version in ("v1", "v2"))
    moved = {"state": "moved", "reason": None, "command": None}
    assert desk.post("v1/promote", wish(None)).json()["mlflow"] == moved
    assert mlflow.aliases == {"champion": first}
    desk.post("v2/promote", wish("v1"))
    assert mlflow.aliases == {"champion": second}
    assert desk.post("rollback", wish("v2")).json()["mlflow"] == moved
    assert mlflow.aliases == {"champion": first}
    desk.post("v2/promote", wish("v2"))  # refused: the pointer is at v1
    assert mlflow.aliases == {"champion": first}


def test_version_that_mlflow_does_not_have_leaves_no_alias_and_the_page_says_so(
    tmp_path: Path, mlflow: MemoryMlflow
) -> None:
    desk = tracked_desk(tmp_path, mlflow.uri)
    mlflow.aliases["champion"] = mlflow.register("v9", "another")
    done = desk.send(version="v1", expected="", reason="first")
    assert done.headers["location"] == "/model?version=v1&done=yes&mlflow=not-registered"
    assert mlflow.aliases == {}
    page = desk.get(done.headers["location"], "lead").text
    assert "v1 is not registered in MLflow." in page
    assert "fraud-trainer models track v1" in page


def test_promotion_stands_while_mlflow_is_down_and_the_page_says_so(tmp_path: Path) -> None:
    desk = tracked_desk(tmp_path, f"http://ana:secret@127.0.0.1:{pick_free_port()}")
    answer = desk.post("v1/promote", wish(None))
    assert (answer.status_code, desk.promoted) == (200, "v1")
    found: dict[str, Any] = answer.json()["mlflow"]
    assert (found["state"], found["command"]) == ("failed", "fraud-trainer models track v1")
    assert "does not answer" in found["reason"]
    assert "secret" not in answer.text
    done = desk.send(version="v2", expected="v1", reason="next")
    assert done.headers["location"] == "/model?version=v2&done=yes&mlflow=failed"
    page = desk.get(done.headers["location"], "lead").text
    assert "v2 is promoted." in page
    assert "MLflow was not told." in page
    assert "fraud-trainer models track v2" in page
    other = desk.get("/model?version=v1&done=yes&mlflow=failed", "lead").text
    assert "MLflow was not told." not in other  # v1 is not the promoted version


def test_alias_follows_also_if_the_audit_log_fails(
    tmp_path: Path, mlflow: MemoryMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = tracked_desk(tmp_path, mlflow.uri)
    number = register(mlflow, desk, "v1")

    def fail(*_: object) -> None:
        raise DeskUnavailable("disk full")

    monkeypatch.setattr(CasesDesk, "record", fail)
    assert desk.post("v1/promote", wish(None)).json()["type"] == "not-in-audit-log"
    assert mlflow.aliases == {"champion": number}
