"""The contract of card histories in the store: in memory, in a folder, in a bucket."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from stream_scorer.errors import ArtifactCorrupt, StoreError
from stream_scorer.features.history.records import PartitionRecords
from stream_scorer.model.store.history_era import Era, encode_era
from stream_scorer.model.store.history_store import HistoryStore
from tests.support.history.snapshots import (
    ERA,
    NOW,
    SPEC,
    WIDTHS,
    edit_header,
    make_records,
    make_seed,
    make_snapshot,
    next_era,
)
from tests.support.stores import Place

RACERS = 8


@pytest.fixture
def histories(place: Place) -> HistoryStore:
    return HistoryStore(place.objects)


def offsets(histories: HistoryStore, partition: int = 1, at_most: int | None = None) -> list[int]:
    return [name.next_offset for name in histories.snapshots(ERA, partition, at_most)]


def numbered(number: int, **more: Any) -> Era:
    return replace(ERA, number=number, **more)


def alter(place: Place, key: str, change: Callable[[bytes], bytes]) -> None:
    found = place.objects.read(key, 2**30)
    assert found is not None
    place.objects.overwrite(key, change(found.content))


# --- the beginning of an object


def test_head_of_an_object_is_read_and_no_more(place: Place) -> None:
    place.objects.create("history/x", b"0123456789")
    assert place.objects.read_head("history/x", 4) == b"0123"
    assert place.objects.read_head("history/x", 10) == b"0123456789"
    assert place.objects.read_head("history/x", 1000) == b"0123456789"
    assert place.objects.read_head("history/absent", 4) is None


def test_head_of_an_empty_object_is_empty(place: Place) -> None:
    place.objects.create("history/empty", b"")
    assert place.objects.read_head("history/empty", 4) == b""


# --- eras


def test_store_without_histories_has_none(histories: HistoryStore) -> None:
    assert histories.specs() == []
    assert histories.eras(SPEC) == []
    assert histories.latest_era(SPEC) is None
    assert histories.snapshots(ERA, 0) == []
    assert histories.all_snapshots(ERA) == {}


def test_era_comes_back_as_it_went_in_and_the_highest_counts(
    place: Place, histories: HistoryStore
) -> None:
    era = numbered(1)
    assert histories.create_era(era)
    assert HistoryStore(place.objects).latest_era(SPEC) == era
    for number in range(2, 12):
        assert histories.create_era(numbered(number))
    assert histories.eras(SPEC) == list(range(1, 12))
    assert histories.latest_era(SPEC) == numbered(11)
    assert histories.read_era(SPEC, 2) == numbered(2)
    assert histories.specs() == [SPEC[:16]]
    assert histories.read_era(SPEC[:16], 2).spec == SPEC


def test_era_is_never_written_twice_and_no_number_is_left_out(histories: HistoryStore) -> None:
    assert histories.create_era(numbered(1))
    assert not histories.create_era(numbered(1))
    assert not histories.create_era(numbered(3))
    assert histories.eras(SPEC) == [1]


def test_one_of_racing_processes_begins_the_era(place: Place) -> None:
    def create(racer: int) -> bool:
        era = numbered(1, id=f"{racer:032x}", why=f"racer {racer}")
        store = HistoryStore(place.objects)
        start.wait(timeout=120)
        return store.create_era(era)

    start = threading.Barrier(RACERS)
    with ThreadPoolExecutor(RACERS) as pool:
        created = list(pool.map(create, range(RACERS)))
    assert created.count(True) == 1
    era = HistoryStore(place.objects).latest_era(SPEC)
    assert era is not None
    assert era.why == f"racer {created.index(True)}"


def test_era_that_was_replaced_by_hand_is_read_again(place: Place, histories: HistoryStore) -> None:
    histories.create_era(numbered(1))
    assert histories.latest_era(SPEC) == numbered(1)
    other = numbered(1, id="f" * 32)
    place.objects.overwrite(f"history/{SPEC[:16]}/eras/000001.json", encode_era(other))
    assert histories.latest_era(SPEC) == other


def test_damaged_era_is_refused_and_no_earlier_one_is_taken(
    place: Place, histories: HistoryStore
) -> None:
    for number in (1, 2):
        histories.create_era(numbered(number))
    alter(place, f"history/{SPEC[:16]}/eras/000002.json", lambda content: content[:-30])
    with pytest.raises(ArtifactCorrupt, match=r"eras/000002\.json in .*`stream-scorer history"):
        histories.latest_era(SPEC)
    with pytest.raises(StoreError, match=r"there is no history/0123456789abcdef/eras/000009\.json"):
        histories.read_era(SPEC, 9)


def test_era_of_another_number_or_spec_is_refused(place: Place, histories: HistoryStore) -> None:
    folder = f"history/{SPEC[:16]}/eras"
    place.objects.create(f"{folder}/000007.json", encode_era(numbered(6)))
    with pytest.raises(ArtifactCorrupt, match="it is era 6 of spec 0123456789abcdef"):
        histories.latest_era(SPEC)
    other = SPEC[:16] + "0" * 48
    place.objects.create(f"{folder}/000008.json", encode_era(numbered(8)))
    assert histories.read_era(SPEC, 8).number == 8
    with pytest.raises(ArtifactCorrupt, match="it is era 8 of spec 0123456789abcdef"):
        histories.read_era(other, 8)


def test_objects_of_other_names_are_no_eras_and_no_snapshots(
    place: Place, histories: HistoryStore
) -> None:
    histories.create_era(numbered(1))
    folder = f"history/{SPEC[:16]}"
    for name in (
        "eras/000000.json", "eras/7.json", "eras/000002.json.bak", "eras/000002/000003.json",
        "000003/p1/00000000000000000025.snap", "000003/p00001/25.snap",
        "000003/p00001/99999999999999999999.snap", "000003/p99999/00000000000000000025.snap",
        "000000/p00001/00000000000000000025.snap", "000003/p00001/00000000000000000025.snap.x",
    ):  # fmt: skip
        place.objects.create(f"{folder}/{name}", b"x")
    place.objects.create("history/stray", b"x")
    place.objects.create("history/ABCDEF0123456789/eras/000001.json", b"x")
    assert histories.eras(SPEC) == [1]
    assert histories.all_snapshots(ERA) == {}
    assert histories.specs() == [SPEC[:16]]


# --- snapshots


def test_snapshot_comes_back_and_lies_where_it_is_documented(
    place: Place, histories: HistoryStore
) -> None:
    content = make_snapshot(1, 123_456)
    assert histories.create_snapshot(ERA, content) == "created"
    (name,) = HistoryStore(place.objects).snapshots(ERA, 1)
    assert name.key == f"history/{SPEC[:16]}/000003/p00001/00000000000000123456.snap"
    assert place.objects.keys("history/") == [name.key]
    found = histories.read_snapshot(ERA, name, WIDTHS)
    assert found is not None
    stored, snapshot = found
    assert stored == content
    expected = make_records(seed=1000 + 123_456)
    assert np.array_equal(snapshot.records.spaces["client"], expected.spaces["client"])
    facts = histories.read_facts(ERA, name)
    assert facts == (snapshot.header, snapshot.body)


def test_snapshots_are_listed_newest_first_and_up_to_an_offset(histories: HistoryStore) -> None:
    for offset in (100, 11, 2**62, 30):
        histories.create_snapshot(next_era(ERA), make_snapshot(0, offset, era=next_era(ERA)))
        histories.create_snapshot(ERA, make_snapshot(2, 30 + offset))
    assert offsets(histories, 2) == [30 + 2**62, 130, 60, 41]
    assert offsets(histories, 2, at_most=130) == [130, 60, 41]
    assert offsets(histories, 2, at_most=129) == [60, 41]
    assert offsets(histories, 1) == []
    listed = histories.all_snapshots(ERA)
    assert {p: [n.next_offset for n in names] for p, names in listed.items()} == {
        2: [30 + 2**62, 130, 60, 41]
    }


def test_second_writer_of_the_same_state_gets_that_answer(histories: HistoryStore) -> None:
    first = make_snapshot(writer="one")
    assert histories.create_snapshot(ERA, first) == "created"
    later = make_snapshot(writer="two", created=NOW + timedelta(seconds=9), compression="none")
    assert histories.create_snapshot(ERA, later) == "same"
    (name,) = histories.snapshots(ERA, 1)
    found = histories.read_snapshot(ERA, name, WIDTHS)
    assert found is not None
    assert found[0] == first


@pytest.mark.parametrize("change", ["record", "clock", "check sum"])
def test_second_writer_of_another_state_gets_that_answer(
    histories: HistoryStore, change: str
) -> None:
    histories.create_snapshot(ERA, make_snapshot(records=make_records()))
    records = make_records()
    more: dict[str, Any] = {}
    if change == "record":
        records.spaces["card"][3, 4] += np.uint64(1)
    elif change == "clock":
        records = records._replace(clock=records.clock + 1)
    else:
        more = {"check_sum": 5}
    before = offsets(histories)
    assert histories.create_snapshot(ERA, make_snapshot(records=records, **more)) == "different"
    assert offsets(histories) == before


def test_racing_writers_of_one_state_all_succeed(place: Place) -> None:
    def write(racer: int) -> str:
        store = HistoryStore(place.objects)
        content = make_snapshot(writer=f"racer {racer}")
        start.wait(timeout=120)
        return store.create_snapshot(ERA, content)

    start = threading.Barrier(RACERS)
    with ThreadPoolExecutor(RACERS) as pool:
        written = sorted(pool.map(write, range(RACERS)))
    assert written == ["created"] + ["same"] * (RACERS - 1)


def test_what_is_no_snapshot_of_this_era_is_replaced(
    place: Place, histories: HistoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A build that was given up leaves snapshots of an era that never was."""
    given_up = next_era(ERA)
    begun = replace(given_up, id="e" * 32)
    assert histories.create_snapshot(given_up, make_snapshot(era=given_up)) == "created"
    content = make_snapshot(era=begun)
    assert histories.create_snapshot(begun, content) == "created"
    assert "of an era 4 that was never created" in caplog.text
    key = begun.snapshot(1, 25).key
    alter(place, key, lambda _: b"garbage")
    assert histories.create_snapshot(begun, content) == "created"
    assert "it is replaced by a new one" in caplog.text
    assert histories.create_snapshot(begun, content) == "same"


