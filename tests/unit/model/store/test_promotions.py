"""Rollback paths through the history of promotions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.errors import StoreConflict, StoreError
from stream_scorer.model.store.memory_store import MemoryStore, StoreFault
from stream_scorer.model.store.port import Pointer
from stream_scorer.model.store.promotion_log import REREAD_LAST, SEARCH_LAST
from stream_scorer.model.store.promotions import (
    Override,
    Promotion,
    last_promotion,
    parse_promotion,
    predecessors,
)
from stream_scorer.model.store.succession import find_succession
from tests.support.stores import rest


def history(*moves: str) -> list[Promotion]:
    """``v1>v2`` is a promotion of v2 over v1, ``v2<v1`` a rollback to v1."""
    made = []
    for move in moves:
        is_rollback = "<" in move
        previous, version = move.replace("<", ">").split(">")
        made.append(Promotion(version, previous or None, is_rollback))
    return made


@pytest.mark.parametrize(
    ("moves", "pointer", "expected"),
    [
        ([], "v3", []),
        ([">v1"], "v1", []),
        ([">v1", "v1>v2", "v2>v3"], "v3", ["v2", "v1"]),
        # Numbers do not matter: v1 was the last promotion before v4.
        ([">v1", "v1>v3", "v3>v1", "v1>v4"], "v4", ["v1", "v3"]),
        # The history starts when versions already exist.
        (["v7>v8"], "v8", ["v7"]),
        # A version that was rolled back is no longer on the path.
        ([">v1", "v1>v2", "v2>v3", "v3<v2"], "v2", ["v1"]),
        ([">v1", "v1>v2", "v2>v3", "v3<v2", "v2<v1"], "v1", []),
        ([">v1", "v1>v2", "v2>v3", "v3<v2", "v2>v4"], "v4", ["v2", "v1"]),
        (["v5<v4"], "v4", ["v5"]),
        # Records of promotions that lost the race are not on the path.
        ([">v1", "v1>v2", "v1>v3", "v2>v4"], "v4", ["v2", "v1"]),
        ([">v1", "v1>v9", "v1>v2"], "v2", ["v1"]),
        # The pointer was written by hand.
        ([">v1", "v1>v2"], "v5", ["v2", "v1"]),
    ],
)
def test_predecessors_are_the_versions_promoted_before(
    moves: list[str], pointer: str, expected: list[str]
) -> None:
    assert predecessors(history(*moves), pointer) == expected


versions = st.integers(1, 5).map(lambda n: f"v{n}")


@given(
    st.lists(st.builds(Promotion, versions, st.none() | versions, st.booleans()), max_size=30),
    versions,
)
def test_any_history_gives_distinct_other_versions(
    promotions: list[Promotion], pointer: str
) -> None:
    found = predecessors(promotions, pointer)
    assert len(set(found)) == len(found)
    assert pointer not in found
    named = {p.version for p in promotions} | {p.previous for p in promotions}
    assert set(found) <= named


@pytest.mark.parametrize(
    "record", [{}, {"version": 1}, {"version": "../v1"}, {"version": "v1", "previous": "latest"}]
)
def test_record_without_a_promotion_is_none(record: dict[str, object]) -> None:
    assert parse_promotion(record) is None


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, None),
        ({"forced": False, "by": "alice", "reason": "why"}, None),
        ({"forced": "yes", "by": "alice"}, None),
        ({"forced": True}, Override("", "")),
        ({"forced": True, "by": "alice@desk", "reason": "why"}, Override("alice@desk", "why")),
        ({"forced": True, "by": 3, "reason": "\x1b[0m"}, Override("3", r"\x1b[0m")),
        ({"forced": True, "by": "b" * 999, "reason": "r" * 999}, Override("b" * 100, "r" * 500)),
    ],
)
def test_override_is_optional_in_a_record_short_and_escaped(
    more: dict[str, object], expected: Override | None
) -> None:
    promotion = parse_promotion({"version": "v2", "previous": "v1", **more})
    assert promotion is not None
    assert (promotion.version, promotion.override) == ("v2", expected)


def test_last_promotion_of_a_version_counts() -> None:
    store = filled(2)
    alice = Override("alice@desk", "why")
    store.promote("v1", None, override=alice)
    store.promote("v2", store.current())
    assert store.last_promotion("v1") == store.history()[0]
    store.promote("v1", store.current())
    for found in (store.last_promotion("v1"), last_promotion(store.history(), "v1")):
        assert found is not None
        assert (found.previous, found.override) == ("v2", None)
    assert store.last_promotion("v9") is None


def test_search_for_the_last_promotion_is_bounded() -> None:
    store = filled(3)
    store.promote("v3", None)
    for number in range(SEARCH_LAST):
        store.promote(("v1", "v2")[number % 2], store.current())
    assert store.last_promotion("v3") is None
    assert store.last_promotion("v2") is not None


def test_force_is_recorded_even_if_the_pointer_stays() -> None:
    store = filled(1)
    first = store.promote("v1", None)
    store.promote("v1", first)
    assert len(store.history()) == 1
    store.promote("v1", store.current(), override=Override("alice@desk", "why"))
    assert [(p.previous, p.override is None) for p in store.history()] == [
        (None, True), ("v1", False),
    ]  # fmt: skip
    assert find_succession(store, "v1", {}).versions == ()


def filled(n: int) -> MemoryStore:
    store = MemoryStore()
    for _ in range(n):
        store.publish(b"m", rest)
    return store


def test_promotion_that_lost_the_race_deletes_its_record() -> None:
    store = filled(3)
    first = store.promote("v1", None)
    MemoryStore(store.objects).promote("v2", first)
    with pytest.raises(StoreConflict):
        store.promote("v3", first)
    assert [p.version for p in store.history()] == ["v1", "v2"]


def test_record_of_a_promoter_that_died_before_moving_the_pointer_is_harmless() -> None:
    store = filled(3)
    first = store.promote("v1", None)
    store.script(StoreFault("unavailable", "replace manifests/latest.txt"))
    with pytest.raises(Exception, match="unavailable"):
        store.promote("v2", first)
    assert find_succession(store, "v1", {}).versions == ()
    store.promote("v3", store.current())
    assert find_succession(store, "v3", {}).versions == ("v1",)


def test_promoter_that_dies_after_the_pointer_moved_is_in_the_history() -> None:
    store = filled(3)
    first = store.promote("v1", None)
    store.script(StoreFault("lost", "replace manifests/latest.txt"))
    with pytest.raises(Exception, match="lost"):
        store.promote("v2", first)
    store.promote("v3", store.current())
    assert find_succession(store, "v3", {}).versions == ("v2", "v1")


def test_rejected_and_deleted_versions_are_left_out() -> None:
    store = filled(4)
    for version in ("v1", "v2", "v3", "v4"):
        store.promote(version, store.current())
    store.objects.remove("models/v2/metadata.json")
    assert find_succession(store, "v4", {"v3": {}}).versions == ("v1",)


def with_a_record_to_take_back() -> tuple[MemoryStore, MemoryStore, Pointer]:
    """Four versions; v1 is promoted; v2's promotion stopped after its record, which was read."""
    store = filled(4)
    reader = MemoryStore(store.objects)
    first = store.promote("v1", None)
    store.script(StoreFault("unavailable", "replace manifests/latest.txt"))
    with pytest.raises(Exception, match="unavailable"):
        store.promote("v2", first)
    assert [p.version for p in reader.history()] == ["v1", "v2"]
    return store, reader, first


