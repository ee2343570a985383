"""A consumer group as a fluid: partitions fill, members drain those they own.

What it is meant to get right: a partition is drained by one member only, a member's capacity is
shared by its partitions, a change of members stops the work for a while, a new pod needs time. What
it leaves out: batches, unequal pods, the broker's own limits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final

_NOTHING: Final = 1e-9  # less than this of a record is rounding


class Partition:
    """One partition's backlog, oldest first; amounts in records."""

    def __init__(self) -> None:
        self.lag = 0.0
        self.done = 0.0
        self._waiting: deque[list[float]] = deque()  # [arrived at, records]

    def fill(self, now: float, records: float) -> None:
        """Records that arrive at ``now``."""
        if records > 0:
            self._waiting.append([now, records])
            self.lag += records

    def drain(self, records: float) -> None:
        """Process so many of the oldest, which must be there."""
        self.done += records
        self.lag = max(0.0, self.lag - records)
        while records > _NOTHING and self._waiting:
            oldest = self._waiting[0]
            taken = min(records, oldest[1])
            oldest[1] -= taken
            records -= taken
            if oldest[1] <= _NOTHING:
                self._waiting.popleft()
        if self.lag < _NOTHING:
            self.lag = 0.0
            self._waiting.clear()

    def age(self, now: float) -> float:
        """How long the oldest record has waited, in seconds."""
        return now - self._waiting[0][0] if self._waiting else 0.0


class Group:
    """Members and the partitions they own.

    Args:
        partitions: of the input topic.
        capacity: records a second of one pod.
        rebalance_seconds: how long nobody works after members came or went.
        hot_share: share of the records that go to partition 0; None: all alike.
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
        """Whole records behind, by partition; their sum is rounded once, not for each."""
        upto = [0, *(round(total) for total in accumulate(p.lag for p in self.partitions))]
        return [after - before for before, after in pairwise(upto)]

    @property
    def committed(self) -> list[int]:
        """Offsets, by partition."""
        return [round(partition.done) for partition in self.partitions]

    def resize(self, now: float, members: int) -> None:
        """So many pods are members from now on; another number is a rebalance."""
        if members != self.members:
            self.members = members
            self._paused_until = now + self._rebalance_seconds

    def arrive(self, now: float, records: float) -> None:
        """Records that are produced at ``now``."""
        for partition, share in zip(self.partitions, self._shares, strict=True):
            partition.fill(now, records * share)

    def work(self, began: float, ended: float) -> None:
        """Process from ``began`` to ``ended``, less what a rebalance takes of it."""
        seconds = ended - max(began, min(ended, self._paused_until))
        owners = min(self.members, len(self.partitions))
        for member in range(owners):
            _share_out(self.partitions[member::owners], self._capacity * seconds)

    def max_age(self, now: float) -> float:
        """The oldest waiting record's age in seconds."""
        return max(partition.age(now) for partition in self.partitions)


def _share_out(mine: Sequence[Partition], capacity: float) -> None:
    """Give each partition an equal part; what one does not need goes to the others."""
    waiting = sorted(mine, key=lambda partition: partition.lag)
    for place, partition in enumerate(waiting):
        taken = min(partition.lag, capacity / (len(waiting) - place))
        partition.drain(taken)
        capacity -= taken
