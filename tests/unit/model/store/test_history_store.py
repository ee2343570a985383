"""Card histories on a store that fails, ignores conditions, or is large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from stream_scorer.errors import ArtifactCorrupt, SettingsError, StoreError
from stream_scorer.features.history.header import HEADER_MAX_BYTES
from stream_scorer.model.store import history_store
from stream_scorer.model.store.history_names import seed_key
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.memory_store import MemoryObjects, StoreFault
from stream_scorer.model.store.objects import StoredObject
from stream_scorer.model.store.opening import open_history_store, open_store
from tests.support.history.snapshots import (
    ERA,
    NOW,
    SPEC,
    WIDTHS,
    make_seed,
    make_snapshot,
    next_era,
)
from tests.support.stores import rest, store_settings


class CountingObjects(MemoryObjects):
    """Objects that remember what was read from them."""

    def __init__(self) -> None:
        super().__init__()
        self.heads: list[str] = []

    def read_head(self, key: str, count: int) -> bytes | None:
        self.heads.append(key)
        return super().read_head(key, count)


class CarelessObjects(MemoryObjects):
    """A storage that creates objects which already exist."""

    def create(self, key: str, content: bytes) -> bool:
        self.overwrite(key, content)
        return True


def test_conditions_are_tried_before_the_first_write_and_below_history() -> None:
    writes: list[Callable[[HistoryStore], object]] = [
        lambda store: store.create_era(next_era(ERA)),
        lambda store: store.create_snapshot(ERA, make_snapshot()),
        lambda store: store.write_seed(make_seed()),
    ]
    for write in writes:
        objects = CarelessObjects()
        objects.create(f"history/{SPEC[:16]}/eras/000003.json", b"x")
        with pytest.raises(StoreError, match="creates an object that already exists"):
            write(HistoryStore(objects))
        assert objects.keys("") == [f"history/{SPEC[:16]}/eras/000003.json"]


def test_scorers_need_no_rights_outside_of_history() -> None:
    objects = MemoryObjects()
    objects.script([StoreFault("unavailable", "* m*", times=100)])
    store = HistoryStore(objects)
    assert store.create_snapshot(ERA, make_snapshot()) == "created"
    store.prune(ERA, 1, 25, keep_days=1, now=NOW)
    assert all(key.startswith("history/") for key in objects.keys(""))


def test_write_whose_response_was_lost_succeeds_when_it_is_repeated() -> None:
    objects = MemoryObjects()
    store = HistoryStore(objects)
    store.create_snapshot(ERA, make_snapshot(1, 20))
    objects.script([StoreFault("lost", "create history/*.snap")])
    with pytest.raises(StoreError, match="was lost"):
        store.create_snapshot(ERA, make_snapshot(1, 30))
    assert store.create_snapshot(ERA, make_snapshot(1, 30)) == "same"


def test_torn_reads_are_refusals_and_not_another_state() -> None:
    objects = MemoryObjects()
    store = HistoryStore(objects, is_trusted=True)
    store.create_snapshot(ERA, make_snapshot(1, 20))
    (name,) = store.snapshots(ERA, 1)
    objects.script([StoreFault("torn", "read *.snap")])
    with pytest.raises(ArtifactCorrupt, match="bytes after its header, which announces"):
        store.read_snapshot(ERA, name, WIDTHS)
    assert store.read_snapshot(ERA, name, WIDTHS) is not None


def test_store_that_is_down_is_an_error_and_not_an_empty_store() -> None:
    objects = MemoryObjects()
    store = HistoryStore(objects)
    store.create_era(next_era(ERA))
    objects.script([StoreFault("unavailable", "*", times=100)])
    for call in (
        store.specs,
        lambda: store.latest_era(SPEC),
        lambda: store.snapshots(ERA, 1),
        lambda: next(store.candidates(ERA, 1, 100, WIDTHS)),
        lambda: store.create_snapshot(ERA, make_snapshot()),
        lambda: store.prune(ERA, 1, 0, keep_days=1, now=NOW),
        lambda: store.prune_ended(ERA, keep_days=1, now=NOW),
        lambda: store.read_seed(SPEC, "ab" * 32, WIDTHS),
    ):
        with pytest.raises(StoreError, match="unavailable"):
            call()


def test_headers_are_read_once_for_pruning(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = CountingObjects()
    for offset in range(20, 26):
        created = NOW - timedelta(days=26 - offset)
        HistoryStore(objects).create_snapshot(ERA, make_snapshot(1, offset, created=created))
    store = HistoryStore(objects)
    for _ in range(3):
        assert store.prune(ERA, 1, 25, keep_days=35, now=NOW) == []
    assert len(objects.heads) == 6
    store.create_snapshot(ERA, make_snapshot(1, 27))
    store.prune(ERA, 1, 27, keep_days=35, now=NOW)
    assert len(objects.heads) == 6  # it wrote that one itself
    monkeypatch.setattr(history_store, "REMEMBERED_MAX", 3)
    forgetful = HistoryStore(objects)
    for _ in range(2):
        forgetful.prune(ERA, 1, 27, keep_days=35, now=NOW)
    assert len(objects.heads) > 6 + 7


def test_headers_of_ended_eras_are_read_up_to_the_first_that_is_kept() -> None:
    objects = CountingObjects()
    store = HistoryStore(objects)
    for offset in range(20, 26):
        created = NOW - timedelta(days=40 - offset)
        store.create_snapshot(ERA, make_snapshot(1, offset, created=created))
    removed = store.prune_ended(next_era(ERA), keep_days=19, now=NOW)
    assert [name.next_offset for name in removed] == [20, 21]
    assert [key[-7:] for key in objects.heads] == ["20.snap", "21.snap", "22.snap"]


def test_snapshot_with_more_keys_than_the_era_allows_is_refused() -> None:
    store = HistoryStore(MemoryObjects())
    store.create_snapshot(ERA, make_snapshot())
    (name,) = store.snapshots(ERA, 1)
    assert store.read_snapshot(replace(ERA, max_keys=50), name, WIDTHS) is not None
    with pytest.raises(ArtifactCorrupt, match="it has 50 client keys; the limit is 49"):
        store.read_snapshot(replace(ERA, max_keys=49), name, WIDTHS)


def test_snapshot_whose_header_is_damaged_does_not_stop_pruning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    objects = MemoryObjects()
    store = HistoryStore(objects)
    for offset in (20, 21, 22, 23, 24):
        created = NOW - timedelta(days=99)
        store.create_snapshot(ERA, make_snapshot(1, offset, created=created))
    objects.overwrite(ERA.snapshot(1, 23).key, b"damaged")
    removed = HistoryStore(objects).prune(ERA, 1, 24, keep_days=35, now=NOW)
    assert [name.next_offset for name in removed] == [20]
    assert "000023.snap in memory:// cannot be used" in caplog.text


def test_snapshot_that_others_delete_again_and_again_is_given_up() -> None:
    class Vanishing(MemoryObjects):
        def create(self, _: str, __: bytes) -> bool:
            return False

    store = HistoryStore(Vanishing(), is_trusted=True)
    with pytest.raises(StoreError, match="was written or deleted by others 3 times"):
        store.create_snapshot(ERA, make_snapshot())


def test_seed_too_large_for_any_reader_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_scorer.model.store.history_seeds.STORED_MAX_BYTES", 1000)
    with pytest.raises(StoreError, match="the limit is 1000"):
        HistoryStore(MemoryObjects()).write_seed(make_seed())


def test_histories_are_in_the_store_of_the_models(tmp_path: Path) -> None:
    settings = store_settings(model_store_uri=tmp_path.as_uri())
    histories = open_history_store(settings)
    assert histories.where == open_store(settings).where
    histories.create_snapshot(ERA, make_snapshot())
    assert open_store(settings).publish(b"m", rest) == "v1"
    assert open_store(settings).versions() == ["v1"]
    folder = tmp_path / "history" / SPEC[:16] / "000003/p00001"
    assert [path.name for path in folder.iterdir()] == ["00000000000000000025.snap"]
    with pytest.raises(SettingsError, match="MODEL_STORE_URI"):
        open_history_store(store_settings(model_store_uri="s3:///prefix"))
    s3 = open_history_store(store_settings(model_store_uri="s3://bucket/a/"))
    assert s3.where == "s3://bucket/a"


class MeasuredObjects(MemoryObjects):
    """Objects that remember how many bytes were read at most at once."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def read(
        self, key: str, max_bytes: int, known: StoredObject | None = None
    ) -> StoredObject | None:
        found = super().read(key, max_bytes, known)
        self.most = max(self.most, len(found.content) if found else 0)
        return found

    def read_head(self, key: str, count: int) -> bytes | None:
        found = super().read_head(key, count)
        self.most = max(self.most, len(found or b""))
        return found


