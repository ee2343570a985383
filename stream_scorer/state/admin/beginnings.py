"""Where the histories of a new era begin: with inputs, or with the snapshots of the era before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from stream_scorer.features.history.codec import Snapshot, most_keys
from stream_scorer.features.history.header import OFFSETS_END
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.model.store.history_era import Era, EraSeed
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.state.eras import InputFacts
from stream_scorer.state.restore import PartitionRestore, PartitionState
from stream_scorer.state.stored import StoredStates


@dataclass(frozen=True, slots=True)
class Beginning:
    """A state to begin with, and how many offsets before it are missing."""

    state: PartitionState
    missing: int = 0


class Begin(Protocol):
    """Where the histories of a new era begin."""

    has_base: bool
    """Whether they begin with records of an earlier era."""

    def state(self, partition: int, committed: int | None) -> Beginning:
        """The state of a partition to begin with, not after what is committed.

        Raises:
            ScorerError: it cannot be read.
        """
        ...


@dataclass(slots=True)
class FromInputs:
    """Begins with the seed, or with nothing, at an input.

    Attributes:
        restore: of the new era, for its seed.
        starts: the first input of each partition; None: the first that is retained.
    """

    restore: PartitionRestore
    starts: Mapping[int, int] | None = None
    has_base: bool = False

    def state(self, partition: int, committed: int | None) -> Beginning:
        """The seed's records of the partition."""
        first = self.restore.log.first_retained(partition)
        start = first if self.starts is None else max(first, self.starts[partition])
        if committed is not None:
            start = min(start, committed)
        return Beginning(self.restore.begin(partition, start))


@dataclass(slots=True)
class FromSnapshots:
    """Begins with the newest snapshots of the era so far.

    Attributes:
        restore: of that era.
    """

    restore: PartitionRestore
    has_base: bool = True

    def state(self, partition: int, committed: int | None) -> Beginning:
        """The newest snapshot up to what is committed, even if inputs after it are gone."""
        found = self.restore.nearest(partition, OFFSETS_END if committed is None else committed)
        first = self.restore.log.first_retained(partition)
        if committed is not None:  # the scorers look for a state up to there
            first = min(first, committed)
        missing = max(0, first - found.offset)
        found.offset += missing
        return Beginning(found, missing)


class OlderSnapshots(StoredStates):
    """Snapshots that were written before a time; for histories that went wrong after it."""

    def __init__(self, store: HistoryStore, spec: HistorySpec, before: datetime) -> None:
        super().__init__(store, spec)
        self._before = before

    def candidates(self, era: Era, partition: int, at_most: int) -> Iterator[Snapshot]:
        """Those of the partition, newest first."""
        found = super().candidates(era, partition, at_most)
        return (snapshot for snapshot in found if snapshot.header.created < self._before)


def draft_era(
    previous: Era | None,
    spec: HistorySpec,
    facts: InputFacts,
    *,
    seed: EraSeed | None,
    max_keys: int,
    is_cold: bool,
    why: str,
) -> Era:
    """The era after ``previous``, whose beginning is not known yet.

    Args:
        previous: the era that counts now, if there is one.
        spec: the features.
        facts: the input topic.
        seed: what histories begin with, or None.
        max_keys: of each partition and key space; fewer if their snapshots could not be stored.
        is_cold: histories begin without a past.
        why: for people.
    """
    return Era(
        spec=spec.fingerprint,
        number=1 if previous is None else previous.number + 1,
        topic=facts.topic,
        topic_id=facts.topic_id,
        begin=(0,) * facts.partition_count,
        seed=seed,
        max_keys=min(max_keys, most_keys(spec.widths)),
        is_cold=is_cold,
        why=why,
        created=datetime.now(UTC),
    )
