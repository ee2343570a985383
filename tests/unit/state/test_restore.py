"""Restoring one partition: what is replayed, what is compared, and what stops it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from schemas.batch import TransactionBatch, build_batch
from schemas.rejections import Rejection, Stage
from stream_scorer.dead_letters.headers import dead_letter_headers
from stream_scorer.errors import FatalError, RetryableError, ScorerError, StoreError
from stream_scorer.features.history.codec import encode_seed
from stream_scorer.features.history.header import SeedHeader
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.kafka.mark import format_mark
from stream_scorer.kafka.spans import Span
from stream_scorer.model.store.history_era import EraSeed
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.memory_store import MemoryObjects, StoreFault
from stream_scorer.state.faults import HistoryGap, HistoryMismatch, NewerEra, RestoreAbandoned
from stream_scorer.state.inputs import InputMissing
from stream_scorer.state.marks import HistoryMark, history_mark
from stream_scorer.state.placement import partitions_of
from stream_scorer.state.restore import PartitionRestore
from stream_scorer.state.stored import StoredStates
from stream_scorer.stream.memory_broker import MemoryCluster, Record
from tests.support.features.history_streams import same_records
from tests.support.scoring_kit import DLQ, INPUT
from tests.support.state.history_kit import (
    encode_rows,
    fold,
    make_card_rows,
    make_era,
    make_spec,
    write_snapshot,
)
from tests.support.state.memory_log import MemoryInputLog

SPEC = make_spec()
BAD = b"{not json"


@dataclass
class Bed:
    """One partition with inputs, a store, and a restore over both."""

    rows: list[dict[str, Any]] = field(default_factory=lambda: make_card_rows(60))
    bad: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.cluster = MemoryCluster(INPUT, 1)
        self.log = MemoryInputLog(self.cluster)
        self.objects = MemoryObjects()
        self.store = HistoryStore(self.objects, is_trusted=True)
        self.era = make_era(SPEC)
        self.damaged: list[str] = []
        self.is_abandoned = False
        for offset, value in enumerate(encode_rows(self.rows)):
            self.cluster.produce(0, Record(b"1", BAD if offset in self.bad else value))

    def batch(self, until: int | None = None) -> TransactionBatch:
        """The accepted inputs before an offset."""
        return build_batch([r for o, r in enumerate(self.rows[:until]) if o not in self.bad])

    def history(self, until: int | None = None) -> PartitionHistory:
        """One pass over them."""
        found: PartitionHistory = fold(SPEC, self.batch(until), self.era.max_keys)[1]
        return found

    def commit(self, offset: int, mark: HistoryMark | str | None = "") -> None:
        """The group's offset; with the right mark unless another one is given."""
        if mark == "":
            mark = history_mark(SPEC.fingerprint, self.era.number, self.sum_at(offset))
        self.cluster.committed[0] = offset
        fields = mark.fields() if isinstance(mark, HistoryMark) else {}
        self.cluster.marks[0] = format_mark(fields)

    def sum_at(self, offset: int) -> int:
        return self.history(offset).check_sum()

    def reject(self, offset: int, stage: Stage = Stage.DECODE) -> None:
        """Write the dead letter of an input."""
        headers = dead_letter_headers(INPUT, 0, offset, Rejection(0, stage, "bad"))
        self.cluster.logs[DLQ, 0].append(Record(b"1", BAD, headers))

    def snapshot(self, offset: int, of: int | None = None, **changes: Any) -> str:
        """Store the state at an offset (or of another one under that offset's name)."""
        state = self.history(offset if of is None else of)
        return write_snapshot(self.store, self.era, 0, offset, state, **changes)

    def restore(self) -> PartitionRestore:
        stored = StoredStates(self.store, SPEC, None, lambda error: self.damaged.append(str(error)))
        return PartitionRestore(SPEC, self.era, stored, self.log, lambda: self.is_abandoned)


def same_state(one: PartitionHistory, other: PartitionHistory) -> bool:
    """Whether two histories have the same records, bit for bit."""
    return same_records(one.records(), other.records())


def test_without_a_snapshot_every_input_of_the_era_is_replayed_and_the_state_compared() -> None:
    bed = Bed()
    bed.commit(43)
    found = bed.restore().restore(0)
    assert (found.check, found.rows, found.state.offset) == ("checked", 43, 43)
    assert same_state(found.state.history, bed.history(43))
    assert (found.state.snapshot_offset, found.state.snapshot_at) == (0, None)


def test_only_the_inputs_after_the_newest_snapshot_up_to_the_offset_are_replayed() -> None:
    bed = Bed()
    for offset in (10, 30, 50):  # an operator may have moved the group back: 50 is of the future
        bed.snapshot(offset)
    bed.commit(43)
    found = bed.restore().restore(0)
    assert bed.log.reads == [(0, Span(30, 43))]
    assert (found.check, found.rows, found.state.snapshot_offset) == ("checked", 13, 30)
    assert same_state(found.state.history, bed.history(43))


def test_snapshot_at_the_offset_needs_no_input() -> None:
    bed = Bed()
    bed.snapshot(43)
    bed.commit(43)
    assert bed.restore().restore(0).check == "checked"
    assert bed.log.reads == []


