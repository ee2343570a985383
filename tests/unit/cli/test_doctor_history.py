"""What doctor says about card histories."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stream_scorer.cli.checks import Level
from stream_scorer.cli.doctor_history import check_history_store, judge_status
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.memory_store import MemoryObjects, StoreFault
from stream_scorer.state.admin.status import read_status
from tests.support.state.history_kit import NOW, make_card_rows
from tests.support.state.operator_kit import OperatorBed


@pytest.fixture
def bed() -> OperatorBed:
    return OperatorBed()


def test_fresh_snapshots_are_ok(bed: OperatorBed) -> None:
    era = bed.begin_era()
    bed.add(make_card_rows(40, seed=2, cards=9))
    bed.commit_all()
    found = list(read_status(bed.store, era, bed.log))
    check = judge_status(era, found, NOW + timedelta(minutes=9))
    assert check.level is Level.OK
    debt = sum(status.debt or 0 for status in found)
    assert debt > 20
    assert check.found == f"era 1, {debt:,} inputs since the newest snapshots"


def test_old_snapshots_matter_only_with_inputs_since(bed: OperatorBed) -> None:
    era = bed.begin_era()
    later = NOW + timedelta(hours=2)
    found = list(read_status(bed.store, era, bed.log))
    assert judge_status(era, found, later).level is Level.OK
    bed.add(make_card_rows(40, seed=2, cards=9))
    bed.commit_all()
    check = judge_status(era, list(read_status(bed.store, era, bed.log)), later)
    assert check.level is Level.WARN
    assert "of which one is 2 h 0 min old" in check.found
    assert "history status" in check.advice


def test_partition_without_a_snapshot_is_named(bed: OperatorBed) -> None:
    era = bed.begin_era()
    for name in bed.store.snapshots(era, 1):
        bed.objects.remove(name.key)
    check = judge_status(era, list(read_status(bed.store, era, bed.log)), NOW)
    assert check.level is Level.WARN
    assert "none of partition 1 is stored yet" in check.found


def test_store_is_tried_and_left_as_it_was() -> None:
    objects = MemoryObjects()
    (check,) = check_history_store(HistoryStore(objects))
    assert (check.level, check.found) == (Level.OK, "snapshots can be written and deleted")
    assert list(objects.keys("")) == []


def test_refused_writes_are_a_failure_with_what_to_allow() -> None:
    objects = MemoryObjects()
    objects.script([StoreFault("unavailable", "replace history/probe/*", times=9)])
    (check,) = check_history_store(HistoryStore(objects))
    assert check.level is Level.FAIL
    assert "snapshots cannot be written" in check.found
    assert check.advice == "allow scorers to read, write, list and delete below history/"
