"""The words of drivers name hosts, buckets and users: only people on call and leads see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dashboard.history.past import HistoryStatus
from dashboard.live.ticks import build_vitals
from dashboard.web.roles import HIDDEN
from dashboard.web.tokens import ROLES, make_token
from stream_scorer.errors import StoreError
from stream_scorer.model.store.memory_store import MemoryStore
from tests.support.dashboard_kit import MemoryTopic, StaticModel, make_app, make_transaction
from tests.support.waiting import wait_until

SECRET = "s3cr3t"
FULL = ("lead", "ops")


class BrokenStore(MemoryStore):
    """A store that does not answer, and says where it is."""

    def versions(self) -> list[str]:
        raise StoreError(f"https://{SECRET}.example refused the connection")

    def get_pointer(self) -> Any:
        raise StoreError(f"https://{SECRET}.example refused the connection")


class Histories:
    """Histories with a problem."""

    def status(self) -> HistoryStatus:
        return HistoryStatus("snapshot", problem=f"s3://{SECRET} is down")


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """``call(role, path)``: a request to a dashboard where everything fails."""
    topic = MemoryTopic(1)
    topic.is_down = True
    model = StaticModel(problem=f"artifact store: http://user:{SECRET}@store is not reachable")
    made = {role: make_token(role, role) for role in ROLES}
    tokens = tmp_path / "tokens"
    tokens.write_text("\n".join(line for _, line in made.values()))
    app = make_app(
        tmp_path, topic, model, Histories(), store=BrokenStore(),  # type: ignore[arg-type]
        dashboard_auth="token", dashboard_tokens_file=tokens,
        kafka_bootstrap_servers=f"{SECRET}.example:9092",
    )  # fmt: skip
    with TestClient(app, "http://board.example") as client:
        board = app.state.parts.board
        wait_until(lambda: board.status.state.value == "waiting", what="the outage")

        def ask(role: str, path: str, **more: Any) -> Any:
            client.headers["authorization"] = f"Bearer {made[role][0]}"
            return client.request("POST" if more else "GET", path, **more)

        yield ask


def test_reasons_are_shown_to_operators_alone(call: Callable[..., Any]) -> None:
    in_full = ("/health", "/readyz", "/api/v1/meta", "/check", "/api/v1/operations")
    for role in ROLES:
        for path in (*in_full, "/api/v1/models", "/"):
            answer = call(role, path)
            assert answer.status_code in (200, 503), path
            if role not in FULL:
                assert SECRET not in answer.text, (role, path)
                assert path == "/" or HIDDEN in answer.text, (role, path)
            elif path in in_full:
                assert SECRET in answer.text, (role, path)


def test_predict_without_a_model_explains_itself_by_role(call: Callable[..., Any]) -> None:
    for role in ROLES:
        answer = call(role, "/predict", json={"transactions": [make_transaction()]})
        assert answer.status_code == 503
        assert (SECRET in answer.json()["detail"]) == (role in FULL)
        assert answer.json()["detail"].startswith("no model is loaded: ")


def test_ticks_go_to_all_roles_and_carry_no_reason(tmp_path: Path) -> None:
    model = StaticModel(problem=f"http://user:{SECRET}@store is not reachable")
    app = make_app(tmp_path, model=model)
    parts = app.state.parts
    assert SECRET not in str(build_vitals(parts.board, parts.model, (0.0, 0.0)))
    model.status = replace(model.status, problem=None)
    found = build_vitals(parts.board, parts.model, (0.0, 0.0))["model"]
    assert found["detail"] == "waiting for the first model"
