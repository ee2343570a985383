"""New versions on probation: rejected, rolled back and marked for all scorers; or passed."""

from __future__ import annotations

import logging
from collections import UserDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_scorer.model.bundle import Bundle
from stream_scorer.model.serving.cache import BundleCache
from stream_scorer.model.serving.guard import GuardPolicy, Trip
from stream_scorer.model.serving.options import WatcherOptions
from stream_scorer.model.serving.watcher import ModelWatcher
from stream_scorer.model.store.memory_store import MemoryStore, StoreFault
from stream_scorer.model.store.port import ArtifactStore
from tests.support.factories import publish
from tests.support.guard_kit import honest_facts, lying_facts, publish_promising, reference_scores
from tests.support.waiting import wait_until

POLICY = GuardPolicy(seconds=0.0, min_rows=1000)
GOOD = reference_scores()[:1200]


@dataclass
class Scorer:
    """A watcher with a guard, and what it reported."""

    store: ArtifactStore
    folder: Path
    policy: GuardPolicy | None = POLICY
    poll_seconds: float = 15.0
    is_cold: Callable[[Bundle], bool] = lambda _: False
    trips: list[tuple[str, Trip]] = field(default_factory=list)
    watcher: ModelWatcher = field(init=False)

    def __post_init__(self) -> None:
        self.watcher = ModelWatcher(
            self.store,
            BundleCache(self.folder),
            WatcherOptions(poll_seconds=self.poll_seconds, guard=self.policy, is_cold=self.is_cold),
            on_trip=lambda version, trip: self.trips.append((version, trip)),
        )
        self.watcher.tick()

    @property
    def serving(self) -> str | None:
        return self.watcher.current.version if self.watcher.current else None

    def is_on_probation(self) -> bool:
        return self.watcher.probation is not None

    def score(self, scores: Any = GOOD, errors: int = 0) -> bool:
        """Score a batch as the loop does; returns whether it may be committed."""
        probation = self.watcher.probation
        if probation is None:
            return True
        trip = probation.check(np.asarray(scores), int(np.sum(scores >= 0.5)), errors)
        if trip is None:
            probation.accept()
            return True
        self.watcher.fall_back(probation, trip)
        return False


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    publish(store)
    return store


def scorer_with(store: MemoryStore, folder: Path, facts: dict[str, Any]) -> Scorer:
    """A scorer that has just started to serve v2, published with these facts."""
    scorer = Scorer(store, folder)
    publish_promising(store, facts)
    scorer.watcher.tick()
    return scorer


def another(store: MemoryStore) -> MemoryStore:
    """The same store as another process sees it."""
    return MemoryStore(store.objects)