def test_snapshot_of_another_era_is_not_written(histories: HistoryStore) -> None:
    with pytest.raises(ArtifactCorrupt, match="the new snapshot cannot be used: it is of era 3"):
        histories.create_snapshot(next_era(ERA), make_snapshot())
    with pytest.raises(ArtifactCorrupt, match="the new snapshot cannot be used"):
        histories.create_snapshot(ERA, b"no snapshot")


def test_deleted_snapshot_is_none(histories: HistoryStore) -> None:
    name = ERA.snapshot(1, 25)
    assert histories.read_snapshot(ERA, name, WIDTHS) is None
    assert histories.read_facts(ERA, name) is None


def test_candidates_pass_over_what_is_damaged(
    place: Place, histories: HistoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    for offset in (20, 30, 40, 50, 60):
        histories.create_snapshot(ERA, make_snapshot(1, offset))
    alter(place, ERA.snapshot(1, 50).key, lambda content: content[:-5])
    place.objects.overwrite(ERA.snapshot(1, 40).key, make_snapshot(1, 41))
    damaged: list[ArtifactCorrupt] = []
    found = [
        snapshot.header.next_offset
        for _, snapshot in histories.candidates(ERA, 1, 59, WIDTHS, damaged.append)
    ]
    assert found == [30, 20]
    assert "p00001/00000000000000000050.snap" in str(damaged[0])
    assert "it is of offset 41" in str(damaged[1])
    ours = [r.levelname for r in caplog.records if r.name.endswith("history_store")]
    assert ours == ["WARNING"] * 2


def test_candidates_are_read_only_when_they_are_asked_for(
    place: Place, histories: HistoryStore
) -> None:
    for offset in (20, 30):
        histories.create_snapshot(ERA, make_snapshot(1, offset))
    found = histories.candidates(ERA, 1, 100, WIDTHS)
    assert next(found)[1].header.next_offset == 30
    place.objects.remove(ERA.snapshot(1, 20).key)
    assert list(found) == []


def test_large_snapshot_is_stored_in_one_piece(histories: HistoryStore) -> None:
    """Ten megabytes here; the limit is two gigabytes."""
    words = np.zeros((100_000, 12), np.uint64)
    words[:, 0] = np.arange(100_000)
    words[:, 1:] = np.random.default_rng(1).integers(0, 2**64, (100_000, 11), dtype=np.uint64)
    records = PartitionRecords(5, {"client": words, "card": make_records(3).spaces["card"]})
    content = make_snapshot(records=records, compression="none", check_sum=1)
    assert len(content) > 9_600_000
    histories.create_snapshot(ERA, content)
    (found,) = histories.candidates(ERA, 1, 100, WIDTHS)
    assert found[0] == content
    assert np.array_equal(found[1].records.spaces["client"], words)


# --- deleting


def test_pruning_keeps_the_newest_and_the_first_of_each_day(
    place: Place, histories: HistoryStore
) -> None:
    for offset in range(20, 90, 10):  # three a day, from two days ago to today
        created = NOW - timedelta(days=2) + timedelta(hours=8 * (offset // 10 - 2))
        histories.create_snapshot(ERA, make_snapshot(1, offset, created=created))
    assert offsets(histories) == [80, 70, 60, 50, 40, 30, 20]
    histories.create_snapshot(ERA, make_snapshot(2, 40, created=NOW - timedelta(days=99)))
    removed = histories.prune(ERA, 1, 80, keep_days=35, now=NOW)
    # 20 is the first of the 29th, 40 of the 30th, 70 of the 31st.
    assert [name.next_offset for name in removed] == [50, 30]
    assert offsets(histories) == [80, 70, 60, 40, 20]
    again = HistoryStore(place.objects)
    assert again.prune(ERA, 1, 80, keep_days=35, now=NOW) == []
    removed = again.prune(ERA, 1, 80, keep_days=1, now=NOW + timedelta(days=1))
    assert [name.next_offset for name in removed] == [40, 20]
    assert offsets(again, 2) == [40]


def test_snapshots_of_ended_eras_are_deleted_when_they_are_old(histories: HistoryStore) -> None:
    later = next_era(next_era(ERA))
    for days, offset in ((50, 20), (36, 30), (20, 40)):
        created = NOW - timedelta(days=days)
        histories.create_snapshot(ERA, make_snapshot(1, offset, created=created))
        histories.create_snapshot(later, make_snapshot(1, offset, era=later, created=created))
    histories.create_snapshot(ERA, make_snapshot(2, 77, created=NOW - timedelta(days=35)))
    removed = histories.prune_ended(later, keep_days=35, now=NOW)
    assert sorted((n.era, n.partition, n.next_offset) for n in removed) == [
        (3, 1, 20), (3, 1, 30), (3, 2, 77)
    ]  # fmt: skip
    assert offsets(histories) == [40]
    assert [name.next_offset for name in histories.snapshots(later, 1)] == [40, 30, 20]
    assert histories.prune_ended(ERA, keep_days=0, now=NOW) == []


# --- seeds


def test_seed_is_named_by_its_content(place: Place, histories: HistoryStore) -> None:
    content = make_seed()
    sha256 = histories.write_seed(content)
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert place.objects.keys("history/") == [f"history/seeds/{sha256}.seed"]
    assert histories.write_seed(content) == sha256
    seed = HistoryStore(place.objects).read_seed(SPEC, sha256, WIDTHS)
    assert seed.header.as_of == 86_400
    expected = make_records(seed=99).spaces["client"]
    assert np.array_equal(seed.records.spaces["client"], expected)
    assert histories.specs() == []


def test_damaged_seed_is_refused_and_written_again(place: Place, histories: HistoryStore) -> None:
    content = make_seed()
    sha256 = histories.write_seed(content)
    alter(place, f"history/seeds/{sha256}.seed", lambda content: edit_header(content, as_of=5))
    with pytest.raises(ArtifactCorrupt, match=r"\.seed in .*not the one it is named by; copy it"):
        histories.read_seed(SPEC, sha256, WIDTHS)
    histories.write_seed(content)
    assert histories.read_seed(SPEC, sha256, WIDTHS).header.as_of == 86_400


def test_seed_that_is_missing_or_of_another_spec_is_named(histories: HistoryStore) -> None:
    with pytest.raises(
        StoreError, match=r"there is no history/seeds/abab.*publish the model again"
    ):
        histories.read_seed(SPEC, "ab" * 32, WIDTHS)
    with pytest.raises(ValueError, match=r"not the sha256 of a seed: '\.\./\.\./"):
        histories.read_seed(SPEC, "../../models/v1/model.pkl", WIDTHS)
    sha256 = histories.write_seed(make_seed(spec="f" * 64))
    with pytest.raises(ArtifactCorrupt, match=r"of other history features \(spec ffffffffffffffff"):
        histories.read_seed(SPEC, sha256, WIDTHS)
