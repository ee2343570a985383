"""One client holds only its share of connections, bodies and requests; probes are apart."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from dashboard.connections import Connections, Limits
from dashboard.settings import DashboardSettings
from dashboard.web.auth import PROBES
from dashboard.web.body import BodyBudget
from dashboard.web.limits import ShareMiddleware
from dashboard.web.problems import Problem

LIMITS = Limits(total=4, per_client=2, probes=2)
PROXIES = DashboardSettings(dashboard_proxy_addresses="10.1.0.0/16").proxy_networks


def test_one_client_has_only_its_share_and_others_the_rest() -> None:
    connections = Connections[int]()
    assert [connections.enter(n, "a", LIMITS).refusal for n in (1, 2)] == [None, None]
    refusal = connections.enter(3, "a", LIMITS).refusal
    assert refusal is not None
    assert "this address has 2 open connections" in refusal
    assert connections.enter(4, "b", LIMITS).refusal is None
    connections.leave(1)
    assert connections.enter(5, "a", LIMITS).refusal is None


def test_trusted_proxy_has_no_share_but_the_total_holds() -> None:
    connections = Connections[int]()
    assert [connections.enter(n, None, LIMITS).refusal for n in range(4)] == [None] * 4
    assert connections.enter(9, None, LIMITS).refusal == "too many open connections"


def test_oldest_connection_for_probes_makes_room_for_a_new_one() -> None:
    connections = Connections[int]()
    found = [connections.enter(n, "a", LIMITS).displaced for n in range(6)]
    assert found == [None, None, None, None, 2, 3]
    connections.leave(2)  # when the socket of a displaced connection is closed
    assert len(connections) == 4


def test_one_client_has_only_its_share_of_the_bytes_of_bodies() -> None:
    budget = BodyBudget(max_bytes=10, client_bytes=6)
    with budget.track("a") as first, budget.track("a") as second, budget.track("b") as other:
        first(4)
        with pytest.raises(Problem, match="your request bodies in progress reached the limit of 6"):
            second(3)
        other(6)
        with pytest.raises(Problem, match="the request bodies in progress reached the limit of 10"):
            second(1)
    assert budget.held == 0
    with budget.track("a") as again:
        again(6)


async def ask(share: ShareMiddleware, path: str, peer: str, forwarded: str | None) -> int:
    """The status of one request, or 200 if the application got it."""
    status = 200

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    scope = {"type": "http", "path": path, "method": "GET", "query_string": b"", "headers": headers}
    await share({**scope, "client": (peer, 1)}, None, send)  # type: ignore[arg-type]
    return status


def test_one_client_behind_a_proxy_has_only_its_share_of_requests() -> None:
    async def run() -> None:
        release = asyncio.Event()

        async def hold(_scope: Scope, _receive: Receive, _send: Send) -> None:
            await release.wait()

        share = ShareMiddleware(hold, PROXIES, PROBES, most=2)

        def start(path: str, peer: str, forwarded: str | None) -> asyncio.Task[int]:
            return asyncio.create_task(ask(share, path, peer, forwarded))

        held = [start("/login", "10.1.0.5", "203.0.113.9") for _ in range(2)]
        await asyncio.sleep(0)
        assert await ask(share, "/login", "10.1.0.6", "203.0.113.9") == 429
        others = [
            start("/login", "10.1.0.5", "203.0.113.10"),  # another client
            start("/livez", "10.1.0.5", "203.0.113.9"),  # a probe
            start("/login", "203.0.113.9", None),  # not through the proxy: counted elsewhere
            *(start("/login", "10.1.0.5", None) for _ in range(3)),  # a proxy that names no client
        ]
        await asyncio.sleep(0)
        release.set()
        assert set(await asyncio.gather(*held, *others)) == {200}
        assert await ask(share, "/login", "10.1.0.6", "203.0.113.9") == 200

    asyncio.run(run())
