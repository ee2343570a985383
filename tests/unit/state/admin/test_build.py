"""Building the histories of a new era from retained inputs or earlier snapshots."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from schemas.batch import build_batch
from schemas.rejections import Rejection, Stage
from stream_scorer.dead_letters.headers import dead_letter_headers
from stream_scorer.errors import RetryableError, StoreError
from stream_scorer.features.history.codec import encode_seed
from stream_scorer.features.history.header import SeedHeader
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.model.store.history_era import Era, EraSeed
from stream_scorer.model.store.memory_store import StoreFault
from stream_scorer.state.admin.beginnings import (
    Begin,
    FromInputs,
    FromSnapshots,
    OlderSnapshots,
)
from stream_scorer.state.admin.build import ATTEMPTS, BuiltPartition
from stream_scorer.state.inputs import InputMissing
from stream_scorer.stream.memory_broker import Record
from tests.support.scoring_kit import DLQ, INPUT
from tests.support.state.history_kit import NOW, fold, make_card_rows
from tests.support.state.operator_kit import OperatorBed, Rows


def fold_all(bed: OperatorBed, rows: Rows) -> PartitionHistory:
    """The history after one pass over transactions."""
    found: PartitionHistory = fold(bed.spec, build_batch(rows))[1]
    return found


@pytest.fixture
def bed() -> OperatorBed:
    return OperatorBed()


def build(bed: OperatorBed, draft: Era | None = None) -> tuple[Era, list[BuiltPartition]]:
    """Build the next era from all retained inputs, and begin it."""
    return build_with(bed, draft or bed.draft())


def build_with(
    bed: OperatorBed, draft: Era, starts: dict[int, int] | None = None
) -> tuple[Era, list[BuiltPartition]]:
    builder, done = bed.builder(), list[BuiltPartition]()
    begin = FromInputs(builder.restore_of(draft), starts)
    era = builder.build(draft, begin, done.append)
    assert bed.store.create_era(era)
    return era, done


def restored(bed: OperatorBed, era: Era, partition: int) -> PartitionHistory:
    """What a scorer restores of a partition."""
    bed.log.reads.clear()
    return bed.builder().restore_of(era).restore(partition).state.history


def test_each_partition_is_stored_where_the_group_is(bed: OperatorBed) -> None:
    era, done = build(bed)
    assert (era.number, era.begin, era.has_base, era.is_cold) == (1, (0, 0, 0), False, True)
    assert [one.rows for one in done] == [len(rows) for rows in bed.inputs]
    assert bed.rows_replayed == len(bed.rows)
    assert all(len(rows) > 20 for rows in bed.inputs)
    for partition, own in enumerate(bed.inputs):
        (name,) = bed.store.snapshots(era, partition)
        assert name.next_offset == len(own)
        assert restored(bed, era, partition).check_sum() == bed.history(partition).check_sum()
        assert bed.log.reads == []  # nothing is left to replay
        assert done[partition].check_sum == bed.history(partition).check_sum()


def test_scorers_go_on_from_there(bed: OperatorBed) -> None:
    era, _ = build(bed)
    bed.add(make_card_rows(40, seed=2, cards=9))
    bed.commit_all()
    for partition in range(3):
        assert restored(bed, era, partition).check_sum() == bed.history(partition).check_sum()
        assert len(bed.log.reads) == 1


def test_history_begins_with_the_seeds_records_of_its_cards(bed: OperatorBed) -> None:
    past = make_card_rows(200, seed=5, cards=30)
    whole = fold_all(bed, past)
    as_of = max(row["TransactionDT"] for row in past)
    records = whole.records()
    seed = encode_seed(SeedHeader(bed.spec.fingerprint, as_of), records)
    sha256 = bed.store.write_seed(seed)
    later = make_card_rows(50, seed=6, cards=30)
    for row in later:
        row["TransactionDT"] += as_of
    bed.add(later)
    bed.commit_all()
    era, done = build(bed, bed.draft(seed=EraSeed(sha256, as_of), is_cold=False))
    assert era.seed == EraSeed(sha256, as_of)
    stream = [row for rows in bed.inputs for row in rows if row["TransactionDT"] > as_of]
    assert 0 < len(stream) < len(bed.rows) + len(later)  # the rest is in the seed's time
    assert sum(one.keys["card"] for one in done) == 30
    for partition in range(3):
        found = restored(bed, era, partition).records()
        for space in bed.spec.spaces:
            own = found.spaces[space.name]
            for card in np.unique(own[:, 0]):
                rows = [r for r in past + stream if r.get("card1") == float(card)]
                alone = fold_all(bed, rows).records().spaces[space.name]
                np.testing.assert_array_equal(own[own[:, 0] == card], alone)


def test_replay_begins_at_a_given_input(bed: OperatorBed) -> None:
    starts = {0: 5, 1: 10**6, 2: 0}
    era, done = build_with(bed, bed.draft(), starts)
    ends = [len(rows) for rows in bed.inputs]
    assert era.begin == (5, ends[1], 0)
    assert [one.rows for one in done] == [ends[0] - 5, 0, ends[2]]
    assert restored(bed, era, 0).check_sum() == bed.history(0, begin=5).check_sum()
    assert restored(bed, era, 1).sizes().keys == {"client": 0, "card": 0}


def test_replay_begins_at_the_first_retained_input(bed: OperatorBed) -> None:
    bed.log.low = {1: 7}
    era, _ = build(bed)
    assert era.begin == (0, 7, 0)
    assert restored(bed, era, 1).check_sum() == bed.history(1, begin=7).check_sum()


def test_partition_without_an_offset_has_only_the_beginning(bed: OperatorBed) -> None:
    del bed.cluster.committed[2]
    bed.log.low = {2: 4}
    era, done = build(bed)
    assert era.begin == (0, 0, 4)
    assert (done[2].rows, done[2].offset) == (0, 4)
    assert sum(restored(bed, era, 2).sizes().keys.values()) == 0


def test_inputs_that_were_never_accepted_are_left_out(bed: OperatorBed) -> None:
    bed.cluster.logs[INPUT, 0][3] = Record(b"1", b"{not json")
    rejection = Rejection(0, Stage.DECODE, "not JSON")
    headers = dead_letter_headers(INPUT, 0, 3, rejection)
    bed.cluster.logs[DLQ, 0].append(Record(b"1", b"{not json", headers))
    del bed.inputs[0][3]
    era, done = build(bed)
    assert done[0].rows == len(bed.inputs[0])
    assert done[0].offset == len(bed.inputs[0]) + 1
    assert restored(bed, era, 0).check_sum() == bed.history(0).check_sum()
    (name,) = bed.store.snapshots(era, 0)
    facts = bed.store.read_facts(era, name)
    assert facts is not None
    assert facts.header.dead_letter_offset == 1  # the next owner does not read it again


def test_no_era_begins_before_every_partition_is_stored(bed: OperatorBed) -> None:
    fault = StoreFault("unavailable", "create */p00002/*", times=ATTEMPTS)
    bed.objects.script([fault])
    with pytest.raises(StoreError):
        build(bed)
    assert len(bed.pauses) == ATTEMPTS - 1
    assert bed.store.latest_era(bed.spec.fingerprint) is None
    bed.add(make_card_rows(10, seed=3, cards=9))
    bed.commit_all()
    era, _ = build(bed)  # what the first attempt left does not disturb the second
    for partition in range(3):
        assert restored(bed, era, partition).check_sum() == bed.history(partition).check_sum()


def test_broken_read_goes_on_where_it_was(bed: OperatorBed) -> None:
    reads = iter(range(1000))

    def fail_twice() -> None:
        if next(reads) in (3, 5):
            raise RetryableError("no broker answers")

    bed.log.before_read = fail_twice
    era, done = build(bed)
    assert len(bed.pauses) == 2
    begins = [span.low for partition, span in bed.log.reads if partition == 0]
    assert begins == [0, 15, 20]
    assert done[0].rows == len(bed.inputs[0])
    for partition in range(3):
        assert restored(bed, era, partition).check_sum() == bed.history(partition).check_sum()


def test_broken_read_ends_after_some_attempts(bed: OperatorBed) -> None:
    def fail() -> None:
        raise RetryableError("no broker answers")

    bed.log.before_read = fail
    with pytest.raises(RetryableError, match="no broker answers"):
        build(bed)
    assert bed.store.latest_era(bed.spec.fingerprint) is None


def test_partition_begins_again_when_retention_overtakes_it(bed: OperatorBed) -> None:
    def retention() -> None:
        bed.log.low[1] = 12

    bed.log.low[1] = 2
    bed.log.before_read = lambda: retention() if bed.log.reads[-1][0] == 1 else None
    era, done = build(bed)
    assert era.begin == (0, 12, 0)
    assert done[1].rows == len(bed.inputs[1]) - 12
    assert restored(bed, era, 1).check_sum() == bed.history(1, begin=12).check_sum()


def test_input_that_cannot_be_read_ends_the_build(bed: OperatorBed) -> None:
    bed.cluster.logs[INPUT, 2][4] = Record(b"1", b"{not json")
    with pytest.raises(InputMissing, match="partition 2 offset 4 was scored"):
        build(bed)
    assert bed.pauses == []


def rebuild(bed: OperatorBed, era: Era, **more: object) -> tuple[Era, list[BuiltPartition]]:
    """Build the next era from the snapshots of this one."""
    builder, done = bed.builder(**more), list[BuiltPartition]()
    draft = replace(bed.draft(), seed=era.seed)
    new = builder.build(draft, FromSnapshots(builder.restore_of(era)), done.append)
    assert bed.store.create_era(new)
    return new, done


def test_new_era_can_begin_with_the_snapshots_of_the_one_before(bed: OperatorBed) -> None:
    era, _ = build(bed)
    ends = tuple(len(rows) for rows in bed.inputs)
    bed.log.low = dict(enumerate(ends))  # the inputs before are gone
    bed.add(make_card_rows(40, seed=2, cards=9))
    bed.commit_all()
    new, done = rebuild(bed, era)
    assert (new.number, new.has_base) == (2, True)
    assert new.begin == tuple(len(rows) for rows in bed.inputs)
    assert [one.missing for one in done] == [0, 0, 0]
    for partition in range(3):
        assert restored(bed, new, partition).check_sum() == bed.history(partition).check_sum()


def test_inputs_that_are_gone_are_left_out_and_counted(bed: OperatorBed) -> None:
    era, _ = build(bed)
    end = len(bed.inputs[1])
    bed.add(make_card_rows(60, seed=2, cards=9))
    bed.commit_all()
    bed.log.low = {1: end + 4}
    new, done = rebuild(bed, era)
    assert [one.missing for one in done] == [0, 4, 0]
    expected = bed.advance(bed.history(1, end=end), 1, end + 4)
    assert restored(bed, new, 1).check_sum() == expected.check_sum()


def test_group_may_stand_before_the_first_retained_input(bed: OperatorBed) -> None:
    era, _ = build(bed)
    end = len(bed.inputs[1])
    bed.add(make_card_rows(60, seed=2, cards=9))
    bed.cluster.committed[1] = end + 2
    bed.log.low = {1: end + 4}
    new, done = rebuild(bed, era)
    assert (done[1].missing, done[1].offset) == (2, end + 2)
    (name,) = bed.store.snapshots(new, 1)
    assert name.next_offset == end + 2


def test_snapshots_after_a_time_can_be_left_out(bed: OperatorBed) -> None:
    era, _ = build(bed)
    ends = [len(rows) for rows in bed.inputs]
    bed.add(make_card_rows(40, seed=2, cards=9))
    bed.commit_all()
    for partition in range(3):  # a release that was wrong has written these
        wrong = bed.builder().restore_of(era).restore(partition).state
        wrong.history = PartitionHistory(bed.spec)
        bed.builder(now=lambda: NOW + timedelta(days=400)).write(era, partition, wrong)
    older = OlderSnapshots(bed.store, bed.spec, NOW + timedelta(days=399))
    bed.log.reads.clear()
    new, _ = rebuild(bed, era, stored=older)
    assert [span.low for _, span in bed.log.reads] == ends
    for partition in range(3):
        assert restored(bed, new, partition).check_sum() == bed.history(partition).check_sum()


def test_snapshots_are_kept_fresh_until_scorers_use_the_era(bed: OperatorBed) -> None:
    era, _ = build(bed)
    builder = bed.builder()
    assert builder.refresh(era, 35) == {}
    bed.add([row for row in make_card_rows(40, seed=2, cards=9) if "card1" in row][:5])
    bed.commit_all()
    grown = {p: n for p, rows in enumerate(bed.inputs) if (n := len(rows)) > era_end(bed, era, p)}
    assert grown
    assert builder.refresh(era, 35) == grown
    for partition in range(3):
        assert restored(bed, era, partition).check_sum() == bed.history(partition).check_sum()
        assert bed.log.reads == []
    bed.add(make_card_rows(9, seed=4, cards=9))
    bed.commit_all()
    assert not builder.is_served(era)
    bed.mark(era, 1)
    assert builder.is_served(era)
    assert not builder.is_served(replace(era, number=2))


def era_end(bed: OperatorBed, era: Era, partition: int) -> int:
    return bed.store.snapshots(era, partition)[0].next_offset


def test_old_snapshots_are_removed_while_new_ones_are_written(bed: OperatorBed) -> None:
    era, _ = build(bed)
    builder = bed.builder(now=lambda: NOW)
    for seed in range(2, 8):
        bed.add(make_card_rows(20, seed=seed, cards=9))
        bed.commit_all()
        assert len(builder.refresh(era, 1)) == 3
    assert len(bed.store.snapshots(era, 0)) <= 5


@pytest.mark.parametrize("has_base", [False, True])
def test_snapshots_that_another_build_has_replaced_are_written_again(
    bed: OperatorBed, has_base: bool
) -> None:
    if has_base:
        bed.begin_era()
        bed.add(make_card_rows(40, seed=2, cards=9))
        bed.commit_all()
    first, second = bed.draft(), bed.draft()
    builder = bed.builder()
    begins: list[Begin] = []
    for draft in (first, second):
        begin: Begin = FromInputs(builder.restore_of(draft))
        if has_base:
            begin = FromSnapshots(builder.restore_of(newest_era(bed)))
        begins.append(begin)
    done, others = list[BuiltPartition](), list[BuiltPartition]()
    era = builder.build(first, begins[0], done.append)
    other = builder.build(second, begins[1], others.append)  # it ends later, and is the last
    bed.add(make_card_rows(20, seed=4, cards=9))  # scorers go on meanwhile
    bed.commit_all()
    assert builder.begin(era, begins[0], done)
    assert not builder.begin(other, begins[1], others)
    assert newest_era(bed).id == era.id != other.id
    for one in done:
        facts = bed.store.read_facts(era, era.snapshot(one.partition, one.offset))
        assert facts is not None
        assert facts.header.check_sum == one.check_sum
        expected = bed.history(one.partition).check_sum()
        assert restored(bed, era, one.partition).check_sum() == expected


def newest_era(bed: OperatorBed) -> Era:
    found = bed.store.latest_era(bed.spec.fingerprint)
    assert found is not None
    return found
