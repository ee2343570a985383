"""Hot reload with the in-memory store: the newest good version serves, whatever the store does."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.model.bundle import build_files
from stream_scorer.model.serving.cache import BundleCache
from stream_scorer.model.serving.options import WatcherOptions
from stream_scorer.model.serving.watcher import ModelWatcher
from stream_scorer.model.signing import generate_key_pair, parse_trusted_keys
from stream_scorer.model.store.memory_store import MemoryStore, StoreFault
from tests.support.factories import make_draft, publish
from tests.support.waiting import wait_until

DOWN = StoreFault("unavailable", times=10**6)


@dataclass
class Watched:
    """A store, a watcher of it, and what the watcher reported."""

    store: MemoryStore
    folder: Path
    loads: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)

    def watcher(self, store: MemoryStore | None = None, **how: Any) -> ModelWatcher:
        return ModelWatcher(
            store or self.store,
            BundleCache(self.folder),
            WatcherOptions(**how),
            on_load=lambda version, _: self.loads.append(version),
            on_failure=lambda version, reason: self.failures.append((version, reason)),
        )


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(MemoryStore(), tmp_path / "cache")


def serving(watcher: ModelWatcher) -> str | None:
    return watcher.current.version if watcher.current else None


def corrupt(store: MemoryStore, version: str, name: str = "model.pkl") -> None:
    """Change one byte of a stored file."""
    key = f"models/{version}/{name}"
    found = store.objects.read(key, 10**9)
    assert found is not None
    content = bytearray(found.content)
    content[0] ^= 1  # in metadata.json not every byte matters
    store.objects.overwrite(key, bytes(content))


def publish_with(store: MemoryStore, facts: Mapping[str, Any]) -> str:
    """Publish a version without moving the pointer."""
    return store.publish(*build_files(replace(make_draft(), facts=facts)))


def down() -> MemoryStore:
    store = MemoryStore()
    store.script(DOWN)
    return store


def test_nothing_is_served_before_the_first_promotion(watched: Watched) -> None:
    watcher = watched.watcher()
    watcher.tick()
    assert serving(watcher) is None
    assert "no version is promoted" in (watcher.status.problem or "")
    assert watcher.status.checked_at is not None
    publish(watched.store)
    watcher.tick()
    assert serving(watcher) == "v1"
    assert watcher.status.problem is None
    assert watcher.status.load_seconds is not None


def test_promoted_version_takes_over_at_the_next_check_and_is_loaded_once(watched: Watched) -> None:
    publish(watched.store)
    watcher = watched.watcher()
    for _ in range(3):
        watcher.tick()
    publish(watched.store, seed=2)
    for _ in range(3):
        watcher.tick()
    assert serving(watcher) == "v2"
    assert watched.loads == ["v1", "v2"]
    assert watched.failures == []


def test_published_but_not_promoted_version_is_not_served(watched: Watched) -> None:
    publish(watched.store)
    publish_with(watched.store, {})
    watcher = watched.watcher()
    watcher.tick()
    assert serving(watcher) == "v1"


@pytest.mark.parametrize("name", ["model.pkl", "preprocessor.pkl", "metadata.json"])
def test_corrupt_version_does_not_replace_the_old_one_and_is_reported_once(
    watched: Watched, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    publish(watched.store)
    publish(watched.store, seed=2)
    watcher = watched.watcher()
    watcher.tick()
    publish(watched.store, seed=3)
    corrupt(watched.store, "v3", name)
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            watcher.tick()
    assert serving(watcher) == "v2"
    assert [version for version, _ in watched.failures] == ["v3"]
    assert [r.message for r in caplog.records if r.levelno == logging.ERROR] == ["model refused"]
    assert len(caplog.records) <= 2
    assert set(watcher.status.refused or {}) == {"v3"}
    # The problem is still reported at the last check.
    assert "version v3 is refused" in (watcher.status.problem or "")


def test_version_after_a_corrupt_one_takes_over(watched: Watched) -> None:
    publish(watched.store)
    watcher = watched.watcher()
    watcher.tick()
    publish(watched.store, seed=2)
    corrupt(watched.store, "v2")
    watcher.tick()
    publish(watched.store, seed=3)
    watcher.tick()
    assert serving(watcher) == "v3"
    assert watcher.status.problem is None


def test_version_whose_read_was_truncated_is_retried(watched: Watched) -> None:
    publish(watched.store)
    watched.store.script(StoreFault("torn", "read models/v1/model.pkl"))
    watcher = watched.watcher(retry_refused_seconds=0.0)
    watcher.tick()
    assert serving(watcher) is None
    assert [version for version, _ in watched.failures] == ["v1"]
    watcher.tick()
    assert serving(watcher) == "v1"


def test_refused_version_is_reported_once_however_often_it_is_retried(watched: Watched) -> None:
    publish(watched.store)
    corrupt(watched.store, "v1")
    watcher = watched.watcher(retry_refused_seconds=0.0)
    for _ in range(3):
        watcher.tick()
    assert [version for version, _ in watched.failures] == ["v1"]


def test_unsigned_version_is_refused_if_keys_are_set(watched: Watched) -> None:
    publish(watched.store)
    keys = parse_trusted_keys(generate_key_pair().public_base64)
    watcher = watched.watcher(trusted_keys=keys)
    watcher.tick()
    assert serving(watcher) is None
    assert "not signed" in watched.failures[0][1]


def test_store_outage_and_recovery(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    publish(watched.store)
    watcher = watched.watcher()
    watcher.tick()
    publish(watched.store, seed=2)
    watched.store.script(StoreFault("unavailable", times=3))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            watcher.tick()
    assert serving(watcher) == "v1"
    assert "artifact store: the store is unavailable" in (watcher.status.problem or "")
    assert len(caplog.records) == 1  # one outage, one log line
    watcher.tick()
    assert serving(watcher) == "v2"
    assert watcher.status.problem is None


def test_store_that_fails_halfway_through_a_version(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    publish(watched.store)
    watcher = watched.watcher()
    watcher.tick()
    publish(watched.store, seed=2)
    watched.store.script(StoreFault("unavailable", "read models/v2/*", times=3))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            watcher.tick()
    assert serving(watcher) == "v1"
    assert len(caplog.records) == 1
    assert watched.failures == []  # the store's fault, not the version's
    watcher.tick()
    assert serving(watcher) == "v2"


def test_start_with_the_store_down_serves_the_cached_bundle(watched: Watched) -> None:
    publish(watched.store)
    watched.watcher().tick()
    watcher = watched.watcher(down())
    watcher.tick()
    assert serving(watcher) == "v1"
    assert watcher.status.checked_at is None
    assert "artifact store" in (watcher.status.problem or "")


def test_start_with_the_store_down_and_no_cache_serves_nothing(watched: Watched) -> None:
    watcher = watched.watcher(down())
    watcher.tick()
    assert serving(watcher) is None


def test_cached_bundle_is_replaced_once_the_store_is_back(watched: Watched) -> None:
    publish(watched.store)
    watched.watcher().tick()
    publish(watched.store, seed=2)
    watched.store.script(StoreFault("unavailable"))
    watcher = watched.watcher()
    watcher.tick()
    assert serving(watcher) == "v1"
    watcher.tick()
    assert serving(watcher) == "v2"


def damage_cache(folder: Path, version: str) -> None:
    for entry in folder.glob(f"*-{version}"):
        (entry / "model.pkl").write_bytes(b"rotten")


def test_damaged_cache_entry_falls_back_to_the_previous_one(watched: Watched) -> None:
    publish(watched.store)
    first = watched.watcher()
    first.tick()
    publish(watched.store, seed=2)
    first.tick()
    damage_cache(watched.folder, "v2")
    watcher = watched.watcher(down())
    watcher.tick()
    assert serving(watcher) == "v1"


def test_damaged_cache_does_not_affect_the_stores_version(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    publish(watched.store)
    watched.watcher().tick()
    damage_cache(watched.folder, "v1")
    watched.store.script(StoreFault("unavailable", times=3))
    watcher = watched.watcher()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            watcher.tick()
    assert serving(watcher) is None
    assert sum("cannot load the cached model" in r.message for r in caplog.records) == 1
    watcher.tick()
    assert serving(watcher) == "v1"
    assert watched.failures == []


def test_corrupt_version_at_start_leaves_the_cached_one_serving(watched: Watched) -> None:
    publish(watched.store)
    watched.watcher().tick()
    publish(watched.store, seed=2)
    corrupt(watched.store, "v2")
    watcher = watched.watcher()
    watcher.tick()
    assert serving(watcher) == "v1"
    assert "version v2 is refused" in (watcher.status.problem or "")


def test_rejected_pointer_falls_back_to_the_previous_version(watched: Watched) -> None:
    for seed in (1, 2, 3):
        publish(watched.store, seed=seed)
    watched.store.reject("v3", {"why": "test"})
    watched.store.reject("v2", {"why": "test"})
    watcher = watched.watcher()
    watcher.tick()
    assert serving(watcher) == "v1"
    assert watcher.status.problem is None


def test_version_rejected_while_it_serves_is_rolled_back(watched: Watched) -> None:
    publish(watched.store)
    publish(watched.store, seed=2)
    watcher = watched.watcher()
    watcher.tick()
    watched.store.reject("v2", {"why": "test"})
    for _ in range(2):
        watcher.tick()
    assert serving(watcher) == "v1"
    publish(watched.store, seed=3)
    watcher.tick()
    assert serving(watcher) == "v3"
    assert watched.loads == ["v2", "v1", "v3"]


def test_rejected_pointer_does_not_fall_back_to_a_version_that_failed_its_gate(
    watched: Watched,
) -> None:
    publish(watched.store)
    publish_with(watched.store, {"gate": {"passed": False}})
    publish(watched.store, seed=3)
    watched.store.reject("v3", {"why": "test"})
    watcher = watched.watcher()
    for _ in range(2):
        watcher.tick()
    assert serving(watcher) == "v1"
    assert watched.failures == []


def test_version_that_failed_its_gate_is_served_once_promoted(
    watched: Watched,
) -> None:
    publish(watched.store)
    publish_with(watched.store, {"gate": {"passed": False}})
    publish(watched.store, seed=3)
    watched.store.reject("v3", {"why": "test"})
    watcher = watched.watcher()
    watcher.tick()
    watched.store.promote("v2", watched.store.current())
    watcher.tick()
    assert serving(watcher) == "v2"


def test_rejected_pointer_falls_back_past_a_corrupt_version(watched: Watched) -> None:
    for seed in (1, 2, 3):
        publish(watched.store, seed=seed)
    corrupt(watched.store, "v2")
    watched.store.reject("v3", {"why": "test"})
    watcher = watched.watcher()
    watcher.tick()
    assert serving(watcher) == "v1"


def test_rejected_version_without_a_previous_one_keeps_serving_with_a_problem(
    watched: Watched,
) -> None:
    publish(watched.store)
    watcher = watched.watcher()
    watcher.tick()
    watched.store.reject("v1", {"why": "test"})
    watcher.tick()
    assert serving(watcher) == "v1"
    assert "version v1 is rejected, and no previous version" in (watcher.status.problem or "")


def test_rejected_version_is_not_taken_from_the_cache(watched: Watched) -> None:
    publish(watched.store)
    watched.watcher().tick()
    watched.store.reject("v1", {"why": "test"})
    watcher = watched.watcher()
    watcher.tick()
    assert serving(watcher) is None


def test_pointer_moved_back_is_followed(watched: Watched) -> None:
    publish(watched.store)
    publish(watched.store, seed=2)
    watcher = watched.watcher()
    watcher.tick()
    watched.store.promote("v1", watched.store.current())
    watcher.tick()
    assert serving(watcher) == "v1"
    # A start with the store down serves the version that served last, not the highest number.
    again = watched.watcher(down())
    again.tick()
    assert serving(again) == "v1"


@pytest.mark.parametrize("content", [b"", b"latest", b"v0", b"../v1", b"\xff"])
def test_invalid_pointer_changes_nothing(watched: Watched, content: bytes) -> None:
    publish(watched.store)
    watcher = watched.watcher()
    watcher.tick()
    watched.store.objects.overwrite("manifests/latest.txt", content)
    watcher.tick()
    assert serving(watcher) == "v1"
    assert "artifact store" in (watcher.status.problem or "")


def test_pointer_to_a_missing_version_changes_nothing(watched: Watched) -> None:
    publish(watched.store)
    watcher = watched.watcher()
    watcher.tick()
    watched.store.objects.overwrite("manifests/latest.txt", b"v9")
    watcher.tick()
    assert serving(watcher) == "v1"
    assert "v9" in (watcher.status.problem or "")


def test_watching_thread_loads_swaps_and_ends(watched: Watched) -> None:
    publish(watched.store)
    watcher = watched.watcher(poll_seconds=0.01)
    watcher.start()
    try:
        assert watcher.wait(60.0) is not None
        publish(watched.store, seed=2)
        wait_until(lambda: serving(watcher) == "v2")
    finally:
        watcher.stop()
    publish(watched.store, seed=3)
    assert serving(watcher) == "v2"


def test_wait_times_out(watched: Watched) -> None:
    assert watched.watcher().wait(0.0) is None


def test_batch_keeps_the_bundle_it_read_while_another_takes_over(watched: Watched) -> None:
    publish(watched.store)
    watcher = watched.watcher()
    watcher.tick()
    held = watcher.current
    publish(watched.store, seed=2)
    watcher.tick()
    assert held is not None
    assert held.version == "v1"
    assert serving(watcher) == "v2"


def test_half_copied_version_serves_soon_after_its_copy_is_complete(watched: Watched) -> None:
    publish(watched.store)
    complete = watched.store.objects.read("models/v1/model.pkl", 10**9)
    assert complete is not None
    watched.store.objects.overwrite("models/v1/model.pkl", complete.content[:-100])
    watcher = watched.watcher(poll_seconds=0.05)  # refused for five minutes at most
    watcher.start()
    try:
        wait_until(lambda: bool(watched.failures), what="a read of the half copy")
        watched.store.objects.overwrite("models/v1/model.pkl", complete.content)
        wait_until(lambda: serving(watcher) == "v1", what="serving the complete version")
    finally:
        watcher.stop()
    assert watcher.status.refused == {}
    assert len(watched.failures) == 1


def test_version_without_metadata_yet_is_not_refused(watched: Watched) -> None:
    publish(watched.store)
    metadata = watched.store.objects.read("models/v1/metadata.json", 10**9)
    assert metadata is not None
    watched.store.objects.remove("models/v1/metadata.json")
    watcher = watched.watcher()
    watcher.tick()
    assert watcher.status.refused == {}
    assert "version v1 in memory:// is incomplete: no metadata.json" in str(watcher.status.problem)
    watched.store.objects.overwrite("models/v1/metadata.json", metadata.content)
    watcher.tick()
    assert serving(watcher) == "v1"
