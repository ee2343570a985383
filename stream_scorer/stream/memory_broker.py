"""An in-memory fake of the broker port: Kafka's transaction and group semantics, scripted faults.

Records of an open transaction are invisible. A commit with a fence of an older generation is
refused. After an abort the member reads again from the committed offsets.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from schemas.framing import Headers
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.mark import format_mark
from stream_scorer.stream.offset_check import Committed
from stream_scorer.stream.ports import NO_MARKS, Marks, Outgoing, Polled


class Record(NamedTuple):
    """A record stored in a partition; its index in the list is its offset."""

    key: bytes | None
    value: bytes | None
    headers: Headers = None


@dataclass(slots=True)
class MemoryCluster:
    """Topics, and one consumer group on one input topic.

    ``faults`` maps an operation (``poll``, ``begin``, ``publish``, ``commit``, ``committed``) to
    exceptions that its next calls raise, one each; None lets a call succeed. Partitions in
    ``silent`` deliver no records and no error. ``marks`` has the text beside committed offsets.
    """

    topic: str
    partitions: int
    logs: dict[tuple[str, int], list[Record]] = field(default_factory=lambda: defaultdict(list))
    committed: dict[int, int] = field(default_factory=dict)
    marks: dict[int, str] = field(default_factory=dict)
    members: list[MemoryBroker] = field(default_factory=list)
    generation: int = 0
    faults: dict[str, list[Exception | None]] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)

    def produce(self, partition: int, record: Record) -> None:
        """Append a committed record to the input topic."""
        self.logs[self.topic, partition].append(record)

    def read(self, topic: str) -> list[tuple[int, Record]]:
        """(partition, record) of every record committed to a topic."""
        return [
            (partition, record)
            for (name, partition), records in sorted(self.logs.items())
            if name == topic
            for record in records
        ]

    def join(self, member: MemoryBroker) -> None:
        """Add a member and rebalance."""
        self.members.append(member)
        self.rebalance()

    def leave(self, member: MemoryBroker) -> None:
        """Remove a member and rebalance."""
        if member in self.members:
            self.members.remove(member)
            self.rebalance()

    def rebalance(self) -> None:
        """Assign the partitions again; every fence taken before becomes invalid."""
        self.generation += 1
        for place, member in enumerate(self.members):
            member.assign(frozenset(range(place, self.partitions, len(self.members))))

    def return_at_once(self, partitions: Collection[int]) -> None:
        """Two rebalances between which other members own these partitions."""
        self.generation += 2
        for member in self.members:
            owned = member.next_assigned
            member.assign(owned.difference(partitions))
            member.assign(owned)

    def fail(self, operation: str) -> None:
        """Raise the fault scripted for this call, if any."""
        script = self.faults.get(operation)
        if script and (fault := script.pop(0)) is not None:
            raise fault


class MemoryBroker:
    """A member of the cluster's group.

    As with Kafka, a member notices a rebalance at its next poll, and whatever it committed before
    that is refused. Only its first assignment is there at once.

    Attributes:
        generation: that of the group when this member polled last.
    """

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster
        self._rebalances: list[frozenset[int]] = []  # not noticed yet
        self._assigned: frozenset[int] = frozenset()
        self._positions: dict[int, int] = {}
        self._assignments: Counter[int] = Counter()
        self._held: frozenset[int] = frozenset()
        self._holds_new = False
        self._has_polled = False
        cluster.join(self)
        self._rebalance()

    def poll(self, max_records: int, timeout: float) -> Polled | None:
        """The available records, without waiting, partition by partition."""
        del timeout
        self._cluster.fail("poll")
        self._rebalance()
        self._has_polled = True
        found: list[tuple[int, int, Record]] = []
        for partition in sorted(self._assigned - self._cluster.silent - self._held):
            log = self._cluster.logs[self._cluster.topic, partition]
            start = self._positions[partition]
            if start > len(log):
                raise FatalError(f"partition {partition}: the log ends before offset {start}")
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
            # A member that was removed and does not know yet still receives records.
            self.generation if self in self._cluster.members else None,
        )

    def begin(self) -> MemoryTxn:
        """Begin a transaction."""
        self._cluster.fail("begin")
        return MemoryTxn(self, self._cluster)

    def assigned(self) -> frozenset[int]:
        """The partitions assigned to this member."""
        return self._assigned

    def lag(self) -> Mapping[int, int]:
        """Records after the position, by partition."""
        logs, topic = self._cluster.logs, self._cluster.topic
        return {p: len(logs[topic, p]) - self._positions[p] for p in self._assigned}

    def close(self) -> None:
        """Leave the group."""
        self._cluster.leave(self)

    @property
    def next_assigned(self) -> frozenset[int]:
        """The partitions assigned after the next poll."""
        return self._rebalances[-1] if self._rebalances else self._assigned

    def assign(self, partitions: frozenset[int]) -> None:
        """Replace the assignment, which the member notices at its next poll."""
        self._rebalances.append(partitions)

    def _rebalance(self) -> None:
        """Notice the rebalances; new partitions are read from their committed offsets."""
        self.generation = self._cluster.generation
        rebalances, self._rebalances = self._rebalances, []
        for partitions in rebalances:
            new = partitions - self._assigned
            self._assignments.update(new)
            for partition in new:
                self._positions[partition] = self._cluster.committed.get(partition, 0)
            self._held = self._held & partitions | (new if self._holds_new else frozenset())
            self._assigned = partitions

    def assignments(self) -> Mapping[int, int]:
        """How often each assigned partition was assigned."""
        return {p: self._assignments[p] for p in self._assigned}

    def hold_new(self, is_on: bool) -> None:
        """Whether partitions are held from their assignment on.

        Those of the first assignment are new until the first poll, during which Kafka assigns them.
        """
        self._holds_new = is_on
        if not self._has_polled:
            self._held = self._assigned if is_on else frozenset()

    def hold(self, partitions: Collection[int]) -> None:
        """Deliver nothing of these partitions."""
        self._held |= self._assigned.intersection(partitions)

    def release(self, partition: int, offset: int) -> None:
        """Deliver a held partition from an offset on."""
        if partition in self._held:
            self._positions[partition] = offset
            self._held -= {partition}

    def held(self) -> frozenset[int]:
        """The partitions that are held."""
        return self._held

    def committed(self, partitions: Collection[int]) -> Mapping[int, Committed]:
        """Offsets and marks of the group."""
        cluster = self._cluster
        cluster.fail("committed")
        return {p: Committed(cluster.committed.get(p), cluster.marks.get(p)) for p in partitions}

    def lost(self) -> Mapping[int, int]:
        """Nothing is removed from this cluster."""
        return {}

    def rewind(self, *batches: Polled) -> None:
        """Read the batches' partitions again from their committed offsets."""
        for polled in batches:
            for partition in polled.first_offsets():
                if partition in self._assigned:
                    self._positions[partition] = self._cluster.committed.get(partition, 0)


class MemoryTxn:
    """A transaction: its records become visible at ``commit``."""

    def __init__(self, broker: MemoryBroker, cluster: MemoryCluster) -> None:
        self._broker = broker
        self._cluster = cluster
        self._pending: list[Outgoing] = []

    def publish(self, records: Sequence[Outgoing]) -> None:
        """Keep records until the commit."""
        self._cluster.fail("publish")
        self._pending += records

    def commit(self, polled: Polled, marks: Marks = NO_MARKS) -> None:
        """Append the records and move the offsets, if the fence is still valid."""
        self._cluster.fail("commit")
        if polled.fence != self._cluster.generation:
            raise RetryableError("fenced: the group has rebalanced since this batch was polled")
        for topic, partition, key, value, headers in self._pending:
            self._cluster.logs[topic, partition].append(Record(key, value, headers))
        offsets = polled.next_offsets()
        self._cluster.committed.update(offsets)
        self._cluster.marks.update({p: format_mark(marks.get(p, {})) for p in offsets})

    def abort(self, *polled: Polled) -> None:
        """Discard the records and rewind."""
        self._pending.clear()
        self._broker.rewind(*polled)
