"""The status of each partition's history."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stream_scorer.kafka.mark import format_mark
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.memory_store import StoreFault
from stream_scorer.state.admin.status import PartitionStatus, read_status
from stream_scorer.state.marks import HistoryMark
from tests.support.state.history_kit import NOW, make_card_rows
from tests.support.state.operator_kit import OperatorBed


@pytest.fixture
def bed() -> OperatorBed:
    return OperatorBed()


def status_of(bed: OperatorBed, era: Era) -> list[PartitionStatus]:
    return list(read_status(bed.store, era, bed.log))


def test_status_is_that_of_the_newest_snapshot_up_to_the_group(bed: OperatorBed) -> None:
    era = bed.begin_era()
    ends = [len(rows) for rows in bed.inputs]
    bed.add(make_card_rows(40, seed=2, cards=9))
    bed.commit_all()
    bed.mark(era, 1)
    found = status_of(bed, era)
    assert [one.partition for one in found] == [0, 1, 2]
    assert [one.committed for one in found] == [len(rows) for rows in bed.inputs]
    assert [one.debt for one in found] == [
        len(rows) - end for rows, end in zip(bed.inputs, ends, strict=True)
    ]
    assert [one.mark_text for one in found] == ["none", "era 1", "none"]
    for partition, one in enumerate(found):
        assert one.snapshot is not None
        assert one.snapshot.header.next_offset == ends[partition]
        keys = {space.name: space.keys for space in one.snapshot.body.spaces}
        assert keys == bed.history(partition, end=ends[partition]).sizes().keys
        assert one.age_seconds(NOW + timedelta(minutes=5)) == 300


def test_snapshot_ahead_of_the_group_is_no_use(bed: OperatorBed) -> None:
    era = bed.begin_era()
    bed.cluster.committed[0] = 4
    (first, *_) = status_of(bed, era)
    assert (first.snapshot, first.debt) == (None, 4)


def test_partition_without_a_commit_has_no_debt(bed: OperatorBed) -> None:
    era = bed.begin_era()
    del bed.cluster.committed[2]
    last = status_of(bed, era)[2]
    assert (last.committed, last.debt) == (None, None)
    assert last.snapshot is not None


def test_marks_of_other_histories_are_shown_as_such(bed: OperatorBed) -> None:
    era = bed.begin_era()
    other = HistoryMark("f" * 16, 1, 5)
    earlier = HistoryMark(era.spec[:16], 7, 5)
    bed.cluster.marks[0] = format_mark({"t": "x", **other.fields()})
    bed.cluster.marks[1] = format_mark(earlier.fields())
    bed.cluster.marks[2] = "t=only-the-topic"
    texts = [one.mark_text for one in status_of(bed, era)]
    assert texts == ["era 1, other history", "era 7, other history", "none"]


def test_damaged_snapshots_are_counted(bed: OperatorBed) -> None:
    era = bed.begin_era()
    bed.add(make_card_rows(40, seed=2, cards=9))
    bed.commit_all()
    bed.builder().refresh(era, 35)
    newest = bed.store.snapshots(era, 0)[0]
    bed.objects.overwrite(newest.key, b"nothing of use")
    first = status_of(bed, era)[0]
    assert first.damaged == 1
    assert first.snapshot is not None
    assert first.snapshot.header.next_offset < newest.next_offset


def test_only_headers_are_read(bed: OperatorBed) -> None:
    era = bed.begin_era()
    bed.objects.script([StoreFault("unavailable", "read *.snap", times=9)])
    assert all(one.snapshot is not None for one in status_of(bed, era))
