"""Limits per client: token buckets in bounded memory, and requests in progress.

Used only on the event loop, so nothing here needs a lock.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from dashboard.settings import Network
from dashboard.web.problems import Problem, render_problem

MAX_KEYS: Final = 10_000
"""Keys in memory. Beyond this, the least recently used key is forgotten."""

CLIENT_REQUESTS: Final = 300
"""Requests that one client of a proxy may have in progress, live streams included. As many as
connections without a proxy."""

RATE_LIMIT: Final = "RateLimit"
RATE_LIMIT_POLICY: Final = "RateLimit-Policy"
_POLICY: Final = "rows"

_MAX_PROXIES: Final = 8  # proxies in a chain
_MAX_HOST_CHARS: Final = 64
_IPV6_CLIENT_BITS: Final = 64  # one subscriber usually has a whole /64 network


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


class RateLimiter:
    """A token bucket per key.

    The cost of a request may be known only after its work has begun, so the level of a bucket may
    become negative. The key must then wait until the level is positive again.

    Args:
        per_second: the refill rate of each bucket. 0 means no limit.
        burst: the capacity of each bucket.
        clock: monotonic seconds.
        max_keys: the number of keys kept in memory.
    """

    def __init__(
        self,
        per_second: float,
        burst: float,
        clock: Callable[[], float] = time.monotonic,
        max_keys: int = MAX_KEYS,
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._max_keys = max_keys
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_seconds(self, key: str, paid: float = 0.0) -> float:
        """How long ``key`` must wait before its next request. 0: no wait. Charges nothing.

        ``paid`` is what the key was already charged for the request that is asked about.
        """
        if not self._per_second or (bucket := self._buckets.get(key)) is None:
            return 0.0
        level = self._level(bucket) + paid
        return 0.0 if level >= 1 else max((1 - level) / self._per_second, 1e-3)

    def charge(self, key: str, cost: float) -> None:
        """Take ``cost`` tokens, even if the bucket has fewer."""
        if not self._per_second:
            return
        bucket = self._buckets.pop(key, None) or _Bucket(self._burst, self._clock())
        bucket.level, bucket.at = self._level(bucket) - cost, self._clock()
        self._buckets[key] = bucket
        if len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)

    def headers_of(self, key: str) -> dict[str, str]:
        """What ``key`` may do, as draft-ietf-httpapi-ratelimit-headers-09 says. Empty: no limit.

        ``t`` is when the bucket is full again or, while ``r`` is 0, when the key may go on.
        """
        if not self._per_second:
            return {}
        bucket = self._buckets.get(key)
        level = self._burst if bucket is None else self._level(bucket)
        seconds = self.wait_seconds(key) or (self._burst - level) / self._per_second
        window = math.ceil(self._burst / self._per_second)
        return {
            RATE_LIMIT_POLICY: f'"{_POLICY}";q={int(self._burst)};w={window}',
            RATE_LIMIT: f'"{_POLICY}";r={max(0, int(level))};t={math.ceil(seconds)}',
        }

    def _level(self, bucket: _Bucket) -> float:
        return min(self._burst, bucket.level + (self._clock() - bucket.at) * self._per_second)


def client_key(request: Request, proxies: Sequence[Network] = ()) -> str:
    """The client's address as a key. All addresses of an IPv6 /64 network share one key.

    For a trusted proxy, the client is the last address in ``X-Forwarded-For`` that is not itself a
    trusted proxy. If that entry is not an address, the key is the last trusted proxy. The header is
    ignored from every other sender.
    """
    host = request.client.host if request.client else ""
    address = parse_address(host)
    for entry in reversed(_forwarded_for(request)):
        if address is None or not any(address in network for network in proxies):
            break
        if (forwarded := parse_address(_without_port(entry))) is None:
            break
        address = forwarded
    return address_key(host) if address is None else _network_key(address)


def address_key(host: str) -> str:
    """The same for the address of a connection."""
    address = parse_address(host)
    return host[:_MAX_HOST_CHARS] if address is None else _network_key(address)


def is_proxy(host: str, proxies: Sequence[Network]) -> bool:
    """Whether an address belongs to a trusted proxy."""
    address = parse_address(host)
    return address is not None and any(address in network for network in proxies)


def _network_key(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.IPv6Network((address, _IPV6_CLIENT_BITS), strict=False).network_address)


def parse_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address without its zone. An IPv4-mapped IPv6 address becomes the IPv4 address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def _forwarded_for(request: Request) -> list[str]:
    values = request.headers.getlist("x-forwarded-for")
    parts = (part.strip() for value in values for part in value.split(","))
    return [part for part in parts if part][-_MAX_PROXIES:]


def _without_port(entry: str) -> str:
    """The address in ``192.0.2.7:5000``, ``[2001:db8::1]:5000`` or ``[2001:db8::1]``.

    With its port, each connection of a client would have its own key.
    """
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def too_many_requests(reason: str, wait_seconds: float) -> Problem:
    """A 429 with ``Retry-After`` in whole seconds."""
    seconds = max(1, math.ceil(wait_seconds))
    return Problem(
        429,
        f"{reason}: try again in {seconds} s",
        kind="too-many-requests",
        headers={"Retry-After": str(seconds), "Connection": "close"},  # the body is not read
    )


class ShareMiddleware:
    """Middleware: limits the requests that one client of a trusted proxy has in progress.

    The connections of a proxy belong to all its clients, so their number says nothing about one of
    them. Probes are not limited.

    Args:
        app: the application.
        proxies: the trusted proxies. Requests of other senders pass.
        unlimited: paths that are not limited.
        most: requests in progress per client.
    """

    def __init__(
        self,
        app: ASGIApp,
        proxies: Sequence[Network],
        unlimited: frozenset[str],
        most: int = CLIENT_REQUESTS,
    ) -> None:
        self._app = app
        self._proxies = proxies
        self._unlimited = unlimited
        self._most = most
        self._in_progress: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it with a 429."""
        key = self._key(scope)
        if key is None:
            await self._app(scope, receive, send)
            return
        if self._in_progress[key] >= self._most:
            problem = too_many_requests(f"this address has {self._most} requests in progress", 1)
            await render_problem(Request(scope), problem)(scope, receive, send)
            return
        self._in_progress[key] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_progress[key] -= 1
            if not self._in_progress[key]:
                del self._in_progress[key]

    def _key(self, scope: Scope) -> str | None:
        """The client behind the proxy. None if the request is not limited."""
        if scope["type"] != "http" or scope["path"] in self._unlimited:
            return None
        request = Request(scope)
        if not is_proxy(request.client.host if request.client else "", self._proxies):
            return None
        key = client_key(request, self._proxies)
        return None if is_proxy(key, self._proxies) else key  # the header names no client
