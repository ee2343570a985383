"""Inputs of card histories: what was reported of those that could not be read."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream_scorer.kafka.unreadable import PassedBatch


@dataclass
class NotedFaults:
    """Notes the faults that are reported, and lets reading continue.

    ``seen`` has the fault, topic, partition, first offset, and the offset after it or the reason.
    """

    seen: list[tuple[str, str, int, int, int | str]] = field(default_factory=list)

    def removed(self, topic: str, partition: int, wanted: int, low: int) -> None:
        self.seen.append(("removed", topic, partition, wanted, low))

    def unreadable(self, topic: str, partition: int, batch: PassedBatch) -> None:
        self.seen.append(("unreadable", topic, partition, batch.begin, batch.next_offset))

    def undecodable(self, topic: str, partition: int, offset: int, reason: str) -> None:
        self.seen.append(("undecodable", topic, partition, offset, reason))