@pytest.mark.parametrize("kind", ["torn", "digest", "check sum", "another topic"])
def test_snapshot_that_cannot_be_used_is_counted_and_the_one_before_it_taken(kind: str) -> None:
    bed = Bed()
    bed.snapshot(20)
    if kind == "check sum":
        bed.snapshot(30, check_sum=1)
    elif kind == "another topic":
        other = replace(bed.era, topic="elsewhere")
        write_snapshot(bed.store, other, 0, 30, bed.history(30))
    else:
        key = bed.snapshot(30)
        stored = bed.objects.read(key, 2**30)
        assert stored is not None
        content = bytearray(stored.content)
        content[-30] ^= 1
        bed.objects.overwrite(key, bytes(content if kind == "digest" else content[:-30]))
    bed.commit(43)
    found = bed.restore().restore(0)
    assert len(bed.damaged) == 1
    assert (found.state.snapshot_offset, found.rows, found.check) == (20, 23, "checked")


def test_inputs_that_were_refused_do_not_advance_although_they_could_be_decoded_today() -> None:
    bed = Bed(bad=(7, 12))
    values = encode_rows(bed.rows)
    for offset in bed.bad:  # as if a later release could read them
        bed.cluster.logs[INPUT, 0][offset] = Record(b"1", values[offset])
        bed.reject(offset)
    bed.commit(43)
    assert bed.restore().restore(0).check == "checked"


@pytest.mark.parametrize("stage", [Stage.SCORE, Stage.PUBLISH])
def test_inputs_that_were_accepted_and_then_failed_do_advance(stage: Stage) -> None:
    bed = Bed()
    bed.reject(7, stage)
    bed.commit(43)
    assert bed.restore().restore(0).check == "checked"


def test_dead_letters_are_read_from_the_snapshots_position_on() -> None:
    bed = Bed(bad=(7, 33))
    bed.reject(7)
    bed.reject(33)
    bed.log.dead_letter_low[0] = 1  # the first one is gone, and belongs to an input before it
    bed.snapshot(30, dead_letter_offset=1)
    bed.commit(43)
    assert bed.restore().restore(0).check == "checked"
    bed.log.dead_letter_low[0] = 2
    with pytest.raises(InputMissing, match="dead letters of partition 0"):
        bed.restore().restore(0)


def test_accepted_input_that_cannot_be_read_now_stops_the_restore() -> None:
    bed = Bed(bad=(7,))  # without a dead letter, so it was scored
    bed.commit(43)
    with pytest.raises(InputMissing, match="offset 7 was scored"):
        bed.restore().restore(0)


def test_another_state_than_the_marked_one_is_a_mismatch() -> None:
    bed = Bed()
    bed.commit(43, history_mark(SPEC.fingerprint, 1, 0x1234))
    with pytest.raises(HistoryMismatch, match=r"partition 0 at offset 43 .* runbook") as caught:
        bed.restore().restore(0)
    assert f"{0x1234:016x}" in str(caught.value)
    assert f"{bed.sum_at(43):016x}" in str(caught.value)


def test_snapshot_one_batch_too_new_is_found_by_the_mark() -> None:
    bed = Bed()
    bed.snapshot(30, of=36)
    bed.commit(43)
    with pytest.raises(HistoryMismatch):
        bed.restore().restore(0)


@pytest.mark.parametrize(
    "mark",
    [None, history_mark("f" * 64, 1, 99), history_mark("f" * 64, 7, 99)],
    ids=["none", "of other features", "of a later era of other features"],
)
def test_mark_that_says_nothing_about_this_history_leaves_it_unchecked(
    mark: HistoryMark | None,
) -> None:
    bed = Bed()
    bed.commit(43, mark)
    found = bed.restore().restore(0)
    assert found.check == "unchecked"
    assert same_state(found.state.history, bed.history(43))


def test_mark_of_an_earlier_era_is_not_compared_and_one_of_a_later_era_stops() -> None:
    bed = Bed()
    bed.era = replace(bed.era, number=2)
    bed.commit(43, history_mark(SPEC.fingerprint, 1, 99))
    assert bed.restore().restore(0).check == "unchecked"
    bed.commit(43, history_mark(SPEC.fingerprint, 3, 99))
    with pytest.raises(NewerEra, match="era 3"):
        bed.restore().restore(0)


def test_offset_of_a_recreated_topic_is_fatal() -> None:
    bed = Bed()
    bed.era = replace(bed.era, topic_id="new")
    bed.commit(43)
    bed.cluster.marks[0] += ";t=old"
    with pytest.raises(FatalError, match="id old"):
        bed.restore().restore(0)


def test_missing_inputs_are_named_with_both_offsets_and_the_ways_out() -> None:
    bed = Bed()
    bed.snapshot(20)
    bed.log.low[0] = 25
    bed.commit(43)
    with pytest.raises(HistoryGap, match=r"partition 0 .* offset 20.* begins at 25") as caught:
        bed.restore().restore(0)
    assert "HISTORY_ON_GAP" in str(caught.value)
    assert (caught.value.needed, caught.value.first) == (20, 25)


