"""Live streams over real connections: ticks, replay, the limit, and shutdown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

import dashboard.live.hub as hub_module
from dashboard.web.auth import COOKIE
from dashboard.web.tokens import make_token
from tests.support.dashboard_kit import (
    MemoryTopic,
    encode_score,
    is_closed,
    make_app,
    make_score,
    serve,
)
from tests.support.waiting import wait_until

Event = tuple[str, str, dict[str, Any]]
_ANSWER_SECONDS = 60.0
get = partial(httpx.get, timeout=_ANSWER_SECONDS)
post = partial(httpx.post, timeout=_ANSWER_SECONDS)


@contextmanager
def streaming(address: str, **headers: str) -> Iterator[Iterator[Event]]:
    with (
        httpx.Client(timeout=_ANSWER_SECONDS) as client,
        client.stream("GET", f"{address}/api/v1/stream", headers=headers) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        yield read_events(answer)


def read_events(answer: httpx.Response) -> Iterator[Event]:
    found: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            found[name] = value
        elif "data" in found:
            yield found["event"], found["id"], orjson.loads(found["data"])
            found = {}


def wait_live(address: str) -> None:
    wait_until(lambda: get(f"{address}/health").json()["checks"]["feed"]["ok"])


def next_with_rows(events: Iterator[Event]) -> Event:
    return next(event for event in events if event[2]["rows"])


def test_flagged_score_reaches_an_open_stream_and_a_reconnect_misses_none(tmp_path: Path) -> None:
    topic = MemoryTopic(1)
    with serve(make_app(tmp_path, topic)) as address:
        wait_live(address)
        with streaming(address) as events:
            next(events)
            record = make_score(0.91)
            topic.append(encode_score(record))
            topic.append(encode_score(make_score(0.2)))
            _, seen, tick = next_with_rows(events)
            assert [row["transaction_id"] for row in tick["rows"]] == [record["transaction_id"]]
            assert tick["rows"][0]["score"] == 0.91
            assert tick["flagged"] == 1
        missed = [make_score(0.9) for _ in range(3)]
        for record in missed:
            topic.append(encode_score(record))
        wait_until(lambda: get(f"{address}/api/v1/meta").json()["counts"]["flagged"] == 4)
        with streaming(address, **{"last-event-id": seen}) as events:
            wanted = {record["transaction_id"] for record in missed}
            found = set[int]()
            while found != wanted:  # they may be in several ticks
                kind, _, tick = next_with_rows(events)
                assert kind == "tick"
                found |= {row["transaction_id"] for row in tick["rows"]}
                assert found <= wanted
        with streaming(address, **{"last-event-id": "another-7"}) as events:
            assert next(events)[0] == "reset"


def test_streams_beyond_the_limit_get_a_problem_until_another_one_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(tmp_path)
    monkeypatch.setattr(app.state.parts.hub, "_limit", 1)
    assert hub_module.MAX_STREAMS == 200
    with serve(app) as address:
        with streaming(address) as events:
            next(events)
            refused = get(f"{address}/api/v1/stream")
            assert refused.status_code == 503
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.json()["type"] == "too-many-streams"
        wait_until(lambda: len(app.state.parts.hub) == 0, what="the stream to be removed")
        with streaming(address) as events:
            next(events)


@pytest.mark.parametrize("by", ["bearer", "session"])
def test_open_stream_ends_soon_after_its_token_is_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setattr("dashboard.live.hub.AUTH_CHECK_SECONDS", 0.1)
    monkeypatch.setattr("dashboard.web.tokens._CHECK_SECONDS", 0.0)
    (ana, first), (bob, second) = (make_token(name, "analyst") for name in ("ana", "bob"))
    path = tmp_path / "tokens"
    path.write_text(f"{first}\n{second}\n")
    app = make_app(tmp_path, dashboard_auth="token", dashboard_tokens_file=path)

    def credentials(token: str) -> dict[str, str]:
        if by == "bearer":
            return {"authorization": f"Bearer {token}"}
        cookies = post(f"{address}/login", data={"token": token}).cookies
        return {"cookie": f"{COOKIE}={cookies[COOKIE]}"}

    with serve(app) as address:
        revoked, kept = credentials(ana), credentials(bob)
        with streaming(address, **revoked) as events, streaming(address, **kept) as others:
            next(events)
            next(events)
            path.write_text(second)
            seen = list(islice(events, 20))  # an open stream has one per second
            assert len(seen) < 20
            next(others)
            wait_until(lambda: len(app.state.parts.hub) == 1, what="the stream to be removed")
            next(others)
        assert get(f"{address}/api/v1/stream", headers=revoked).status_code == 401


def test_open_streams_end_with_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # If the server waited for the open stream, it would not stop within this test.
    monkeypatch.setattr("dashboard.server._GRACEFUL_SECONDS", 3600)
    with ExitStack() as server:
        address = server.enter_context(serve(make_app(tmp_path)))
        with streaming(address) as events:
            next(events)
            server.close()
            list(events)
    assert is_closed(address)
