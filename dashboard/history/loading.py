"""Loads the history of a partition from the store: the newest intact snapshot, or the era's begin.

One partition is loaded at a time. While it is, it takes about three times its memory: as it is
stored, unpacked, and in its table.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from dashboard.history.partitions import LoadedPartition
from stream_scorer.errors import ArtifactCorrupt, ScorerError
from stream_scorer.features.history.header import OFFSETS_END, Body
from stream_scorer.features.history.records import PartitionRecords
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_names import SnapshotName
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.state.placement import select_records
from stream_scorer.state.restore import new_history, open_snapshot

log = logging.getLogger(__name__)

DAMAGED_SECONDS: Final = 600.0
"""A damaged snapshot is read again after this long: its writer may have replaced it."""

INDEX_BYTES: Final = 24
"""Of a record in a table, beside its words: the index is at most half full."""

FROM_BEGIN: Final = -1
"""Instead of a snapshot's offset: the state at the beginning of the era."""


class NoRoom(ScorerError):
    """The history would need more memory than is allowed."""


class Damaged:
    """Snapshots that could not be used, so that they are not read again each minute.

    Attributes:
        count: how many were found.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self._clock = clock
        self._until: dict[str, float] = {}

    def add(self, name: SnapshotName, error: ArtifactCorrupt) -> None:
        """Note and log it."""
        now = self._clock()
        self._until = {key: until for key, until in self._until.items() if until > now}
        self._until[name.key] = now + DAMAGED_SECONDS
        self.count += 1
        log.warning("%s", error)

    def __contains__(self, name: SnapshotName) -> bool:
        """Whether it was found damaged lately."""
        return self._until.get(name.key, 0.0) > self._clock()


class EraLoader:
    """Loads partitions of one era, at one time.

    Every method raises StoreError if the storage cannot be reached.

    Args:
        store: eras, snapshots and seeds.
        spec: the history features.
        era: where histories begin.
        names: the snapshots of each partition, newest first.
        damaged: the snapshots that are known to be damaged.
    """

    def __init__(
        self,
        store: HistoryStore,
        spec: HistorySpec,
        era: Era,
        names: dict[int, list[SnapshotName]],
        damaged: Damaged,
    ) -> None:
        self._store = store
        self._spec = spec
        self._era = era
        self._names = names
        self._damaged = damaged
        self._seed: PartitionRecords | None = None
        self._widths = spec.widths

    def load(
        self, partition: int, room: int, than: int | None = None, at_most: int = OFFSETS_END
    ) -> LoadedPartition | None:
        """The newest history of a partition that is in the store.

        Args:
            partition: the partition.
            room: memory that it may take, in bytes.
            than: None is returned unless there is a newer one than from this snapshot.
            at_most: the history must not contain inputs from this offset on.

        Raises:
            NoRoom: it needs more memory.
            ScorerError: there is none, or it cannot be used.
        """
        for name in self._older_than(partition, at_most):
            if than is not None and name.next_offset <= than:
                return None
            if name in self._damaged:
                continue
            try:
                found = self._open(name, room)
            except ArtifactCorrupt as error:
                self._damaged.add(name, error)
                continue
            if found is not None:
                return found
        return None if than is not None else self._begin(partition, room, at_most)

    def _older_than(self, partition: int, at_most: int) -> Sequence[SnapshotName]:
        return [n for n in self._names.get(partition, ()) if n.next_offset <= at_most]

    def _open(self, name: SnapshotName, room: int) -> LoadedPartition | None:
        """A snapshot as a history; None if it was deleted meanwhile.

        Raises:
            ArtifactCorrupt: it is not an intact snapshot of that state.
        """
        facts = self._store.read_facts(self._era, name)
        if facts is None:
            return None
        self._require_room(facts.body, room, name.partition)
        found = self._store.read_snapshot(self._era, name, self._widths, facts.body)
        if found is None:
            return None
        snapshot = found[1]
        return LoadedPartition(
            name.partition,
            self._era.id,
            open_snapshot(self._spec, self._era, snapshot),
            name.next_offset,
            snapshot.header.created,
            name.next_offset,
            snapshot.header.dead_letter_offset,
        )

    def _begin(self, partition: int, room: int, at_most: int) -> LoadedPartition:
        """The history at the beginning of the era.

        Raises:
            ScorerError: it is not known.
        """
        era, begin = self._era, self._era.begin[partition]
        if era.has_base:
            raise ScorerError(f"there is no intact snapshot of partition {partition}")
        if begin > at_most:
            raise ScorerError(
                f"era {era.number} of the history begins at offset {begin} of partition "
                f"{partition}, and the scorers are at offset {at_most}"
            )
        history = new_history(self._spec, era, self._seed_records(partition, room))
        return LoadedPartition(partition, era.id, history, begin, era.created, FROM_BEGIN)

    def _seed_records(self, partition: int, room: int) -> PartitionRecords | None:
        seed = self._era.seed
        if seed is None:
            return None
        if self._seed is None:  # for all partitions that begin with it
            body = self._store.read_seed_facts(seed.sha256).body
            self._require_room(body, room, partition)
            spec, digest = self._era.spec, seed.sha256
            self._seed = self._store.read_seed(spec, digest, self._widths, body).records
        return select_records(self._seed, partition, self._era.partition_count)

    def _require_room(self, body: Body, room: int, partition: int) -> None:
        needed = body.bytes + INDEX_BYTES * sum(space.keys for space in body.spaces)
        if needed > room:
            raise NoRoom(
                f"the history of partition {partition} needs {needed / 1e6:,.0f} MB, and "
                f"PREDICT_HISTORY_MAX_BYTES leaves {max(room, 0) / 1e6:,.0f} MB"
            )
