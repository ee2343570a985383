"""Live streams over real connections: ticks, replay, the limit, and the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

import dashboard.live.hub as hub_module
from tests.dashboard_kit import (
    MemoryTopic,
    encode_score,
    is_closed,
    make_app,
    make_score,
    serve,
)
from tests.waiting import wait_until

Event = tuple[str, str, dict[str, Any]]


@contextmanager
def streaming(address: str, **headers: str) -> Iterator[Iterator[Event]]:
    with (
        httpx.Client(timeout=20) as client,
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
    wait_until(lambda: httpx.get(f"{address}/health").json()["checks"]["feed"]["ok"])


def next_with_rows(events: Iterator[Event]) -> Event:
    return next(event for event in events if event[2]["rows"])


def test_flagged_score_reaches_an_open_stream_and_who_returns_misses_none(tmp_path: Path) -> None:
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
        wait_until(lambda: httpx.get(f"{address}/api/v1/meta").json()["counts"]["flagged"] == 4)
        with streaming(address, **{"last-event-id": seen}) as events:
            kind, _, tick = next_with_rows(events)
            assert kind == "tick"
            assert {row["transaction_id"] for row in tick["rows"]} == {
                record["transaction_id"] for record in missed
            }
        with streaming(address, **{"last-event-id": "another-7"}) as events:
            assert next(events)[0] == "reset"


def test_streams_beyond_the_limit_are_a_problem_and_free_ones_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(tmp_path)
    monkeypatch.setattr(app.state.parts.hub, "_limit", 1)
    assert hub_module.MAX_STREAMS == 200
    with serve(app) as address:
        with streaming(address) as events:
            next(events)
            refused = httpx.get(f"{address}/api/v1/stream")
            assert refused.status_code == 503
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.json()["type"] == "too-many-streams"
        wait_until(lambda: len(app.state.parts.hub) == 0, what="the stream to be forgotten")
        with streaming(address) as events:
            next(events)


def test_open_streams_end_with_the_server(tmp_path: Path) -> None:
    with ExitStack() as server:
        address = server.enter_context(serve(make_app(tmp_path)))
        with streaming(address) as events:
            next(events)
            started = time.monotonic()
            server.close()
            assert time.monotonic() - started < 3, "it waited for the open stream"
            list(events)
    assert is_closed(address)
