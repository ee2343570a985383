"""The records of the input that the scorers have not committed yet, by partition."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final, Protocol

from stream_scorer.errors import RetryableError
from stream_scorer.kafka.admin import topic_partitions
from stream_scorer.kafka.clients import open_admin, open_consumer
from stream_scorer.kafka.driver import AdminClient, Consumer, KafkaException, TopicPartition
from stream_scorer.kafka.errors import translate
from stream_scorer.kafka.retry import fetch_bounds, fetch_committed
from stream_scorer.settings import GroupSettings

REQUEST_SECONDS: Final = 4.0  # a reachable broker responds in milliseconds
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


class KafkaBacklog:
    """The backlog on a Kafka cluster. Joins no group; connections are opened on first use."""

    def __init__(self, settings: GroupSettings) -> None:
        self._settings = settings
        self._admin: AdminClient | None = None
        self._consumer: Consumer | None = None

    def read(self) -> list[PartitionBacklog]:
        """A request for the topic, one for the group's offsets, and one for each partition."""
        topic = self._settings.input_topic
        if self._admin is None:
            self._admin = open_admin(self._settings)
        count = topic_partitions(self._admin, [topic], REQUEST_SECONDS).get(topic)
        if count is None:
            raise RetryableError(f"the topic {topic} does not exist yet")
        if self._consumer is None:
            self._consumer = open_consumer(self._settings, self._settings.kafka_group_id)
        places = [TopicPartition(topic, p) for p in range(count)]
        try:
            # Both are repeated while a coordinator or leader has just moved, which is no problem.
            found = fetch_committed(self._consumer, places, REQUEST_SECONDS)
            # Read after the offsets, so that no end is before them while scorers work.
            bounds = [fetch_bounds(self._consumer, one, REQUEST_SECONDS) for one in places]
        except KafkaException as error:
            raise translate(error) from error
        offsets = {place.partition: place.offset for place in found if place.offset >= 0}
        return [
            PartitionBacklog(p, offsets.get(p), low, high) for p, (low, high) in enumerate(bounds)
        ]

    def missing(self, topics: list[str]) -> list[str]:
        """One metadata request."""
        if self._admin is None:
            self._admin = open_admin(self._settings)
        found = topic_partitions(self._admin, topics, REQUEST_SECONDS)
        return [topic for topic in topics if topic not in found]

    def close(self) -> None:
        """Close the consumer. An admin client has no close."""
        if self._consumer is not None:
            self._consumer.close()


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
