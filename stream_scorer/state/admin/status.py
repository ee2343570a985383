"""What is stored of the history of each partition, and how far the scorers are from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stream_scorer.errors import ArtifactCorrupt
from stream_scorer.features.history.codec import SnapshotFacts
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.runtime.json_fields import format_time
from stream_scorer.state.input_log import InputLog
from stream_scorer.state.marks import HistoryMark, format_sum, read_history_mark


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """The history of one partition.

    Attributes:
        partition: the partition.
        committed: the offset that the scorers' group has committed; None: nothing.
        mark: of the history that the last scores were made with; None if they used none.
        is_same_history: whether the mark is of these features and of this era.
        snapshot: the newest stored state up to the committed offset; None: there is none.
        begin: where the era begins.
        damaged: newer snapshots that cannot be read.
    """

    partition: int
    committed: int | None
    mark: HistoryMark | None
    is_same_history: bool
    snapshot: SnapshotFacts | None
    begin: int
    damaged: int

    @property
    def debt(self) -> int | None:
        """Offsets that the next owner has to replay; None if nothing is committed."""
        if self.committed is None:
            return None
        known = self.begin if self.snapshot is None else self.snapshot.header.next_offset
        return max(0, self.committed - known)

    @property
    def mark_text(self) -> str:
        """What the scorers' last commit says about the history."""
        if self.mark is None:
            return "none"
        return f"era {self.mark.era}" + ("" if self.is_same_history else ", other history")

    def age_seconds(self, now: datetime) -> float | None:
        """Since the snapshot was written."""
        if self.snapshot is None:
            return None
        return max(0.0, (now - self.snapshot.header.created).total_seconds())

    def as_json(self, now: datetime) -> dict[str, Any]:
        """As JSON."""
        found = self.snapshot
        return {
            "partition": self.partition,
            "committed_offset": self.committed,
            "mark": None
            if self.mark is None
            else {
                "spec": self.mark.spec,
                "era": self.mark.era,
                "check_sum": format_sum(self.mark.check_sum),
                "is_same_history": self.is_same_history,
            },
            "snapshot": None
            if found is None
            else {
                "next_offset": found.header.next_offset,
                "created": format_time(found.header.created),
                "age_seconds": self.age_seconds(now),
                "keys": {space.name: space.keys for space in found.body.spaces},
                "bytes": found.body.bytes,
                "stored_bytes": found.body.stored_bytes,
                "check_sum": format_sum(found.header.check_sum),
                "writer": found.header.writer,
            },
            "replay_debt": self.debt,
            "damaged_snapshots": self.damaged,
        }


def read_status(store: HistoryStore, era: Era, log: InputLog) -> Iterator[PartitionStatus]:
    """The status of each partition of an era, read when it is asked for.

    Raises:
        StoreError: the store does not answer.
        RetryableError, FatalError: the group's offsets cannot be fetched.
    """
    places = log.committed(range(era.partition_count))
    for partition in range(era.partition_count):
        place = places[partition]
        mark = read_history_mark(place.mark)
        is_same = mark is not None and mark.is_of(era.spec, era.number)
        snapshot, damaged = _newest(store, era, partition, place.offset)
        yield PartitionStatus(
            partition, place.offset, mark, is_same, snapshot, era.begin[partition], damaged
        )


def _newest(
    store: HistoryStore, era: Era, partition: int, at_most: int | None
) -> tuple[SnapshotFacts | None, int]:
    """The newest readable header, and how many newer ones are damaged."""
    damaged = 0
    for name in store.snapshots(era, partition, at_most):
        try:
            found = store.read_facts(era, name)
        except ArtifactCorrupt:
            damaged += 1
            continue
        if found is not None:
            return found, damaged
    return None, damaged
