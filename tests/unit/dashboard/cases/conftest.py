"""Dashboards with users of each role, on topics in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dashboard.web.tokens import make_token
from tests.support.dashboard_kit import MemoryTopic, encode_score, make_app, make_score
from tests.support.desk.desk_kit import MemoryLog
from tests.support.waiting import wait_until

ROLES = {"ana": "analyst", "bo": "analyst", "lea": "lead", "vic": "viewer", "olga": "ops"}


@dataclass
class Dashboard:
    """A running dashboard, and a token for each user."""

    client: TestClient
    tokens: dict[str, str]

    def call(self, who: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """A request to the API as a user; ``if_match="1"`` is the header If-Match."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent["Authorization"] = f"Bearer {self.tokens[who]}"
        return self.client.request(method, f"/api/v1{path}", json=body, headers=sent)

    def case(self, flag_id: str) -> dict[str, Any]:
        """The case as the desk has it."""
        desk = self.client.app.state.parts.desk  # type: ignore[attr-defined]
        found: dict[str, Any] = desk.case_of([flag_id])[flag_id].as_json()
        return found

    def status(self) -> dict[str, Any]:
        """What /health says about the desk, in full."""
        headers = {"Authorization": f"Bearer {self.tokens['lea']}"}
        answer = self.client.get("/health", headers=headers).json()
        found: dict[str, Any] = answer["checks"]["desk"]
        return found


StartDashboard = Callable[..., Dashboard]


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def topic() -> MemoryTopic:
    """Four flagged transactions, ``0-0`` to ``0-3``; the expected loss grows with the offset."""
    topic = MemoryTopic(1)
    for offset in range(4):
        source = {"topic": "transactions", "partition": 0, "offset": offset}
        score = make_score(0.9, transaction_id=100 + offset, source=source)
        score["context"] |= {"TransactionAmt": 10.0 * (offset + 1), "ProductCD": "W"}
        topic.append(encode_score(score))
    return topic


@pytest.fixture
def start(tmp_path: Path, topic: MemoryTopic, log: MemoryLog) -> Iterator[StartDashboard]:
    """``start(name)`` starts a replica. Replicas share the topics, not the state folder."""
    made = {name: make_token(name, role) for name, role in ROLES.items()}
    tokens = tmp_path / "tokens"
    tokens.write_text("\n".join(line for _, line in made.values()))
    with ExitStack() as stack:

        def run(name: str = "first", state: str = "live", **settings: Any) -> Dashboard:
            app = make_app(
                tmp_path / name, topic, desk_log=log, dashboard_auth="token",
                dashboard_tokens_file=tokens, **settings,
            )  # fmt: skip
            client = stack.enter_context(TestClient(app, "http://127.0.0.1"))
            started = Dashboard(client, {name: token for name, (token, _) in made.items()})
            board = app.state.parts.board
            wait_until(lambda: board.counts.flagged == 4, what="the list")
            wait_until(lambda: started.status()["state"] == state, what=f"the desk is {state}")
            return started

        yield run


@pytest.fixture
def desk(start: StartDashboard) -> Dashboard:
    return start()
