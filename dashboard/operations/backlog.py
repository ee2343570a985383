"""The records of the input that the scorers have not committed yet, by partition."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from dashboard.feed.board import NOT_MEASURED, Backlog
from stream_scorer.errors import RetryableError
from stream_scorer.kafka.admin import topic_partitions
from stream_scorer.kafka.clients import open_admin
from stream_scorer.kafka.driver import AdminClient
from stream_scorer.runtime.settings import KafkaSettings

REQUEST_SECONDS: Final = 4.0  # a reachable broker responds in milliseconds
_PAUSE_SECONDS: Final = 0.05
POINTS: Final = 360
"""Readings that are kept: an hour at one in ten seconds."""


@dataclass(frozen=True, slots=True)
class PartitionBacklog:
    """One partition of the input.

    ``committed`` is None if the scorers' group has committed nothing there. Then it starts at
    ``low``. Offsets of transaction markers count, so ``waiting`` is an upper bound.
    """

    partition: int
    committed: int | None
    low: int
    end: int

    @property
    def waiting(self) -> int:
        """Records that were not scored yet, at most."""
        start = self.low if self.committed is None else max(self.low, self.committed)
        return max(0, self.end - start)

    def as_json(self) -> dict[str, Any]:
        """The partition as JSON."""
        return {
            "partition": self.partition,
            "committed": self.committed,
            "end": self.end,
            "waiting": self.waiting,
        }


class BacklogSource(Protocol):
    """Asks the brokers. Every call raises RetryableError or FatalError."""

    def read(self) -> list[PartitionBacklog]:
        """The backlog of each partition now."""
        ...

    def missing(self, topics: list[str]) -> list[str]:
        """Those of the topics that do not exist, or that this user may not see."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


class WatchedBacklog:
    """The backlog that the header's watch measures, and the topics of a Kafka cluster.

    Args:
        settings: the cluster.
        latest: the last measurement.
    """

    def __init__(self, settings: KafkaSettings, latest: Callable[[], Backlog]) -> None:
        self._settings = settings
        self._latest = latest
        self._pause = threading.Event()
        self._admin: AdminClient | None = None

    def read(self) -> list[PartitionBacklog]:
        """The last measurement. Waits for the first one, for as long as a request may take."""
        deadline = time.monotonic() + REQUEST_SECONDS
        while (found := self._latest()) is NOT_MEASURED and time.monotonic() < deadline:
            self._pause.wait(_PAUSE_SECONDS)
        if found.records is None:
            raise RetryableError(found.reason or found.detail)
        return [PartitionBacklog(*place) for place in found.places]

    def missing(self, topics: list[str]) -> list[str]:
        """One metadata request."""
        if self._admin is None:
            self._admin = open_admin(self._settings)
        try:
            found = topic_partitions(self._admin, topics, REQUEST_SECONDS)
        except RetryableError:
            self._admin = None  # it may be the client that gets no answer any more
            raise
        return [topic for topic in topics if topic not in found]

    def close(self) -> None:
        """An admin client has no close."""


class BacklogHistory:
    """The total backlog of the last hour: one point in ten seconds. Its caller holds a lock."""

    def __init__(self, points: int = POINTS) -> None:
        self._points: deque[tuple[int, int]] = deque(maxlen=points)

    def add(self, at: int, total: int) -> None:
        """Add a point at epoch milliseconds."""
        self._points.append((at, total))

    def points(self) -> list[tuple[int, int]]:
        """The points, oldest first."""
        return list(self._points)
