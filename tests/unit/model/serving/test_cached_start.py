"""A start with a cached bundle that was rejected while the scorer was down."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from stream_scorer.model.serving.cache import BundleCache
from stream_scorer.model.serving.watcher import ModelWatcher
from stream_scorer.model.store.memory_store import MemoryStore, StoreFault
from tests.support.factories import publish

ALWAYS = 10**6


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    """A store whose only version is cached and then rejected."""
    store = MemoryStore()
    publish(store)
    ModelWatcher(store, BundleCache(tmp_path)).tick()
    assert BundleCache(tmp_path).load() is not None
    store.reject("v1", {"why": "test"})
    return store


def start(store: MemoryStore, folder: Path) -> ModelWatcher:
    watcher = ModelWatcher(store, BundleCache(folder))
    watcher.tick()
    return watcher


@pytest.mark.parametrize("broken", ["read manifests/latest.txt", "read models/*"])
def test_rejected_version_does_not_serve_if_the_store_can_say_so(
    store: MemoryStore, tmp_path: Path, broken: str
) -> None:
    store.script(StoreFault("unavailable", broken, times=ALWAYS))
    assert start(store, tmp_path).current is None


def test_rejected_version_does_not_serve_without_a_pointer(
    store: MemoryStore, tmp_path: Path
) -> None:
    store.objects.remove("manifests/latest.txt")
    assert start(store, tmp_path).current is None


def test_rejected_version_leaves_the_cache(store: MemoryStore, tmp_path: Path) -> None:
    start(store, tmp_path)
    assert BundleCache(tmp_path).load() is None


def test_version_serves_with_a_warning_while_the_store_is_down(
    store: MemoryStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.script(StoreFault("unavailable", times=ALWAYS))
    with caplog.at_level(logging.WARNING):
        bundle = start(store, tmp_path).current
    assert bundle is not None
    assert bundle.version == "v1"
    assert "serving the cached model; the store cannot say whether it is rejected" in caplog.text