def test_no_more_is_read_of_a_snapshot_or_seed_than_its_header_announced() -> None:
    objects = MeasuredObjects()
    store, snapshot, seed = HistoryStore(objects, is_trusted=True), make_snapshot(), make_seed()
    name, digest = ERA.snapshot(1, 25), store.write_seed(seed)
    assert store.create_snapshot(ERA, snapshot) == "created"
    facts = store.read_facts(ERA, name)
    assert facts is not None
    body, of_seed = facts.body, store.read_seed_facts(digest).body
    found = store.read_snapshot(ERA, name, WIDTHS, body)
    assert found is not None
    assert found[0] == snapshot
    assert store.read_seed(SPEC, digest, WIDTHS, of_seed).body == of_seed
    for key, content in ((name.key, snapshot), (seed_key(digest), seed)):
        objects.overwrite(key, content + bytes(10**6))
    objects.most = 0
    with pytest.raises(ArtifactCorrupt):
        store.read_snapshot(ERA, name, WIDTHS, body)
    with pytest.raises(ArtifactCorrupt):
        store.read_seed(SPEC, digest, WIDTHS, of_seed)
    assert objects.most <= HEADER_MAX_BYTES + max(body.stored_bytes, of_seed.stored_bytes)
    with pytest.raises(StoreError, match="there is no"):
        store.read_seed_facts("0" * 64)
