"""A version that its gate refused serves in place of a rejected one only if nothing else can."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from stream_scorer.model.serving.cache import BundleCache
from stream_scorer.model.serving.guard import GuardPolicy
from stream_scorer.model.serving.options import WatcherOptions
from stream_scorer.model.serving.watcher import ModelWatcher
from stream_scorer.model.store.memory_store import MemoryStore, StoreFault
from stream_scorer.model.store.promotions import Override
from stream_scorer.model.store.succession import Succession, gate_refusals
from tests.support.factories import publish_only

Facts = Mapping[str, object]

PASSED = {"gate": {"passed": True}}
REFUSED = {"gate": {"passed": False}}
ALICE = Override("alice@desk", "why")


def served(*gates: Facts) -> MemoryStore:
    """Versions that were promoted one after the other; the last one is rejected."""
    store = MemoryStore()
    for seed, facts in enumerate(gates, 1):
        version = publish_only(store, facts, seed)
        store.promote(version, store.current(), override=ALICE if facts is REFUSED else None)
    store.reject(f"v{len(gates)}", {"why": "test"})
    return store


def serving(watcher: ModelWatcher) -> str | None:
    return watcher.current.version if watcher.current else None


@pytest.mark.parametrize(
    ("gates", "expected"),
    [
        ((PASSED, REFUSED, PASSED), "v1"),
        ((REFUSED, PASSED, REFUSED, PASSED), "v2"),
        ((REFUSED, REFUSED, PASSED), "v2"),
        (({}, REFUSED, PASSED), "v1"),  # an earlier release wrote no gate
    ],
)
def test_rejected_pointer_falls_back_to_a_version_that_passed_if_there_is_one(
    gates: tuple[Facts, ...], expected: str, tmp_path: Path
) -> None:
    watcher = ModelWatcher(served(*gates), BundleCache(tmp_path))
    for _ in range(2):
        watcher.tick()
        assert serving(watcher) == expected
    assert watcher.status.rolled_back is not None
    assert watcher.status.rolled_back.serving == expected


def test_scorer_that_still_serves_the_forced_version_leaves_it_as_the_others_do(
    tmp_path: Path,
) -> None:
    store = MemoryStore()
    for seed, facts in enumerate((PASSED, REFUSED), 1):
        store.promote(publish_only(store, facts, seed), store.current())
    watcher = ModelWatcher(store, BundleCache(tmp_path))
    watcher.tick()
    assert serving(watcher) == "v2"
    store.promote(publish_only(store, PASSED, 3), store.current())
    store.reject("v3", {"why": "another scorer's guard"})
    watcher.tick()
    assert serving(watcher) == "v1"


def test_refused_version_is_not_fetched_again_at_each_poll(tmp_path: Path) -> None:
    store = served(PASSED, REFUSED, PASSED)
    watcher = ModelWatcher(store, BundleCache(tmp_path))
    watcher.tick()
    store.script(StoreFault("unavailable", "read models/*", times=100))
    watcher.tick()
    assert serving(watcher) == "v1"
    assert watcher.status.problem is None


def test_probation_falls_back_to_what_a_rejection_would_fall_back_to(tmp_path: Path) -> None:
    store = MemoryStore()
    for seed, facts in enumerate((PASSED, REFUSED, PASSED), 1):
        store.promote(publish_only(store, facts, seed), store.current())
    options = WatcherOptions(guard=GuardPolicy(seconds=0.0, min_rows=1000))
    watcher = ModelWatcher(store, BundleCache(tmp_path), options)
    watcher.tick()
    assert watcher.probation is not None
    assert watcher.probation.fallback.version == "v1"


def test_order_asks_only_about_versions_that_are_reached() -> None:
    asked = []

    def has_failed(version: str) -> bool:
        asked.append(version)
        return version == "v4"

    recorded = Succession(("v4", "v3", "v2"), is_recorded=True)
    assert next(recorded.in_order(has_failed)) == "v3"
    assert asked == ["v4", "v3"]
    assert list(recorded.in_order(has_failed)) == ["v3", "v2", "v4"]
    assert list(Succession(("v4", "v3"), is_recorded=False).in_order(has_failed)) == ["v3"]


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, ()),
        ({"gate": {"passed": True, "refusals": ["left over"]}}, ()),
        ({"gate": {"passed": False, "refusals": ["a", 3, "b\n"]}}, ("a", r"b\x0a")),
        ({"gate": {"passed": False, "refusals": "text"}}, ("no reason is recorded",)),
        ({"gate": []}, ("no reason is recorded",)),
    ],
)
def test_refusals_are_read_from_any_metadata(metadata: Facts, expected: tuple[str, ...]) -> None:
    assert gate_refusals(metadata) == expected
