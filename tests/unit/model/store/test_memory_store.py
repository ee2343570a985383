"""The in-memory store's faults, and how the store's rules handle them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from stream_scorer.errors import StoreError
from stream_scorer.model.store.memory_store import MemoryObjects, MemoryStore, StoreFault
from tests.support.stores import latest_copy, rest


def test_lost_response_to_the_claim_leaves_a_gap() -> None:
    store = MemoryStore()
    store.script(StoreFault("lost", "create models/v1/model.pkl"))
    with pytest.raises(StoreError, match="lost"):
        store.publish(b"m", rest)
    assert store.publish(b"m", rest) == "v2"
    assert store.versions() == ["v2"]


def test_promotion_succeeds_even_if_the_copy_fails(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    store.publish(b"m", rest)
    store.script(StoreFault("unavailable", "overwrite models/latest/*"))
    assert store.promote("v1", None) == store.current()
    assert "could not copy v1 to models/latest/" in caplog.text


def test_fault_applies_once_and_only_to_matching_operations() -> None:
    store = MemoryStore()
    store.publish(b"model", rest)
    store.script(
        StoreFault("unavailable", "read */model.pkl", times=2), StoreFault("torn", "read *.pkl")
    )
    for _ in range(2):
        with pytest.raises(StoreError, match=r"unavailable \(read models/v1/model.pkl\)"):
            store.fetch("v1")
    assert store.versions() == ["v1"]
    assert store.fetch("v1")["model.pkl"] == b"mo"
    assert store.fetch("v1")["model.pkl"] == b"model"


def test_slow_store_waits_for_its_gate() -> None:
    store, gate = MemoryStore(), threading.Event()
    store.script(StoreFault("slow", "keys *", wait=lambda: gate.wait(30)))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(store.versions)
        assert not slow.done()
        gate.set()
        assert slow.result(timeout=30) == []


def test_pointer_that_moves_during_the_copy_is_followed() -> None:
    objects = MemoryObjects()
    store, other = MemoryStore(objects), MemoryStore(objects)
    store.publish(b"m1", rest)
    store.publish(b"m2", rest)

    def overtake() -> None:
        other.promote("v2", other.current())

    store.script(StoreFault("slow", "overwrite models/latest/metadata.json", wait=overtake))
    store.promote("v1", None)
    assert latest_copy(objects) == store.fetch("v2")


@pytest.mark.parametrize("lost", ["preprocessor.pkl", "metadata.json.sig", "metadata.json"])
def test_metadata_is_written_after_everything_else(lost: str) -> None:
    def signed(version: str) -> dict[str, bytes]:
        return {"metadata.json.sig": b"signature"} | rest(version)

    store = MemoryStore()
    store.script(StoreFault("unavailable", f"create models/v1/{lost}"))
    with pytest.raises(StoreError, match="unavailable"):
        store.publish(b"m", signed)
    assert "models/v1/metadata.json" not in store.objects.keys("models/v1/")
    assert store.versions() == []
