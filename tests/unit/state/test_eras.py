"""Eras: how the first one begins, which ones are refused, and how a new one goes on."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from schemas.batch import build_batch
from stream_scorer.errors import StoreError
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.store.history_cache import HistoryCache
from stream_scorer.model.store.history_era import EraSeed
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.memory_store import MemoryObjects, StoreFault
from stream_scorer.state.eras import Eras, EraUnusable, InputFacts, require_spec, seed_of
from stream_scorer.state.faults import HistoryGap
from stream_scorer.state.restore import PartitionRestore
from stream_scorer.state.stored import StoredStates
from stream_scorer.stream.memory_broker import MemoryCluster, Record
from tests.support.factories import make_bundle
from tests.support.scoring_kit import INPUT
from tests.support.state.history_kit import (
    NOW,
    encode_rows,
    fold,
    make_card_rows,
    make_era,
    make_history_bundle,
    write_snapshot,
)
from tests.support.state.memory_log import MemoryInputLog

BUNDLE = make_history_bundle()
SPEC = require_spec(BUNDLE)
DIGEST = "ab" * 32
ROWS = [make_card_rows(30, seed) for seed in (1, 2)]


@dataclass
class Bed:
    """A topic of two partitions, and a store."""

    facts: InputFacts = field(default_factory=lambda: InputFacts(INPUT, "topic-id", 2))
    objects: MemoryObjects = field(default_factory=MemoryObjects)
    cache: HistoryCache | None = None

    def __post_init__(self) -> None:
        self.cluster = MemoryCluster(INPUT, 2)
        for partition, rows in enumerate(ROWS):
            for value in encode_rows(rows):
                self.cluster.produce(partition, Record(b"1", value))
        self.log = MemoryInputLog(self.cluster)
        self.store = HistoryStore(self.objects, is_trusted=True)

    def eras(self, max_keys: int = 1000) -> Eras:
        return Eras(self.store, self.facts, max_keys, self.cache, lambda: NOW)


def with_seed(seed: Any) -> Bundle:
    return replace(BUNDLE, metadata={"history": {"seed": seed}})


def test_first_era_begins_where_the_group_is_and_at_the_first_input_where_it_is_not() -> None:
    bed = Bed()
    bed.cluster.committed = {0: 12}
    bed.log.low = {0: 3, 1: 5}
    era = bed.eras().find(BUNDLE, bed.log)
    assert (era.number, era.begin, era.seed, era.is_cold) == (1, (12, 5), None, True)
    assert (era.topic, era.topic_id, era.max_keys) == (INPUT, "topic-id", 1000)
    assert "version v1" in era.why
    assert bed.store.latest_era(SPEC.fingerprint) == era


def test_first_era_begins_with_the_seed_of_the_version() -> None:
    bed = Bed()
    era = bed.eras().find(with_seed({"sha256": DIGEST, "as_of": 99, "bytes": 1}), bed.log)
    assert era.seed == EraSeed(DIGEST, 99)
    assert not era.is_cold


def test_era_that_exists_is_the_one_whatever_the_group_has_committed_since() -> None:
    bed = Bed()
    first = bed.eras().find(BUNDLE, bed.log)
    bed.cluster.committed = {0: 12, 1: 9}
    assert bed.eras().find(with_seed({"sha256": DIGEST, "as_of": 99}), bed.log) == first


def test_of_two_scorers_that_are_the_first_one_begins_the_era_and_both_use_it() -> None:
    bed = Bed()
    other = Bed(objects=bed.objects)
    other.cluster.committed = {0: 7}
    # The other one is faster by a moment: it writes after this one has looked.
    begin, found = bed.store.create_era, []

    def create_era(era: Any) -> bool:
        found.append(other.eras().find(BUNDLE, other.log))
        return begin(era)

    bed.store.create_era = create_era  # type: ignore[method-assign]
    assert bed.eras().find(BUNDLE, bed.log) == found[0]
    assert found[0].begin == (7, 0)
    assert bed.store.eras(SPEC.fingerprint) == [1]


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (InputFacts("elsewhere", "topic-id", 2), "reads elsewhere"),
        (InputFacts(INPUT, "new-id", 2), "deleted and recreated"),
        (InputFacts(INPUT, "topic-id", 3), "history rescale"),
    ],
)
def test_era_of_another_topic_or_count_is_refused_with_the_way_out(
    facts: InputFacts, why: str
) -> None:
    bed = Bed()
    bed.eras().find(BUNDLE, bed.log)
    with pytest.raises(EraUnusable, match=why):
        Bed(facts=facts, objects=bed.objects).eras().find(BUNDLE, bed.log)


def test_topic_whose_id_is_not_known_is_not_compared() -> None:
    bed = Bed()
    era = bed.eras().find(BUNDLE, bed.log)
    unknown = Bed(facts=InputFacts(INPUT, "", 2), objects=bed.objects)
    assert unknown.eras().find(BUNDLE, bed.log) == era


@pytest.mark.parametrize(
    "seed",
    [
        1,
        "x",
        {},
        {"sha256": DIGEST},
        {"sha256": "../etc", "as_of": 1},
        {"sha256": DIGEST, "as_of": -1},
        {"sha256": DIGEST, "as_of": True},
    ],
)
def test_seed_that_cannot_be_read_is_named(seed: Any) -> None:
    with pytest.raises(EraUnusable, match=r"metadata\.json of version v1"):
        seed_of(with_seed(seed))


def test_version_without_history_has_no_era() -> None:
    with pytest.raises(ValueError, match="reads no card history"):
        Bed().eras().find(make_bundle(), Bed().log)


def test_max_keys_of_an_era_are_those_whose_snapshots_can_be_stored() -> None:
    bed = Bed()
    era = bed.eras(max_keys=10**9).find(BUNDLE, bed.log)
    widths = sum(space.width for space in SPEC.spaces)
    assert era.max_keys * widths * 8 <= 2 * 1024**3 < (era.max_keys + 1) * widths * 8


def test_cached_era_is_used_while_the_store_is_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bed = Bed(cache=HistoryCache(tmp_path))
    bed.objects.script([StoreFault("unavailable")])
    with pytest.raises(StoreError):
        bed.eras().find(BUNDLE, bed.log)
    era = bed.eras().find(BUNDLE, bed.log)
    bed.objects.script([StoreFault("unavailable")])
    with caplog.at_level(logging.WARNING):
        assert bed.eras().find(BUNDLE, bed.log) == era
    assert "cached" in caplog.text


def restore_of(bed: Bed, number: int = 1) -> PartitionRestore:
    era = bed.store.read_era(SPEC.fingerprint, number)
    return PartitionRestore(SPEC, era, StoredStates(bed.store, SPEC), bed.log)


def test_after_a_gap_a_new_era_goes_on_with_what_is_known() -> None:
    bed = Bed()
    first = make_era(SPEC, 2, topic_id="topic-id")
    assert bed.store.create_era(first)
    for partition, offset in ((0, 10), (1, 6)):
        history = fold(SPEC, build_batch(ROWS[partition][:offset]))[1]
        write_snapshot(bed.store, first, partition, offset, history, dead_letter_offset=0)
    bed.cluster.committed = {0: 25, 1: 6}
    bed.log.low[0] = 18
    restore = restore_of(bed)
    with pytest.raises(HistoryGap) as gap:
        restore.restore(0)
    era = bed.eras().continue_after(gap.value, restore)
    assert era is not None
    assert (era.number, era.begin, era.has_base) == (2, (18, 6), True)
    assert "from offset 10 to before 18" in era.why
    # The cards of the partition have what they had at 10, and the inputs from 18 on.
    found = restore_of(bed, 2).restore(0)
    rows = [*ROWS[0][:10], *ROWS[0][18:25]]
    assert found.state.history.check_sum() == fold(SPEC, build_batch(rows))[1].check_sum()
    assert found.state.offset == 25
    other = restore_of(bed, 2).restore(1)
    assert other.state.history.check_sum() == fold(SPEC, build_batch(ROWS[1][:6]))[1].check_sum()


def test_gap_that_reaches_past_the_offset_of_the_group_begins_there() -> None:
    bed = Bed()
    assert bed.store.create_era(make_era(SPEC, 2, topic_id="topic-id"))
    bed.cluster.committed = {0: 20, 1: 0}
    bed.log.low[0] = 25
    restore = restore_of(bed)
    with pytest.raises(HistoryGap) as gap:
        restore.restore(0)
    era = bed.eras().continue_after(gap.value, restore)
    assert era is not None
    assert era.begin == (20, 0)
    assert restore_of(bed, 2).restore(0).state.offset == 20


def test_era_that_another_process_has_begun_meanwhile_is_not_begun_twice() -> None:
    bed = Bed()
    first = make_era(SPEC, 2, topic_id="topic-id")
    assert bed.store.create_era(first)
    bed.cluster.committed = {0: 20, 1: 0}
    bed.log.low[0] = 15
    restore = restore_of(bed)
    with pytest.raises(HistoryGap) as gap:
        restore.restore(0)
    second = bed.eras().continue_after(gap.value, restore)
    assert second is not None
    assert bed.eras().continue_after(gap.value, restore) is None
    assert bed.store.eras(SPEC.fingerprint) == [1, 2]
    assert restore_of(bed, 2).restore(0).state.offset == 20


def test_of_two_processes_that_begin_the_same_era_the_first_one_keeps_its_snapshots() -> None:
    bed = Bed()
    first = make_era(SPEC, 2, topic_id="topic-id")
    assert bed.store.create_era(first)
    bed.cluster.committed = {0: 20, 1: 0}
    bed.log.low[0] = 15
    gap = HistoryGap(0, 0, 15, INPUT)
    slower = restore_of(bed)

    def write_too(era: Any) -> Any:
        bed.store.create_era = begin  # type: ignore[method-assign]
        draft = replace(era, id="f" * 32)  # all its snapshots, before it creates the era
        for partition in (0, 1):
            state = slower.nearest(partition, 15)
            state.offset = (15, 0)[partition]
            bed.eras()._write_base(draft, partition, state)
        return begin(era)

    begin = bed.store.create_era
    bed.store.create_era = write_too  # type: ignore[method-assign]
    era = bed.eras().continue_after(gap, restore_of(bed))
    assert era is not None
    for partition in (0, 1):
        assert restore_of(bed, 2).restore(partition).state.offset == (20, 0)[partition]