def test_version_that_fails_its_guard_is_rolled_back_marked_and_reported_once(
    store: MemoryStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scorer = scorer_with(store, tmp_path, lying_facts())
    assert scorer.serving == "v2"
    with caplog.at_level(logging.WARNING):
        assert not scorer.score()
        assert scorer.serving == "v1"  # at once, even if the store is down
        for _ in range(3):
            scorer.watcher.tick()
    assert scorer.serving == "v1"
    assert [version for version, _ in scorer.trips] == ["v2"]
    assert sum("model guard tripped" in r.message for r in caplog.records) == 1
    assert len(caplog.records) == 1
    marker = store.rejected()["v2"]
    assert marker["guard"] == "distribution"
    assert marker["fallback"] == "v1"
    assert marker["figures"]["psi"] > marker["figures"]["psi_limit"]
    assert marker["reason"]
    assert marker["host"]
    assert marker["at"]
    rolled_back = scorer.watcher.status.rolled_back
    assert rolled_back is not None
    assert (rolled_back.rejected, rolled_back.serving) == ("v2", "v1")
    assert "stability index" in rolled_back.reason


def test_scores_of_a_cold_history_are_not_compared_with_those_of_the_test_rows(
    store: MemoryStore, tmp_path: Path
) -> None:
    cold = {"v2"}
    scorer = Scorer(store, tmp_path, is_cold=lambda bundle: bundle.version in cold)
    publish_promising(store, lying_facts(), seed=2)
    scorer.watcher.tick()
    assert scorer.is_on_probation()
    assert scorer.score()
    assert scorer.trips == []
    cold.clear()  # seven days later
    assert not scorer.score()
    assert scorer.trips[0][1].cause == "distribution"


def test_version_with_a_cold_history_is_judged_by_its_errors(
    store: MemoryStore, tmp_path: Path
) -> None:
    scorer = Scorer(store, tmp_path, is_cold=lambda _: True)
    publish_promising(store, honest_facts(), seed=2)
    scorer.watcher.tick()
    assert not scorer.score(GOOD[:100], errors=200)
    assert scorer.trips[0][1].cause == "errors"


def test_other_scorers_roll_back_at_their_next_check(store: MemoryStore, tmp_path: Path) -> None:
    first, second = Scorer(store, tmp_path / "a"), Scorer(another(store), tmp_path / "b")
    publish_promising(store, lying_facts())
    for scorer in (first, second):
        scorer.watcher.tick()
        assert scorer.serving == "v2"
    first.score()
    first.watcher.tick()
    second.watcher.tick()
    assert second.serving == "v1"
    assert second.watcher.probation is None
    assert second.watcher.is_withdrawn("v2")
    assert second.trips == []


def test_version_that_behaves_as_promised_passes_and_is_never_judged_again(
    store: MemoryStore, tmp_path: Path
) -> None:
    scorer = Scorer(store, tmp_path / "a")
    publish_promising(store, honest_facts())
    scorer.watcher.tick()
    assert scorer.is_on_probation()
    assert scorer.score()
    scorer.watcher.tick()
    assert store.accepted() == {"v2"}
    assert not scorer.is_on_probation()
    # Also not by a scorer that starts later, whatever its data are.
    later = Scorer(another(store), tmp_path / "b")
    assert later.serving == "v2"
    assert not later.is_on_probation()


def test_version_passes_on_a_scorer_with_a_read_only_store(
    store: MemoryStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scorer = scorer_with(store, tmp_path, honest_facts())
    assert scorer.score()
    store.script(StoreFault("unavailable", "create *", times=10**6))
    for _ in range(3):
        scorer.watcher.tick()
    assert not scorer.is_on_probation()
    assert scorer.serving == "v2"
    assert scorer.watcher.status.problem is None
    assert sum("could not mark v2 as accepted" in r.message for r in caplog.records) == 1


def test_probation_ends_when_another_scorer_accepts_the_version(
    store: MemoryStore, tmp_path: Path
) -> None:
    scorer = scorer_with(store, tmp_path, lying_facts())
    another(store).accept("v2", {})
    scorer.watcher.tick()
    assert not scorer.is_on_probation()


def test_version_accepted_elsewhere_in_the_meantime_is_not_rejected(
    store: MemoryStore, tmp_path: Path
) -> None:
    scorer = scorer_with(store, tmp_path, lying_facts())
    another(store).accept("v2", {})
    scorer.score()
    assert scorer.serving == "v1"
    scorer.watcher.tick()
    assert scorer.serving == "v2"
    assert store.rejected() == {}


def test_version_accepted_elsewhere_while_it_trips_is_rejected_everywhere(
    store: MemoryStore, tmp_path: Path
) -> None:
    trips, passes = Scorer(another(store), tmp_path / "a"), Scorer(another(store), tmp_path / "b")
    publish_promising(store, lying_facts())
    for scorer in (trips, passes):
        scorer.watcher.tick()
    store.script(
        StoreFault(
            "slow",
            "create manifests/rejected/v2.json",
            wait=lambda: another(store).accept("v2", {}),
        )
    )
    trips.score()
    for scorer in (trips, passes):
        scorer.watcher.tick()
    assert set(store.rejected()) == {"v2"}
    assert store.accepted() == set()
    assert [trips.serving, passes.serving] == ["v1", "v1"]


def test_quiet_topic_neither_passes_nor_trips(store: MemoryStore, tmp_path: Path) -> None:
    scorer = Scorer(store, tmp_path)
    publish_promising(store, lying_facts())
    for _ in range(9):
        scorer.watcher.tick()
        assert scorer.score(GOOD[:100])
    assert scorer.serving == "v2"
    assert store.accepted() == set()
    assert scorer.is_on_probation()
    assert not scorer.score(GOOD[:100])  # the thousandth row


def test_redelivered_batch_counts_once(store: MemoryStore, tmp_path: Path) -> None:
    scorer = scorer_with(store, tmp_path, lying_facts())
    probation = scorer.watcher.probation
    assert probation is not None
    for _ in range(50):
        assert probation.check(GOOD[:300], 0, 0) is None
    probation.accept()
    assert probation.figures()["rows"] == 300


def test_probation_lasts_for_its_minimum_time_too(store: MemoryStore, tmp_path: Path) -> None:
    scorer = Scorer(store, tmp_path, GuardPolicy(seconds=3600, min_rows=1000))
    publish_promising(store, honest_facts())
    scorer.watcher.tick()
    for _ in range(3):
        assert scorer.score()
        scorer.watcher.tick()
    assert scorer.is_on_probation()
    assert store.accepted() == set()


def test_store_outage_delays_the_marker_but_not_the_rollback(
    store: MemoryStore, tmp_path: Path
) -> None:
    scorer = Scorer(store, tmp_path / "a")
    publish_promising(store, lying_facts())
    scorer.watcher.tick()
    store.script(StoreFault("unavailable", times=10**6))
    scorer.score()
    for _ in range(3):
        scorer.watcher.tick()
        assert scorer.serving == "v1"
    assert "cannot be marked" in (scorer.watcher.status.problem or "") or "unavailable" in (
        scorer.watcher.status.problem or ""
    )
    rolled_back = scorer.watcher.status.rolled_back
    assert rolled_back is not None
    assert rolled_back.serving == "v1"
    # A restart while the store is down finds the previous version in the cache.
    assert Scorer(down(), tmp_path / "a").serving == "v1"
    store.objects.heal()
    scorer.watcher.tick()
    assert list(store.rejected()) == ["v2"]
    assert scorer.serving == "v1"
    assert scorer.watcher.status.problem is None


def down() -> MemoryStore:
    store = MemoryStore()
    store.script(StoreFault("unavailable", times=10**6))
    return store


def test_scorer_with_a_read_only_store_rolls_back_and_follows_the_pointer(
    store: MemoryStore, tmp_path: Path
) -> None:
    scorer = scorer_with(store, tmp_path, lying_facts())
    store.script(StoreFault("unavailable", "create manifests/rejected/*", times=10**6))
    scorer.score()
    for _ in range(2):
        scorer.watcher.tick()
        assert scorer.serving == "v1"
    rolled_back = scorer.watcher.status.rolled_back
    assert rolled_back is not None
    assert (rolled_back.rejected, rolled_back.serving) == ("v2", "v1")
    assert "cannot mark version v2 as rejected" in (scorer.watcher.status.problem or "")
    publish_promising(store, honest_facts())
    scorer.watcher.tick()
    assert scorer.serving == "v3"


def test_drift_that_trips_every_new_version_never_trips_an_old_one(
    store: MemoryStore, tmp_path: Path
) -> None:
    scorer = Scorer(store, tmp_path)
    publish_promising(store, lying_facts())
    another(store).accept("v2", {})
    scorer.watcher.tick()
    assert scorer.serving == "v2"
    for number in (3, 4, 5):
        publish_promising(store, lying_facts())
        scorer.watcher.tick()
        assert scorer.serving == f"v{number}"
        scorer.score()
        for _ in range(3):
            assert scorer.serving == "v2"
            assert scorer.score()
            scorer.watcher.tick()
    assert sorted(store.rejected()) == ["v3", "v4", "v5"]


def test_rollback_goes_to_a_promoted_version_not_to_one_only_published(
    store: MemoryStore, tmp_path: Path
) -> None:
    scorer = Scorer(store, tmp_path)
    pointer = store.current()
    for facts in ({}, lying_facts()):
        publish_promising(store, facts)
    store.promote("v1", store.current())  # v2 and v3 have served; v1 does again
    publish_only(store)  # v4
    publish_promising(store, lying_facts())  # v5, promoted over v1
    assert pointer is not None
    scorer.watcher.tick()
    assert scorer.serving == "v5"
    scorer.score()
    scorer.watcher.tick()
    assert scorer.serving == "v1"
    assert Scorer(another(store), tmp_path / "new").serving == "v1"


def publish_only(store: MemoryStore) -> None:
    from stream_scorer.model.bundle import build_files
    from tests.support.factories import make_draft

    store.publish(*build_files(make_draft(2)))


def test_version_promoted_while_the_scorer_was_down_is_put_on_probation(
    store: MemoryStore, tmp_path: Path
) -> None:
    publish_promising(store, lying_facts())
    scorer = Scorer(store, tmp_path)
    assert scorer.serving == "v2"
    scorer.score()
    assert scorer.serving == "v1"


def test_start_from_the_cache_puts_the_version_on_probation_once_the_store_is_back(
    store: MemoryStore, tmp_path: Path
) -> None:
    publish_promising(store, lying_facts())
    Scorer(store, tmp_path)
    slow = another(store)
    store.script(StoreFault("unavailable"))
    scorer = Scorer(slow, tmp_path)
    assert scorer.serving == "v2"
    assert not scorer.is_on_probation()
    scorer.watcher.tick()
    assert scorer.is_on_probation()


@pytest.mark.parametrize("history", ["none", "first version"])
def test_version_without_a_fallback_is_not_judged(
    store: MemoryStore, tmp_path: Path, history: str
) -> None:
    if (
        history == "none"
    ):  # a store from before there was a history: its promoted version has served
        publish_promising(store, lying_facts())
        for key in store.objects.keys("manifests/history/"):
            store.objects.remove(key)
    scorer = Scorer(store, tmp_path)
    assert scorer.watcher.current is not None
    assert not scorer.is_on_probation()


def test_version_promoted_by_hand_in_a_store_without_history_is_judged(
    store: MemoryStore, tmp_path: Path
) -> None:
    scorer = Scorer(store, tmp_path)
    publish_promising(store, lying_facts())
    for key in store.objects.keys("manifests/history/"):
        store.objects.remove(key)
    scorer.watcher.tick()
    assert scorer.serving == "v2"
    scorer.score()
    scorer.watcher.tick()
    assert scorer.serving == "v1"


def test_disabled_guard_judges_nothing(store: MemoryStore, tmp_path: Path) -> None:
    scorer = Scorer(store, tmp_path, policy=None)
    publish_promising(store, lying_facts())
    scorer.watcher.tick()
    assert scorer.serving == "v2"
    assert not scorer.is_on_probation()


def test_readmitted_version_serves_again_and_is_not_judged(
    store: MemoryStore, tmp_path: Path
) -> None:
    scorer = scorer_with(store, tmp_path, lying_facts())
    scorer.score()
    scorer.watcher.tick()
    assert another(store).readmit("v2", {"reason": "the drift is real"})
    scorer.watcher.tick()
    assert scorer.serving == "v2"
    assert not scorer.is_on_probation()
    assert scorer.watcher.status.rolled_back is None
    assert store.rejected() == {}


class Meanwhile(UserDict[str, Any]):
    """Markers; an event happens exactly while they are read."""

    def __init__(self, happen: Callable[[], object]) -> None:
        super().__init__()
        self.happen = happen

    def keys(self) -> Any:
        self.happen()
        return super().keys()


def test_version_that_trips_after_the_markers_were_read_does_not_return(
    store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = scorer_with(store, tmp_path, lying_facts())
    monkeypatch.setattr(store, "rejected", lambda: Meanwhile(scorer.score))
    scorer.watcher.tick()
    assert scorer.trips
    assert scorer.serving == "v1"


def test_verdict_on_a_version_already_replaced_changes_nothing(
    store: MemoryStore, tmp_path: Path
) -> None:
    scorer = scorer_with(store, tmp_path, lying_facts())
    late = scorer.watcher.probation
    publish_promising(store, honest_facts())
    scorer.watcher.tick()
    assert late is not None
    trip = late.check(GOOD, 0, 0)
    assert trip is not None
    scorer.watcher.fall_back(late, trip)
    assert scorer.serving == "v3"
    assert scorer.is_on_probation()
    assert scorer.trips == []


def test_trip_wakes_the_watcher_to_publish_the_marker_soon(
    store: MemoryStore, tmp_path: Path
) -> None:
    scorer = Scorer(store, tmp_path, poll_seconds=3600)
    publish_promising(store, lying_facts())
    scorer.watcher.start()
    try:
        wait_until(lambda: scorer.watcher.probation is not None, what="the probation")
        scorer.score()
        wait_until(lambda: "v2" in store.rejected(), what="the marker")
    finally:
        scorer.watcher.stop()