def test_record_deleted_and_rewritten_by_another_promoter_is_read_again() -> None:
    store, reader, first = with_a_record_to_take_back()
    store.objects.remove("manifests/history/000002.json")
    store.promote("v3", first)
    assert [p.version for p in reader.history()] == ["v1", "v3"]
    assert find_succession(reader, "v3", {}).versions == ("v1",)


def test_number_of_a_deleted_version_is_not_reused() -> None:
    store = filled(2)
    store.promote("v2", store.promote("v1", None))
    store.accept("v3", {})
    for name in ("model.pkl", "preprocessor.pkl", "metadata.json"):
        store.objects.remove(f"models/v2/{name}")
    assert store.publish(b"m", rest) == "v4"


def test_deleted_record_that_was_not_the_last_is_read_again() -> None:
    store = filled(4)
    reader = MemoryStore(store.objects)
    first = store.promote("v1", None)
    for version in ("v2", "v3"):  # both lose the race: their records exist until they notice
        store.script(StoreFault("unavailable", "replace manifests/latest.txt"))
        with pytest.raises(Exception, match="unavailable"):
            store.promote(version, first)
    assert [p.version for p in reader.history()] == ["v1", "v2", "v3"]
    for number in (2, 3):
        store.objects.remove(f"manifests/history/00000{number}.json")
    store.promote("v3", store.promote("v4", first))
    assert [p.version for p in reader.history()] == ["v1", "v4", "v3"]


def test_last_record_is_read_again_even_if_others_follow_it() -> None:
    store, reader, first = with_a_record_to_take_back()
    store.objects.remove("manifests/history/000002.json")
    store.promote("v4", store.promote("v3", first))
    assert [p.version for p in reader.history()] == ["v1", "v3", "v4"]
    assert find_succession(reader, "v4", {"v3": {}}).versions == ("v1",)


def test_records_before_the_last_few_are_read_once() -> None:
    store = filled(2)
    reader = MemoryStore(store.objects)
    for number in range(REREAD_LAST + 4):
        store.promote(("v1", "v2")[number % 2], store.current())
    before = reader.history()
    reader.script(StoreFault("torn", "read manifests/history/00000[1-4].json"))
    assert reader.history() == before
    reader.script(StoreFault("unavailable", "read manifests/history/00000[5-9].json"))
    with pytest.raises(StoreError, match="unavailable"):
        reader.history()
