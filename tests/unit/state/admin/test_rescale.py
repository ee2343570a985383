"""A change of the partition count: every card finds its history in its new partition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from schemas.batch import build_batch
from stream_scorer.errors import UsageError
from stream_scorer.features.history.records import PartitionRecords
from stream_scorer.model.store.history_era import Era
from stream_scorer.state.admin.beginnings import FromInputs
from stream_scorer.state.admin.rescale import Rescale, Rescaled
from stream_scorer.state.eras import Eras, InputFacts
from stream_scorer.state.faults import HistoryGap, HistoryMismatch
from tests.support.scoring_kit import INPUT
from tests.support.state.history_kit import fold, make_card_rows
from tests.support.state.operator_kit import OperatorBed


def begun(count: int = 2, max_keys: int = 10**6) -> tuple[OperatorBed, Era]:
    """A topic with inputs, whose history has begun and is used."""
    bed = OperatorBed(make_card_rows(200, cards=40), count)
    builder = bed.builder()
    draft = bed.draft(max_keys=max_keys)
    era = builder.build(draft, FromInputs(builder.restore_of(draft)), lambda _: None)
    assert bed.store.create_era(era)
    bed.add(make_card_rows(50, seed=2, cards=40))
    bed.commit_all()
    for partition in range(count):
        bed.mark(era, partition)
    return bed, era


def rescale(bed: OperatorBed, era: Era, count: int, *, is_idle: bool = True) -> Rescaled:
    eras = Eras(bed.store, InputFacts(INPUT, "", count), 10**6)
    steps: list[int] = []
    work = Rescale(bed.builder().restore_of(era), eras, count, steps.append)
    done = work.run("a test", lambda: is_idle)
    assert steps == list(range(1, era.partition_count + count + 1))
    return done


def restored(bed: OperatorBed, era: Era, partition: int) -> PartitionRecords:
    return bed.builder().restore_of(era).restore(partition).state.history.records()


def test_histories_are_those_of_a_topic_that_always_had_the_new_count() -> None:
    bed, era = begun(2)
    rows = [row for own in bed.inputs for row in own]
    done = rescale(bed, era, 3)
    assert (done.era.number, done.era.partition_count, done.era.has_base) == (2, 3, True)
    assert done.era.begin == (len(bed.inputs[0]), len(bed.inputs[1]), 0)
    assert (done.misplaced, done.dropped) == (0, 0)
    other = OperatorBed(rows, 3)
    total = 0
    for partition in range(3):
        found = restored(bed, done.era, partition)
        expected = other.history(partition).records()
        for name, words in expected.spaces.items():
            assert len(words) > 0
            total += len(words)
            np.testing.assert_array_equal(found.spaces[name], words)
    assert done.total == total


def test_scorers_go_on_in_the_new_partitions() -> None:
    bed, era = begun(2)
    done = rescale(bed, era, 3)
    before = [row for own in bed.inputs for row in own]
    grown = OperatorBed([], 3)
    grown.inputs = [[], [], []]
    grown.store, grown.objects = bed.store, bed.objects
    later = make_card_rows(80, seed=9, cards=40)
    grown.add(later)
    for partition, own in enumerate(grown.inputs):  # they follow what the old partitions have
        old = bed.cluster.logs[INPUT, partition] if partition < 2 else []
        records = grown.cluster.logs[INPUT, partition]
        grown.cluster.logs[INPUT, partition] = [*old, *records]
        grown.cluster.committed[partition] = len(old) + len(own)
    whole = OperatorBed(before + later, 3)
    for partition in range(3):
        found = restored(grown, done.era, partition)
        expected = whole.history(partition).records()
        for name, words in expected.spaces.items():
            np.testing.assert_array_equal(found.spaces[name], words)


def test_added_partition_without_an_offset_begins_with_its_records() -> None:
    bed, era = begun(2)
    done = rescale(bed, era, 3)
    assert 2 not in bed.cluster.committed
    state = bed.builder().restore_of(done.era).restore(2).state
    assert state.offset == 0
    assert sum(state.history.sizes().keys.values()) > 5


def test_nothing_is_done_without_more_partitions() -> None:
    bed, era = begun(2)
    for count in (1, 2):
        with pytest.raises(UsageError, match=rf"has {count} partitions, and era 1 .* for 2"):
            rescale(bed, era, count)
    assert bed.store.eras(bed.spec.fingerprint) == [1]


def test_history_that_is_not_the_scored_one_is_not_redistributed() -> None:
    bed, era = begun(2)
    bed.inputs[1].pop(3)
    bed.mark(era, 1)
    with pytest.raises(HistoryMismatch, match="partition 1"):
        rescale(bed, era, 3)
    assert bed.store.eras(bed.spec.fingerprint) == [1]


def test_missing_inputs_stop_it() -> None:
    bed, era = begun(2)
    bed.log.low = {0: len(bed.inputs[0]) - 1}
    with pytest.raises(HistoryGap):
        rescale(bed, era, 3)


def test_inputs_that_arrive_meanwhile_stop_it() -> None:
    bed, era = begun(2)
    with pytest.raises(UsageError, match="inputs arrived in topic transactions meanwhile"):
        rescale(bed, era, 3, is_idle=False)
    assert bed.store.eras(bed.spec.fingerprint) == [1]


def test_producers_that_partition_otherwise_stop_it() -> None:
    bed, _ = begun(2)
    bed.inputs.reverse()
    bed.cluster.logs[INPUT, 0], bed.cluster.logs[INPUT, 1] = (
        bed.cluster.logs[INPUT, 1],
        bed.cluster.logs[INPUT, 0],
    )
    bed.commit_all()
    bed.cluster.marks.clear()
    builder = bed.builder()
    draft = bed.draft()
    wrong = builder.build(draft, FromInputs(builder.restore_of(draft)), lambda _: None)
    assert bed.store.create_era(wrong)
    with pytest.raises(UsageError, match=r"(?s)100% of the records .*murmur2"):
        rescale(bed, wrong, 3)


def test_a_few_misplaced_records_move_to_their_cards() -> None:
    bed, era = begun(2)
    card = next(int(row["card1"]) for row in bed.inputs[0] if "card1" in row)
    stray = {"TransactionID": 10**6, "TransactionDT": 10**8, "card1": float(card)}
    bed.inputs[1].append({**bed.inputs[1][0], **stray})
    bed.produce(1, [bed.inputs[1][-1]])
    bed.commit_all()
    bed.mark(era, 1)
    done = rescale(bed, era, 3)
    assert 0 < done.misplaced < 5
    assert done.dropped > 0
    rows = [row for own in bed.inputs for row in own]
    cards = {row.get("card1") for row in rows}
    assert len(cards) > 30
    counts = [len(restored(bed, done.era, p).spaces["card"]) for p in range(3)]
    assert sum(counts) == len(fold(bed.spec, build_batch(rows))[1].records().spaces["card"])


def test_another_era_meanwhile_stops_it() -> None:
    bed, era = begun(2)
    assert bed.store.create_era(replace(era, number=2, id="2" * 32))
    with pytest.raises(UsageError, match="another process has begun an era"):
        rescale(bed, era, 3)
