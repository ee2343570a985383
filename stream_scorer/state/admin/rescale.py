"""A change of the partition count: records are redistributed, and a new era begins.

It is exact only if no input is on its way: producers have stopped, and everything is scored. The
caller checks that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from stream_scorer.errors import UsageError
from stream_scorer.model.store.history_era import Era
from stream_scorer.state.admin.redistribution import Redistributed, redistribute
from stream_scorer.state.eras import Eras
from stream_scorer.state.restore import PartitionRestore, PartitionState, new_history

MISPLACED_MAX: Final = 0.05
"""If a larger share of the records is of cards of other partitions, producers do not use murmur2 of
``card1``, and records redistributed by it would not be where the transactions go."""


@dataclass(frozen=True, slots=True)
class Rescaled:
    """The new era, and the counts of :class:`Redistributed`."""

    era: Era
    total: int
    misplaced: int
    dropped: int


@dataclass(slots=True)
class Rescale:
    """Redistributes the records of an era to a topic with more partitions.

    Attributes:
        restore: of the era that ends.
        eras: begins the new one.
        count: partitions of the topic now.
        on_partition: called with the number of partitions that were restored or stored so far.
    """

    restore: PartitionRestore
    eras: Eras
    count: int
    on_partition: Callable[[int], None] = lambda _: None

    def run(self, why: str, is_still_idle: Callable[[], bool]) -> Rescaled:
        """Restore all partitions, redistribute their records, and begin the era.

        Args:
            why: for people.
            is_still_idle: whether nothing was produced or scored meanwhile; asked last.

        Raises:
            UsageError: the count is not larger, producers partition otherwise, inputs arrived
                meanwhile, or another process has begun an era.
            HistoryMismatch, HistoryGap, ScorerError: a partition cannot be restored.
        """
        era = self.restore.era
        if self.count <= era.partition_count:
            raise UsageError(
                f"topic {era.topic} has {self.count} partitions, and era {era.number} of the card "
                f"history was made for {era.partition_count}: there is nothing to do. Add the "
                "partitions first"
            )
        places, records = [], []
        for partition in range(era.partition_count):
            state = self.restore.restore(partition).state
            places.append((state.offset, state.dead_letter_offset))
            records.append(state.history.records())
            self.on_partition(partition + 1)
        moved = redistribute(records, self.count)
        records.clear()
        _require_murmur2(moved, era)
        added = range(era.partition_count, self.count)
        places += [(self.restore.log.first_retained(partition), 0) for partition in added]
        new = self.eras.begin_next(
            replace(era, begin=(0,) * self.count),
            partial(self._state, moved, places),
            why,
            partial(self._require_idle, is_still_idle),
        )
        if new is None:
            raise UsageError("another process has begun an era meanwhile: look at history status")
        return Rescaled(new, moved.total, moved.misplaced, moved.dropped)

    def _state(
        self, moved: Redistributed, places: list[tuple[int, int]], partition: int
    ) -> PartitionState:
        offset, dead_letter_offset = places[partition]
        history = new_history(self.restore.spec, self.restore.era, moved.partitions[partition])
        self.on_partition(self.restore.era.partition_count + partition + 1)
        return PartitionState(history, offset, dead_letter_offset, offset)

    def _require_idle(self, is_still_idle: Callable[[], bool]) -> None:
        if not is_still_idle():
            raise UsageError(
                f"inputs arrived in topic {self.restore.era.topic} meanwhile, and their cards may "
                "have been in other partitions before: stop the producers, let the scorers finish, "
                "and try again"
            )


def _require_murmur2(moved: Redistributed, era: Era) -> None:
    if moved.misplaced > MISPLACED_MAX * moved.total:
        share = moved.misplaced / moved.total
        raise UsageError(
            f"{share:.0%} of the records of topic {era.topic} are not in the partition of their "
            "card (murmur2 of card1), so the producers use another key or partitioner: moved by "
            "it, records would not be where the transactions go. Change the producers, then "
            "begin a new era with `stream-scorer history build`"
        )
