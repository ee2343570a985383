"""A fluid model of a consumer group: partitions fill, and members drain the ones they own.

The model includes: only one member drains a partition, a member's partitions share its capacity, a
change of members pauses all of them, and a new pod needs time to start. It does not include
batches, unequal pods, or the limits of the broker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final

_EPSILON: Final = 1e-9  # a smaller part of a record is a rounding error


class Partition:
    """The backlog of one partition, oldest first; amounts in records."""

    def __init__(self) -> None:
        self.lag = 0.0
        self.done = 0.0
        self._waiting: deque[list[float]] = deque()  # [arrived at, records]

    def fill(self, now: float, records: float) -> None:
        """Add records that arrive at ``now``."""
        if records > 0:
            self._waiting.append([now, records])
            self.lag += records

    def drain(self, records: float) -> None:
        """Process this number of the oldest records, which must exist."""
        self.done += records
        self.lag = max(0.0, self.lag - records)
        while records > _EPSILON and self._waiting:
            oldest = self._waiting[0]
            taken = min(records, oldest[1])
            oldest[1] -= taken
            records -= taken
            if oldest[1] <= _EPSILON:
                self._waiting.popleft()
        if self.lag < _EPSILON:
            self.lag = 0.0
            self._waiting.clear()

    def age(self, now: float) -> float:
        """Age of the oldest waiting record, in seconds."""
        return now - self._waiting[0][0] if self._waiting else 0.0


class Group:
    """Members and the partitions they own.

    Args:
        partitions: number of partitions of the input topic.
        capacity: records per second that one pod processes.
        rebalance_seconds: pause of all members after a change of members.
        hot_share: share of the records that go to partition 0; None: evenly distributed.
    """

    def __init__(
        self,
        partitions: int,
        capacity: float,
        rebalance_seconds: float,
        hot_share: float | None = None,
    ) -> None:
        self.partitions = [Partition() for _ in range(partitions)]
        self.members = 0
        self._capacity = capacity
        self._rebalance_seconds = rebalance_seconds
        self._paused_until = float("-inf")
        rest = (1.0 - hot_share) / max(1, partitions - 1) if hot_share is not None else 0.0
        self._shares = (
            [1.0 / partitions] * partitions
            if hot_share is None
            else [hot_share, *[rest] * (partitions - 1)]
        )

    @property
    def lags(self) -> list[int]:
        """Lag in whole records, by partition; rounded so that their sum is exact."""
        upto = [0, *(round(total) for total in accumulate(p.lag for p in self.partitions))]
        return [after - before for before, after in pairwise(upto)]

    @property
    def committed(self) -> list[int]:
        """Committed offsets, by partition."""
        return [round(partition.done) for partition in self.partitions]

    def resize(self, now: float, members: int) -> None:
        """Set the number of members; a change starts a rebalance."""
        if members != self.members:
            self.members = members
            self._paused_until = now + self._rebalance_seconds

    def arrive(self, now: float, records: float) -> None:
        """Distribute records that are produced at ``now``."""
        for partition, share in zip(self.partitions, self._shares, strict=True):
            partition.fill(now, records * share)

    def work(self, began: float, ended: float) -> None:
        """Process records from ``began`` to ``ended``, except during a rebalance."""
        seconds = ended - max(began, min(ended, self._paused_until))
        owners = min(self.members, len(self.partitions))
        for member in range(owners):
            _share_out(self.partitions[member::owners], self._capacity * seconds)

    def max_age(self, now: float) -> float:
        """Age of the oldest waiting record of all partitions, in seconds."""
        return max(partition.age(now) for partition in self.partitions)


def _share_out(mine: Sequence[Partition], capacity: float) -> None:
    """Give each partition an equal share; unused capacity goes to the others."""
    waiting = sorted(mine, key=lambda partition: partition.lag)
    for place, partition in enumerate(waiting):
        taken = min(partition.lag, capacity / (len(waiting) - place))
        partition.drain(taken)
        capacity -= taken
