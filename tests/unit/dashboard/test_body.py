"""Request bodies: the limit of all bodies together, and how their bytes are returned."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from starlette.requests import ClientDisconnect

from dashboard.predicting import MAX_BODY_BYTES
from dashboard.web.body import BODIES_BYTES, BodyBudget, read_body
from dashboard.web.problems import Problem
from tests.support.dashboard_kit import StaticModel, make_app, make_transaction, tiny_bundle

BODY = orjson.dumps({"transactions": [make_transaction()]})


class Upload:
    """A request whose body the test sends in parts."""

    def __init__(self, **headers: str) -> None:
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.request = Request({"type": "http", "headers": raw}, self._messages.get)

    def send(self, part: bytes, *, more: bool = True) -> None:
        self._messages.put_nowait({"type": "http.request", "body": part, "more_body": more})

    def leave(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})


async def read(upload: Upload, budget: BodyBudget, most: int = 100) -> bytes:
    with budget.track("192.0.2.7") as add:
        return await read_body(upload.request, most, add)


async def run_until_idle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_bodies_count_from_arrival_until_release() -> None:
    async def scenario() -> None:
        budget = BodyBudget(150)
        first, second = Upload(content_length="100"), Upload(content_length="100")
        reading = [asyncio.create_task(read(upload, budget)) for upload in (first, second)]
        await run_until_idle()
        assert budget.held == 0  # a Content-Length alone does not count
        first.send(b"a" * 90)
        second.send(b"b" * 60)
        await run_until_idle()
        assert budget.held == 150
        second.send(b"b")
        with pytest.raises(Problem) as caught:
            await reading[1]
        assert caught.value.status == 503
        assert int(caught.value.headers["Retry-After"]) > 0
        assert caught.value.headers["Connection"] == "close"
        assert budget.held == 90
        first.send(b"a" * 10, more=False)
        assert await reading[0] == b"a" * 100
        assert budget.held == 0

    asyncio.run(scenario())


def test_every_end_of_a_body_returns_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        budget = BodyBudget(1000)
        large, gone, late = Upload(), Upload(), Upload()
        for upload in (large, gone, late):
            upload.send(b"a" * 60)
        large.send(b"a" * 60)
        gone.leave()
        with pytest.raises(Problem) as too_large:
            await read(large, budget)
        with pytest.raises(ClientDisconnect):
            await read(gone, budget)
        monkeypatch.setattr("dashboard.web.body.BODY_SECONDS", 0.001)
        with pytest.raises(Problem) as too_late:
            await read(late, budget)
        assert (too_large.value.status, too_late.value.status) == (413, 408)
        assert budget.held == 0

    asyncio.run(scenario())


def test_budget_is_several_times_the_largest_body() -> None:
    assert BODIES_BYTES >= 10 * MAX_BODY_BYTES


def test_predict_is_503_with_retry_after_while_the_budget_is_used_up(tmp_path: Path) -> None:
    app = make_app(tmp_path, model=StaticModel(tiny_bundle()))
    with TestClient(app, "http://127.0.0.1") as client:
        budget = app.state.parts.bodies
        with budget.track("192.0.2.7") as add, budget.track("192.0.2.8") as add_other:
            add(BODIES_BYTES // 2)
            add_other(BODIES_BYTES // 2 - len(BODY) + 1)
            refused = client.post("/predict", content=BODY)
            assert client.get("/livez").status_code == 200
        assert refused.status_code == 503
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["type"] == "too-many-bodies"
        assert int(refused.headers["retry-after"]) > 0
        assert client.post("/predict", content=BODY).status_code == 200
        assert client.post("/predict", content=b"{").status_code == 422
        assert budget.held == 0


def test_body_counts_while_it_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(tmp_path, model=StaticModel(tiny_bundle()))
    held: list[int] = []

    def predict(*_: Any) -> Any:
        held.append(app.state.parts.bodies.held)
        raise Problem(422, "not today")

    monkeypatch.setattr("dashboard.web.predict._predict", predict)
    with TestClient(app, "http://127.0.0.1") as client:
        assert client.post("/predict", content=BODY).status_code == 422
    assert held == [len(BODY)]
