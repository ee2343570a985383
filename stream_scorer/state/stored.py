"""The stored states of one era: snapshots and the seed, read for restores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from stream_scorer.errors import ArtifactCorrupt, StoreError
from stream_scorer.features.history.codec import Seed, Snapshot
from stream_scorer.features.history.records import PartitionRecords
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.model.store.history_cache import HistoryCache
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.state.placement import select_records

log = logging.getLogger(__name__)


def _ignore(_: ArtifactCorrupt) -> None:
    """For readers that do not count."""


class StoredStates:
    """Implements :class:`~stream_scorer.state.restore.SnapshotSource`. One thread owns it.

    The seed is read once for all partitions, and kept until :meth:`forget_seed`.

    Args:
        store: the artifact store.
        spec: the features.
        cache: used where the store gives no snapshot.
        on_damaged: called for each snapshot that cannot be used.
    """

    def __init__(
        self,
        store: HistoryStore,
        spec: HistorySpec,
        cache: HistoryCache | None = None,
        on_damaged: Callable[[ArtifactCorrupt], None] = _ignore,
    ) -> None:
        self._store = store
        self._spec = spec
        self._cache = cache
        self._on_damaged = on_damaged
        self._widths = spec.widths
        self._seed: tuple[str, Seed] | None = None

    def candidates(self, era: Era, partition: int, at_most: int) -> Iterator[Snapshot]:
        """The intact snapshots of a partition up to an offset, newest first; cached ones last."""
        failure: StoreError | None = None
        try:
            for _, snapshot in self._store.candidates(
                era, partition, at_most, self._widths, self._on_damaged
            ):
                yield snapshot
        except StoreError as error:
            failure = error
        if self._cache is not None:
            cached = self._cache.load(era, partition, at_most, self._widths)
            if cached is not None:
                log.warning(
                    "the history of partition %d comes from the cache: %s",
                    partition, failure or "the store has no usable snapshot of it",
                )  # fmt: skip
                yield cached
        if failure is not None:
            raise failure

    def damaged(self, error: ArtifactCorrupt) -> None:
        """Log and count a snapshot that cannot be used."""
        log.warning("%s", error)
        self._on_damaged(error)

    def seed_records(self, era: Era, partition: int) -> PartitionRecords | None:
        """The seed's records of the cards that belong to a partition."""
        if era.seed is None:
            return None
        if self._seed is None or self._seed[0] != era.seed.sha256:
            seed = self._store.read_seed(era.spec, era.seed.sha256, self._widths)
            self._seed = era.seed.sha256, seed
        return select_records(self._seed[1].records, partition, era.partition_count)

    def forget_seed(self) -> None:
        """Free its memory."""
        self._seed = None
