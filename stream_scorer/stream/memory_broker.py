"""The broker port in memory: Kafka's transaction and group semantics, and faults on demand.

What an open transaction published is invisible; a commit under a fence of an older generation
is refused; an abort makes the member read again from the committed offsets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from schemas.framing import Headers
from stream_scorer.errors import RetryableError
from stream_scorer.stream.ports import Outgoing, Polled


class Record(NamedTuple):
    """A record at rest in a partition; its place in the list is its offset."""

    key: bytes | None
    value: bytes | None
    headers: Headers = None


@dataclass(slots=True)
class MemoryCluster:
    """Topics, and one consumer group on one input topic.

    ``faults`` maps an operation (``poll``, ``begin``, ``publish``, ``commit``) to exceptions that
    its next calls raise, one each; None lets a call pass. Partitions in ``silent`` deliver nothing,
    without a word.
    """

    topic: str
    partitions: int
    logs: dict[tuple[str, int], list[Record]] = field(default_factory=lambda: defaultdict(list))
    committed: dict[int, int] = field(default_factory=dict)
    members: list[MemoryBroker] = field(default_factory=list)
    generation: int = 0
    faults: dict[str, list[Exception | None]] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)

    def produce(self, partition: int, record: Record) -> None:
        """Append a committed record to the input."""
        self.logs[self.topic, partition].append(record)

    def read(self, topic: str) -> list[tuple[int, Record]]:
        """(partition, record) of everything committed to a topic."""
        return [
            (partition, record)
            for (name, partition), records in sorted(self.logs.items())
            if name == topic
            for record in records
        ]

    def join(self, member: MemoryBroker) -> None:
        """Rebalance with one member more."""
        self.members.append(member)
        self.rebalance()

    def leave(self, member: MemoryBroker) -> None:
        """Rebalance with one member less."""
        if member in self.members:
            self.members.remove(member)
            self.rebalance()

    def rebalance(self) -> None:
        """Deal the partitions out anew; every fence taken before is void."""
        self.generation += 1
        for place, member in enumerate(self.members):
            member.take_over(frozenset(range(place, self.partitions, len(self.members))))

    def fail(self, operation: str) -> None:
        """Raise the fault that is scripted for this call, if any."""
        script = self.faults.get(operation)
        if script and (fault := script.pop(0)) is not None:
            raise fault


class MemoryBroker:
    """A member of the cluster's group."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster
        self._assigned: frozenset[int] = frozenset()
        self._positions: dict[int, int] = {}
        cluster.join(self)

    def poll(self, max_records: int, timeout: float) -> Polled | None:
        """What is there, at once; partitions in turn."""
        del timeout
        self._cluster.fail("poll")
        found: list[tuple[int, int, Record]] = []
        for partition in sorted(self._assigned - self._cluster.silent):
            log = self._cluster.logs[self._cluster.topic, partition]
            start = self._positions[partition]
            stop = min(len(log), start + max_records - len(found))
            found += [(partition, offset, log[offset]) for offset in range(start, stop)]
            self._positions[partition] = stop
        if not found:
            return None
        return Polled(
            self._cluster.topic,
            [record.value for _, _, record in found],
            [record.key for _, _, record in found],
            [record.headers for _, _, record in found],
            np.array([p for p, _, _ in found], np.int32),
            np.array([o for _, o, _ in found], np.int64),
            self._cluster.generation,
        )

    def begin(self) -> MemoryTxn:
        """Begin a transaction."""
        self._cluster.fail("begin")
        return MemoryTxn(self, self._cluster)

    def assigned(self) -> frozenset[int]:
        """The partitions dealt to this member."""
        return self._assigned

    def lag(self) -> Mapping[int, int]:
        """Records behind the position, by partition."""
        logs, topic = self._cluster.logs, self._cluster.topic
        return {p: len(logs[topic, p]) - self._positions[p] for p in self._assigned}

    def close(self) -> None:
        """Leave the group."""
        self._cluster.leave(self)

    def take_over(self, partitions: frozenset[int]) -> None:
        """Own exactly these partitions; new ones are read from their committed offsets."""
        for partition in partitions - self._assigned:
            self._positions[partition] = self._cluster.committed.get(partition, 0)
        self._assigned = partitions

    def rewind(self, polled: Polled) -> None:
        """Read the batch's partitions again from their committed offsets."""
        for partition in polled.first_offsets():
            if partition in self._assigned:
                self._positions[partition] = self._cluster.committed.get(partition, 0)


class MemoryTxn:
    """A transaction: nothing of it shows before ``commit``."""

    def __init__(self, broker: MemoryBroker, cluster: MemoryCluster) -> None:
        self._broker = broker
        self._cluster = cluster
        self._pending: list[Outgoing] = []

    def publish(self, records: Sequence[Outgoing]) -> None:
        """Hold records back until the commit."""
        self._cluster.fail("publish")
        self._pending += records

    def commit(self, polled: Polled) -> None:
        """Append what was held back and move the offsets, if the fence still holds."""
        self._cluster.fail("commit")
        if polled.fence != self._cluster.generation:
            raise RetryableError("fenced: the group has moved on since this batch was polled")
        for topic, partition, key, value, headers in self._pending:
            self._cluster.logs[topic, partition].append(Record(key, value, headers))
        self._cluster.committed.update(polled.next_offsets())

    def abort(self, *polled: Polled) -> None:
        """Forget what was held back and rewind."""
        self._pending.clear()
        for batch in polled:
            self._broker.rewind(batch)
