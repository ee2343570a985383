"""Brokers in memory for the operations page: backlog, topics and dead letters."""

from __future__ import annotations

from dataclasses import dataclass, field

from dashboard.operations.backlog import PartitionBacklog
from dashboard.operations.dead_letters import DeadLetters
from dashboard.operations.monitor import Monitor
from stream_scorer.errors import ScorerError


@dataclass
class MemoryBacklog:
    """In-memory fake of :class:`dashboard.operations.backlog.KafkaBacklog`."""

    partitions: list[PartitionBacklog] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    error: ScorerError | None = None

    def read(self) -> list[PartitionBacklog]:
        self._check()
        return self.partitions

    def missing(self, topics: list[str]) -> list[str]:
        self._check()
        return [topic for topic in topics if topic in self.absent]

    def close(self) -> None:
        self.partitions = []

    def _check(self) -> None:
        if self.error is not None:
            raise self.error


@dataclass
class MemoryDeadLetters:
    """In-memory fake of :class:`dashboard.operations.dead_letters.KafkaDeadLetters`."""

    found: DeadLetters = field(default_factory=lambda: DeadLetters(0, []))
    error: ScorerError | None = None
    reads: int = 0

    def read(self) -> DeadLetters:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return self.found


def make_monitor(
    backlog: MemoryBacklog | None = None, dead_letters: MemoryDeadLetters | None = None
) -> Monitor:
    topics = ["transactions", "transactions-dlq", "fraud-labels"]
    return Monitor(backlog or MemoryBacklog(), dead_letters or MemoryDeadLetters(), topics)
