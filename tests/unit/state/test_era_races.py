"""Two that begin the same era: what it begins with stays as the first of them wrote it."""

from __future__ import annotations

import pytest

from schemas.batch import build_batch
from stream_scorer.features.history.codec import Snapshot
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.memory_store import MemoryObjects
from stream_scorer.state.eras import Eras, InputFacts
from stream_scorer.state.faults import HistoryGap
from stream_scorer.state.restore import PartitionRestore, PartitionState
from stream_scorer.state.stored import StoredStates
from stream_scorer.stream.memory_broker import MemoryCluster, Record
from tests.support.scoring_kit import INPUT
from tests.support.state.history_kit import (
    NOW,
    encode_rows,
    fold,
    make_card_rows,
    make_era,
    make_spec,
    write_snapshot,
)
from tests.support.state.memory_log import MemoryInputLog

SPEC = make_spec()
ROWS = make_card_rows(30)


class Bed:
    """Two partitions with the same inputs; those of the first are gone up to offset 18."""

    def __init__(self) -> None:
        cluster = MemoryCluster(INPUT, 2)
        for value in encode_rows(ROWS):
            for partition in (0, 1):
                cluster.produce(partition, Record(b"1", value))
        cluster.committed = {0: 25, 1: 6}
        self.log = MemoryInputLog(cluster, low={0: 18})
        self.store = HistoryStore(MemoryObjects(), is_trusted=True)
        self.first = make_era(SPEC, 2)
        assert self.store.create_era(self.first)
        for partition, offset in ((0, 10), (1, 6)):
            history = fold(SPEC, build_batch(ROWS[:offset]))[1]
            write_snapshot(self.store, self.first, partition, offset, history)

    def eras(self) -> Eras:
        return Eras(self.store, InputFacts(INPUT, "", 2), 1000, now=lambda: NOW)

    def restore(self, era: Era) -> PartitionRestore:
        return PartitionRestore(SPEC, era, StoredStates(self.store, SPEC), self.log)

    def begin(self) -> Era | None:
        """What a scorer does that meets the gap."""
        restore = self.restore(self.first)
        with pytest.raises(HistoryGap) as gap:
            restore.restore(0)
        return self.eras().continue_after(gap.value, restore)

    def base(self, era: Era) -> list[Snapshot]:
        """What the era begins with."""
        stored = StoredStates(self.store, SPEC)
        return [next(stored.candidates(era, p, era.begin[p])) for p in (0, 1)]


def test_second_attempt_of_a_scorer_whose_era_has_begun_changes_nothing() -> None:
    bed = Bed()
    era = bed.begin()
    assert era is not None
    before = [snapshot.header for snapshot in bed.base(era)]
    assert bed.begin() is None
    assert [snapshot.header for snapshot in bed.base(era)] == before
    assert bed.store.latest_era(SPEC.fingerprint) == era


def test_scorer_that_is_overtaken_leaves_the_era_of_the_other_as_it_is() -> None:
    bed = Bed()
    found: list[Era | None] = []

    def state_of(partition: int) -> PartitionState:
        """The other one begins the era between the two snapshots of this one."""
        if partition == 1 and not found:
            found.append(bed.begin())
        return bed.restore(bed.first).nearest(partition, 25)

    assert bed.eras().begin_next(bed.first, state_of, "a test") is None
    (era,) = found
    assert era is not None
    assert [snapshot.header.era_id for snapshot in bed.base(era)] == [era.id, era.id]
    assert bed.store.latest_era(SPEC.fingerprint) == era