def test_removed_inputs_before_the_snapshot_do_not_matter() -> None:
    bed = Bed()
    bed.snapshot(20)
    bed.log.low[0] = 20
    bed.commit(43)
    assert bed.restore().restore(0).check == "checked"


def test_inputs_removed_during_the_replay_stop_it() -> None:
    bed = Bed()
    bed.commit(43)
    bed.log.before_read = lambda: bed.log.low.update({0: 12})
    with pytest.raises(InputMissing):
        bed.restore().restore(0)


def test_group_without_an_offset_begins_at_the_first_input_that_is_left() -> None:
    bed = Bed()
    bed.log.low[0] = 5
    found = bed.restore().restore(0)
    assert (found.state.offset, found.rows, found.check) == (5, 0, "unchecked")
    assert same_state(found.state.history, PartitionHistory(SPEC))


def test_offset_before_the_era_begins_has_no_history() -> None:
    bed = Bed()
    bed.era = replace(bed.era, begin=(50,))
    bed.commit(43)
    with pytest.raises(ScorerError, match="begins at offset 50 of partition 0"):
        bed.restore().restore(0)


def test_era_that_begins_with_snapshots_needs_one() -> None:
    bed = Bed()
    bed.era = replace(bed.era, has_base=True, begin=(20,))
    bed.commit(43)
    with pytest.raises(ScorerError, match="no usable snapshot of partition 0"):
        bed.restore().restore(0)
    bed.snapshot(20)
    assert bed.restore().restore(0).check == "checked"


def test_prepared_state_is_only_brought_forward() -> None:
    bed = Bed(bad=(31,))
    bed.commit(30)
    restore = bed.restore()
    prepared = restore.restore(0).state
    bed.log.reads.clear()
    bed.reject(31)  # its position was not known to the first restore
    bed.commit(43)
    found = restore.restore(0, prepared)
    assert bed.log.reads == [(0, Span(30, 43))]
    assert (found.check, found.rows) == ("checked", 12)
    assert found.state is prepared


def test_prepared_state_ahead_of_the_offset_is_not_used() -> None:
    bed = Bed()
    bed.commit(43)
    restore = bed.restore()
    prepared = restore.restore(0).state
    bed.commit(30)
    found = restore.restore(0, prepared)
    assert (found.check, found.state.offset) == ("checked", 30)
    assert found.state is not prepared


def test_restore_that_failed_goes_on_with_the_prepared_state_where_it_stopped() -> None:
    bed = Bed()
    bed.commit(20)
    restore = bed.restore()
    prepared = restore.restore(0).state
    bed.commit(43)
    calls = iter(range(100))

    def fail_later() -> None:
        if next(calls) == 2:
            raise RetryableError("no broker answers")

    bed.log.before_read = fail_later
    with pytest.raises(RetryableError):
        restore.restore(0, prepared)
    assert prepared.offset == 30
    assert restore.restore(0, prepared).check == "checked"


def test_partition_that_has_left_is_abandoned_within_one_batch() -> None:
    bed = Bed()
    bed.commit(43)
    reads = []

    def leave() -> None:
        reads.append(1)
        bed.is_abandoned = len(reads) == 2

    bed.log.before_read = leave
    with pytest.raises(RestoreAbandoned):
        bed.restore().restore(0)
    assert len(reads) == 2


def test_store_that_is_down_stops_the_restore_with_its_own_error() -> None:
    bed = Bed()
    bed.snapshot(20)
    bed.commit(43)
    bed.objects.script([StoreFault("unavailable", "keys *")])
    with pytest.raises(StoreError):
        bed.restore().restore(0)
    assert bed.restore().restore(0).check == "checked"


def test_seed_gives_each_partition_the_records_of_its_cards_and_is_not_counted_twice() -> None:
    bed = Bed()
    past = build_batch(bed.rows[:25])
    seed = fold(SPEC, past)[1]
    as_of = int(past.times.max())
    sha256 = bed.store.write_seed(encode_seed(SeedHeader(SPEC.fingerprint, as_of), seed.records()))
    bed.era = replace(bed.era, begin=(0, 0, 0), seed=EraSeed(sha256, as_of))
    stored = StoredStates(bed.store, SPEC)
    dealt = []
    for partition in range(3):
        found = stored.seed_records(bed.era, partition)
        assert found is not None
        for words in found.spaces.values():
            cards = np.ascontiguousarray(words[:, 0]).view(np.int64)
            assert (partitions_of(cards, 3) == partition).all()
        dealt.append(found)
    for name, words in seed.records().spaces.items():
        parts = np.concatenate([found.spaces[name] for found in dealt])
        assert sorted(map(bytes, parts)) == sorted(map(bytes, words))
    # The topic holds the same transactions again: those up to the seed's time do not advance.
    bed.era = replace(bed.era, begin=(0,))
    bed.commit(25, None)
    state = bed.restore().restore(0).state
    late = [r for r in bed.rows[:25] if r["TransactionDT"] <= as_of]
    assert len(late) == 25
    assert same_state(state.history, seed)
