"""How much anybody may ask for: token buckets by key, in bounded memory.

Used from the event loop alone, so nothing here is locked.
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
"""Remembered at once; beyond, the one not seen for longest starts afresh."""

_MAX_PROXIES: Final = 8  # in a row
_MAX_HOST_CHARS: Final = 64
_IPV6_CLIENT_BITS: Final = 64  # one subscriber has that many addresses to choose from


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


class Buckets:
    """One token bucket for each key.

    What a request costs may be known only after its work began, so a bucket may be drawn below
    zero; who is in debt waits until it is paid.

    Args:
        per_second: tokens that flow into each bucket; 0 means no limit.
        burst: what a bucket holds.
        clock: monotonic seconds.
        max_keys: bounds the memory.
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

    def wait_seconds(self, key: str) -> float:
        """How long until ``key`` may ask again; 0 when it may now. Costs nothing by itself."""
        if not self._per_second or (bucket := self._buckets.get(key)) is None:
            return 0.0
        level = self._level(bucket)
        return 0.0 if level >= 1 else max((1 - level) / self._per_second, 1e-3)

    def charge(self, key: str, cost: float) -> None:
        """Take ``cost`` tokens, also when there are fewer."""
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
    """The address a request comes from; all of an IPv6 subscriber's are one.

    A proxy among ``proxies`` says in ``X-Forwarded-For`` whom it speaks for; its last word counts
    that is not another of them. Where that word is no address, it is the proxy's own request.
    Whoever else sends that header only speaks for themselves.
    """
    host = request.client.host if request.client else ""
    address = parse_address(host)
    for told in reversed(_forwarded(request)):
        if address is None or not any(address in network for network in proxies):
            break
        if (speaks_for := parse_address(_without_port(told))) is None:
            break
        address = speaks_for
    if address is None:
        return host[:_MAX_HOST_CHARS]
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.IPv6Network((address, _IPV6_CLIENT_BITS), strict=False).network_address)


def parse_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address without a zone; an IPv4 one as such also where it came in IPv6's clothes."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def _forwarded(request: Request) -> list[str]:
    values = request.headers.getlist("x-forwarded-for")
    parts = (part.strip() for value in values for part in value.split(","))
    return [part for part in parts if part][-_MAX_PROXIES:]


def _without_port(told: str) -> str:
    """``192.0.2.7:5000``, ``[2001:db8::1]:5000`` and ``[2001:db8::1]`` without what is not of the
    address: with its port, each connection of a client would be somebody else.
    """  # noqa: D205 - one sentence
    if told.startswith("["):
        return told[1:].partition("]")[0]
    return told.partition(":")[0] if told.count(":") == 1 else told


def too_many(what: str, wait_seconds: float) -> Problem:
    """The answer to one who has to wait: 429 with ``Retry-After`` in whole seconds."""
    seconds = max(1, math.ceil(wait_seconds))
    return Problem(
        429,
        f"{what}: try again in {seconds} s",
        kind="too-many-requests",
        headers={"Retry-After": str(seconds), "Connection": "close"},  # a body stays unread
    )
