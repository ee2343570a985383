"""Rate limits per client: token buckets in bounded memory.

Used only on the event loop, so nothing here needs a lock.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import Request

from dashboard.settings import Network
from dashboard.web.problems import Problem

MAX_KEYS: Final = 10_000
"""Keys in memory. Beyond this, the least recently used key is forgotten."""

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
    if address is None:
        return host[:_MAX_HOST_CHARS]
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
