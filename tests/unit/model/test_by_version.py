"""Bundles by version: which are loaded, kept and refused."""

from __future__ import annotations

import pytest

from stream_scorer.model.bundle import Bundle
from stream_scorer.model.by_version import BundlesByVersion, NoBundle
from stream_scorer.model.store.memory_store import MemoryStore, StoreFault
from tests.support.factories import publish


def test_scores_are_judged_again_once_the_store_answers() -> None:
    store, now = MemoryStore(), [0.0]
    for _ in range(3):
        publish(store)
    bundles = BundlesByVersion(store, clock=lambda: now[0])
    store.script(StoreFault("unavailable", "read models/*"))
    first = bundles.get("v3")
    assert isinstance(first, NoBundle)
    assert first.reason.startswith("version v3: ")
    assert bundles.get("v3") == first  # not asked again at once
    now[0] = 60.0
    assert isinstance(bundles.get("v3"), Bundle)


def test_store_is_not_listed_for_each_unknown_version() -> None:
    store, now = MemoryStore(), [0.0]
    publish(store)
    bundles = BundlesByVersion(store, clock=lambda: now[0])
    assert isinstance(bundles.get("v1"), Bundle)
    store.script(StoreFault("unavailable", "*", times=1000))
    unknown = [bundles.get(f"v{number}") for number in range(2, 200)]
    assert {type(one) for one in unknown} == {NoBundle}
    assert unknown[0] == NoBundle("version v2 is not in the store memory://")


def test_only_the_bundles_used_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    store, fetched = MemoryStore(), list[str]()
    for _ in range(6):
        publish(store)
    fetch = store.fetch

    def noted(version: str) -> dict[str, bytes]:
        fetched.append(version)
        return fetch(version)

    monkeypatch.setattr(store, "fetch", noted)
    bundles = BundlesByVersion(store)
    for version in ("v1", "v2", "v1", "v3", "v4", "v1", "v5", "v6", "v1", "v2"):
        assert isinstance(bundle := bundles.get(version), Bundle)
        assert bundle.version == version
    assert fetched == ["v1", "v2", "v3", "v4", "v5", "v6", "v2"]
