"""Which connections are served, which are open for probes only, and which must make room.

One client may hold only its share, so that others can still connect. Connections beyond a limit are
not refused at once, because the first request shows whether the client is a probe or a scraper.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, Generic, NamedTuple, TypeVar

MAX_CONNECTIONS: Final = 900
"""Connections that are served. With those for probes this stays below 1,024, the usual limit of
open files per process."""

CLIENT_CONNECTIONS: Final = 300
"""The share of one address. There are at most 200 live streams, so a whole office behind one
address has enough."""

PROBE_CONNECTIONS: Final = 32
"""Connections beyond the limits, on which only probes and metrics are answered. When there are
more, the oldest is closed: a probe needs milliseconds."""

T = TypeVar("T")


class Limits(NamedTuple):
    """How many connections there may be."""

    total: int = MAX_CONNECTIONS
    per_client: int = CLIENT_CONNECTIONS
    probes: int = PROBE_CONNECTIONS


class Admission(NamedTuple, Generic[T]):
    """The answer to a new connection.

    Attributes:
        refusal: why only probes are answered on it. None if all requests are.
        displaced: a connection that must be closed to make room.
    """

    refusal: str | None
    displaced: T | None = None


class Connections(Generic[T]):
    """The open connections of one server. Used only on its event loop."""

    def __init__(self) -> None:
        self._served: dict[T, str | None] = {}
        self._by_client: Counter[str] = Counter()
        self._probes: dict[T, None] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._served) + len(self._probes)

    def enter(self, connection: T, client: str | None, limits: Limits) -> Admission[T]:
        """Add a connection of ``client``. None: a trusted proxy, which has many clients."""
        refusal = self._refusal(client, limits)
        if refusal is None:
            self._served[connection] = client
            if client is not None:
                self._by_client[client] += 1
            return Admission(None)
        displaced = next(iter(self._probes)) if len(self._probes) >= limits.probes else None
        if displaced is not None:
            del self._probes[displaced]
        self._probes[connection] = None
        return Admission(refusal, displaced)

    def leave(self, connection: T) -> None:
        """Remove a connection that was closed. Does nothing for one that made room."""
        self._probes.pop(connection, None)
        client = self._served.pop(connection, None)
        if client is not None:
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]

    def _refusal(self, client: str | None, limits: Limits) -> str | None:
        if client is not None and self._by_client[client] >= limits.per_client:
            return (
                f"this address has {limits.per_client} open connections, the most that one may "
                "have: close some, or list it in DASHBOARD_PROXY_ADDRESSES if it is a proxy"
            )
        return "too many open connections" if len(self._served) >= limits.total else None
