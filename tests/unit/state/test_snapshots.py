"""Snapshots: when one is due, what it holds, and what happens when it cannot be written."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.batch import build_batch
from schemas.rejections import Rejection, Stage
from stream_scorer.dead_letters.headers import dead_letter_headers
from stream_scorer.errors import RetryableError
from stream_scorer.features.history.codec import Snapshot, decode_snapshot
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.model.store.history_cache import HistoryCache
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.memory_store import MemoryObjects, StoreFault
from stream_scorer.state.partitions import OwnedState, OwnedStates
from stream_scorer.state.restore import PartitionState
from stream_scorer.state.snapshots import (
    LAST_DEBT_RECORDS,
    SnapshotPolicy,
    SnapshotResult,
    SnapshotWriter,
    find_due,
)
from stream_scorer.stream.memory_broker import MemoryCluster, Record
from tests.support.scoring_kit import DLQ, INPUT, make_polled
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
from tests.support.state.world import Counted

SPEC = make_spec()
WIDTHS = {space.name: space.width for space in SPEC.spaces}
ROWS = make_card_rows(60)


def owned(debt: int = 0, age: float = 0.0, partition: int = 0) -> tuple[int, OwnedState]:
    """A state with an old snapshot."""
    state = PartitionState(PartitionHistory(SPEC), 100, 0, 100 - debt, NOW - timedelta(seconds=age))
    return partition, OwnedState(state, 1, 100)


def due(*states: tuple[int, OwnedState], now: datetime = NOW) -> int | None:
    found = find_due(states, SnapshotPolicy(replay_max=50, seconds=600), now)
    return None if found is None else found[0]


def test_nothing_is_due_while_the_debt_is_small_and_the_snapshots_are_recent() -> None:
    assert due() is None
    assert due(owned(30, 599, 0), owned(20, 10, 1)) is None


def test_partition_with_the_largest_debt_is_next_if_all_debts_together_are_too_large() -> None:
    assert due(owned(20, 599, 0), owned(31, 10, 1)) == 1


def test_partition_that_receives_inputs_has_no_old_snapshot() -> None:
    assert due(owned(1, 601, 0), owned(30, 100, 1)) == 0
    assert due(owned(1, 650, 0), owned(1, 700, 1)) == 1


def test_partition_without_new_inputs_needs_no_snapshot() -> None:
    assert due(owned(0, 10**6, 0)) is None


def test_age_without_a_snapshot_counts_from_the_restore() -> None:
    partition, one = owned(1)
    one.state.snapshot_at = None
    assert due((partition, one), now=one.attached + timedelta(seconds=599)) is None
    assert due((partition, one), now=one.attached + timedelta(seconds=601)) == 0


@dataclass
class Bed:
    """A member that owns partition 0, and its snapshots."""

    debt: int = 0
    cache: HistoryCache | None = None
    partitions: int = 1
    objects: MemoryObjects = field(default_factory=MemoryObjects)
    now: float = 0.0
    counted: Counted = field(default_factory=Counted)

    def __post_init__(self) -> None:
        self.cluster = MemoryCluster(INPUT, 1)
        for value in encode_rows(ROWS):
            self.cluster.produce(0, Record(b"1", value))
        self.store = HistoryStore(self.objects, is_trusted=True)
        self.era = make_era(SPEC, partitions=self.partitions)
        self.log = MemoryInputLog(self.cluster)
        self.states = OwnedStates(SPEC, self.era)
        self.states.attach(0, PartitionState(PartitionHistory(SPEC), 0, 0, 0), 1)
        self.writer = SnapshotWriter(
            self.store,
            lambda: self.log,
            SnapshotPolicy(replay_max=self.debt),
            "a test",
            self.cache,
            self.counted,
            lambda: self.now,
        )

    @property
    def owned(self) -> OwnedState:
        found = self.states.get(0)
        assert found is not None
        return found

    def step(self, first: int, last: int) -> Any:
        """The inputs of some offsets as an open step."""
        values = encode_rows(ROWS[first:last])
        polled = make_polled(list(values), partitions=1)
        polled.offsets[:] = range(first, last)
        batch = build_batch(ROWS[first:last])
        n = last - first
        return self.states.step(polled, batch, np.arange(n), np.ones(n, np.bool_), {0: 1})

    def commit(self, first: int, last: int) -> None:
        self.step(first, last).commit()

    def write(self) -> bool:
        """Let the loop and the thread do what is due; whether there was a snapshot."""
        self.now += 1.0
        self.writer.serve(self.states)
        was_due = self.writer.work_once()
        self.writer.serve(self.states)
        return was_due

    def stored(self, offset: int) -> Snapshot:
        found = self.store.read_snapshot(self.era, self.era.snapshot(0, offset), WIDTHS)
        assert found is not None
        return found[1]

    def offsets(self) -> list[int]:
        return [name.next_offset for name in self.store.snapshots(self.era, 0)]


def check_sum(until: int) -> int:
    _, history = fold(SPEC, build_batch(ROWS[:until]))
    found: int = history.check_sum()
    return found


def test_snapshot_is_the_committed_state_without_open_steps() -> None:
    bed = Bed()
    bed.commit(0, 10)
    bed.step(10, 25)
    bed.step(25, 30)
    assert bed.write()
    assert bed.offsets() == [10]
    snapshot = bed.stored(10)
    assert snapshot.header.check_sum == check_sum(10)
    restored = PartitionHistory.restore(SPEC, snapshot.records)
    assert restored.check_sum() == check_sum(10)
    assert (bed.owned.debt, bed.owned.state.snapshot_offset) == (0, 10)
    assert bed.counted.snapshots == {"created": 1}


def test_state_may_advance_while_its_snapshot_is_written() -> None:
    bed = Bed()
    bed.commit(0, 10)
    bed.now += 1
    bed.writer.serve(bed.states)  # copied
    bed.commit(10, 30)
    assert bed.writer.work_once()
    bed.writer.serve(bed.states)
    assert bed.stored(10).header.check_sum == check_sum(10)
    assert bed.owned.debt == 20


def test_one_snapshot_is_written_at_a_time() -> None:
    bed = Bed()
    bed.commit(0, 10)
    bed.now += 1
    bed.writer.serve(bed.states)
    bed.commit(10, 20)
    bed.now += 1
    bed.writer.serve(bed.states)  # the first one is not written yet
    bed.writer.work_once()
    assert not bed.writer.work_once()
    assert bed.offsets() == [10]


def test_dead_letters_are_read_from_where_they_ended_while_this_member_owned_the_partition() -> (
    None
):
    bed = Bed()
    bed.commit(0, 10)
    assert bed.write()
    assert bed.stored(10).header.dead_letter_offset == 0  # known since the restore
    bed.cluster.logs[DLQ, 0] += [dead_letter(3), dead_letter(12)]  # of a batch before the next
    bed.commit(10, 20)
    assert bed.write()
    assert bed.stored(20).header.dead_letter_offset == 0  # asked for after the first snapshot
    bed.commit(20, 25)
    assert bed.write()
    assert bed.stored(25).header.dead_letter_offset == 2


def test_former_owner_does_not_learn_where_the_dead_letters_of_its_successor_end() -> None:
    """Inputs from its offset on may have dead letters before that end."""
    bed = Bed()
    bed.commit(0, 10)
    assert bed.write()
    bed.cluster.logs[DLQ, 0] += [dead_letter(10), dead_letter(11)]  # by its successor
    bed.step(10, 20).roll_back()  # it is fenced
    for _ in range(3):  # as if a snapshot were due, and none there
        bed.objects.remove(bed.era.snapshot(0, 10).key)
        bed.owned.state.snapshot_offset = 0
        assert bed.write()
        assert bed.stored(10).header.dead_letter_offset == 0


def dead_letter(offset: int) -> Record:
    headers = dead_letter_headers(INPUT, 0, offset, Rejection(0, Stage.DECODE, "bad"))
    return Record(b"1", b"{", headers)


def test_snapshot_that_another_process_wrote_is_as_good() -> None:
    bed = Bed()
    bed.commit(0, 10)
    write_snapshot(bed.store, bed.era, 0, 10, fold(SPEC, build_batch(ROWS[:10]))[1])
    assert bed.write()
    assert bed.counted.snapshots == {"same": 1}
    assert bed.owned.debt == 0


def test_other_state_under_the_same_name_raises_an_alarm_and_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bed = Bed()
    bed.commit(0, 10)
    write_snapshot(bed.store, bed.era, 0, 10, fold(SPEC, build_batch(ROWS[:11]))[1])
    with caplog.at_level(logging.ERROR):
        assert bed.write()
    assert bed.counted.snapshots == {"different": 1}
    assert "different histories of partition 0 at offset 10" in caplog.text
    assert bed.stored(10).header.check_sum == check_sum(11)
    assert bed.owned.debt == 10


def test_store_that_is_down_is_tried_again_later_and_later() -> None:
    bed = Bed()
    bed.commit(0, 10)
    bed.objects.script([StoreFault("unavailable", times=2)])
    assert bed.write()
    assert not bed.write()  # not at once
    bed.now += 5
    assert bed.write()
    bed.now += 5
    assert not bed.write()
    bed.now += 5
    assert bed.write()
    assert bed.counted.snapshots == {"failed": 2, "created": 1}
    assert bed.owned.debt == 0


def test_partition_whose_snapshot_always_fails_keeps_no_other_from_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bed = Bed(partitions=2)
    other = PartitionState(PartitionHistory(SPEC), 20, 0, 10)
    bed.states.attach(1, other, 1)
    bed.commit(0, 15)  # the larger debt, so that it is first
    create = bed.store.create_snapshot

    def refuse(era: Era, content: bytes) -> SnapshotResult:
        if decode_snapshot(content, "a test", WIDTHS).header.partition == 0:
            raise OverflowError("a record that cannot be stored")
        return create(era, content)

    monkeypatch.setattr(bed.store, "create_snapshot", refuse)
    assert [bed.write(), bed.write(), bed.write()] == [True, True, False]
    assert bed.counted.snapshots == {"failed": 1, "created": 1}
    assert [name.next_offset for name in bed.store.snapshots(bed.era, 1)] == [20]
    bed.now += 5
    assert bed.write()
    assert bed.counted.snapshots == {"failed": 2, "created": 1}


def test_broker_that_does_not_answer_leaves_the_snapshot_written() -> None:
    bed = Bed()
    bed.commit(0, 10)
    bed.log.faults = [RetryableError("no broker answers")]
    assert bed.write()
    assert bed.offsets() == [10]
    assert bed.owned.debt == 0
    assert bed.counted.snapshots == {"created": 1}
    assert not bed.log.faults


def test_partition_that_left_gets_its_snapshot_nevertheless() -> None:
    bed = Bed()
    bed.commit(0, 10)
    bed.now += 1
    bed.writer.serve(bed.states)
    bed.states.drop(0)
    assert bed.writer.work_once()
    bed.writer.serve(bed.states)
    assert bed.offsets() == [10]


def test_old_snapshots_are_removed_after_writing() -> None:
    bed = Bed()
    for last in range(1, 12):
        bed.commit(last - 1, last)
        assert bed.write()
    assert bed.offsets() == [11, 10, 9, 1]  # the newest three, and the first of the day


def test_newest_snapshot_is_kept_on_the_local_disk(tmp_path: Path) -> None:
    cache = HistoryCache(tmp_path)
    bed = Bed(cache=cache)
    bed.commit(0, 10)
    assert bed.write()
    found = cache.load(bed.era, 0, 10, WIDTHS)
    assert found is not None
    assert found.header.check_sum == check_sum(10)


@contextmanager
def indebted(bed: Bed, debt: int) -> Iterator[None]:
    """As if the newest snapshot were long ago."""
    bed.commit(0, 10)
    bed.owned.state.snapshot_offset = 10 - debt
    yield
    bed.writer.finish(bed.states, bed.now + 10)


def test_at_the_end_a_large_debt_is_written_and_a_small_one_left_to_the_successor() -> None:
    bed = Bed(debt=10**9)
    with indebted(bed, LAST_DEBT_RECORDS):
        pass
    assert bed.offsets() == []
    other = Bed(debt=10**9)
    with indebted(other, LAST_DEBT_RECORDS + 1):
        pass
    assert other.offsets() == [10]


def test_at_the_end_nothing_is_written_after_the_deadline_or_while_the_store_is_down() -> None:
    bed = Bed(debt=10**9)
    bed.commit(0, 10)
    bed.owned.state.snapshot_offset = -LAST_DEBT_RECORDS
    bed.writer.finish(bed.states, bed.now)
    assert bed.offsets() == []
    bed.objects.script([StoreFault("unavailable")])
    bed.writer.finish(bed.states, bed.now + 10)
    assert bed.offsets() == []


def test_other_state_under_the_same_name_is_not_written_at_each_look(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bed = Bed()
    bed.commit(0, 10)
    write_snapshot(bed.store, bed.era, 0, 10, fold(SPEC, build_batch(ROWS[:11]))[1])
    for _ in range(50):
        bed.write()
    assert bed.counted.snapshots == {"different": 1}


def test_last_snapshot_that_cannot_be_encoded_does_not_end_the_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bed = Bed()
    bed.commit(0, 10)
    bed.owned.state.snapshot_offset -= LAST_DEBT_RECORDS
    monkeypatch.setattr(bed.store, "create_snapshot", Raises(MemoryError("no room")))
    bed.writer.finish(bed.states, deadline=1.0)
    assert "no last snapshot of partition 0: no room" in caplog.text


class Raises:
    """A function that only raises."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __call__(self, *_: object) -> Any:
        raise self._error
