"""The model's guard in the loop: which scores of a bad version are committed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_scorer.model.bundle import Bundle
from stream_scorer.model.forest.explained import Choose, Explained, explain_afterwards
from stream_scorer.model.forest.predictor import Predictor
from stream_scorer.model.serving.cache import BundleCache
from stream_scorer.model.serving.guard import GuardPolicy
from stream_scorer.model.serving.options import WatcherOptions
from stream_scorer.model.serving.watcher import ModelWatcher
from stream_scorer.model.store.memory_store import MemoryStore
from stream_scorer.stream.loop import LoopOptions, ScorerLoop, Step
from stream_scorer.stream.memory_broker import MemoryBroker, MemoryCluster
from stream_scorer.stream.model_guard import ModelGuard
from stream_scorer.stream.outcome import Outcome
from stream_scorer.stream.ports import NoHistories, Polled
from stream_scorer.stream.rejections.guard import RejectionGuard, RejectionPolicy
from tests.support.factories import make_bundle, publish
from tests.support.guard_kit import lying_facts, publish_promising
from tests.support.scoring_kit import (
    ALWAYS,
    DLQ,
    INPUT,
    NEVER,
    NOW_MS,
    OUTPUT,
    Seen,
    fill,
    inputs,
    make_pipeline,
    make_polled,
    make_values,
    outcomes_by_source,
    read_score,
)


@dataclass
class Guarded(Seen):
    """An observer that also reports commits to the model's guard, as the process does."""

    guard: ModelGuard | None = None

    def committed(self, polled: Polled, outcome: Outcome, seconds: float) -> None:
        super().committed(polled, outcome, seconds)
        if self.guard:
            self.guard.committed()


@dataclass(frozen=True)
class NotANumber:
    """A predictor that returns NaN for every row."""

    inner: Predictor

    @property
    def base(self) -> float:
        return self.inner.base

    def raw(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.full(len(matrix), np.nan)

    def contributions(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.inner.contributions(matrix)

    def explained(self, matrix: NDArray[np.float64], choose: Choose) -> Explained:
        return explain_afterwards(self.raw, self.contributions, matrix, choose)


@dataclass(frozen=True)
class SomeNotANumber(NotANumber):
    """A predictor that returns infinity for every third row of a batch."""

    def raw(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        raw = self.inner.raw(matrix)
        if len(matrix) > 2:
            raw[::3] = np.inf
        return raw


@dataclass
class Member:
    """One scorer: its loop, its broker and its observer."""

    loop: ScorerLoop
    broker: MemoryBroker
    seen: Seen = field(default_factory=Seen)


def join(
    cluster: MemoryCluster,
    model: Callable[[], Bundle | None],
    guard: ModelGuard,
    max_records: int,
    ahead_from: int = ALWAYS,
    policy: RejectionPolicy | None = None,
) -> Member:
    seen, broker = Guarded(guard=guard), MemoryBroker(cluster)
    loop = ScorerLoop(
        broker, make_pipeline(), NoHistories(model),
        RejectionGuard(policy or RejectionPolicy()), seen,
        LoopOptions(max_records, 0.0, ahead_from), guard.refusal, clock=lambda: NOW_MS / 1000,
    )  # fmt: skip
    return Member(loop, broker, seen)


def make_cluster(n: int) -> MemoryCluster:
    cluster = MemoryCluster(INPUT, 2)
    fill(cluster, make_values(n))
    return cluster


def drain(member: Member, iterations: int = 100) -> list[Step]:
    """Run the loop until it is idle."""
    steps: list[Step] = []
    while not steps or steps[-1] is not Step.IDLE:
        assert len(steps) < iterations, "the loop never became idle"
        steps.append(member.loop.run_once())
    return steps[:-1]


def test_version_that_fails_its_guard_commits_nothing_more_and_no_batch_mixes_versions(
    tmp_path: Path,
) -> None:
    store = MemoryStore()
    publish(store)
    watcher = ModelWatcher(
        store, BundleCache(tmp_path), WatcherOptions(guard=GuardPolicy(seconds=0, min_rows=100))
    )
    watcher.tick()
    cluster = make_cluster(400)
    guard = ModelGuard(watcher)
    member = join(cluster, lambda: watcher.current, guard, 20)
    for _ in range(4):
        assert member.loop.run_once() is Step.COMMITTED
    publish_promising(store, lying_facts())
    watcher.tick()
    steps = drain(member)
    watcher.tick()
    assert steps.count(Step.ABORTED) == 1
    versions = [outcome.model_version for outcome in member.seen.outcomes]
    # One batch was scored ahead by v1; v2's fifth batch would have been its hundredth row.
    assert versions == ["v1"] * 5 + ["v2"] * 4 + ["v1"] * 11
    assert member.seen.reasons == ["scored by version v2, which was rejected"]
    for outcome in member.seen.outcomes:
        assert {read_score(r.value)["model_version"] for r in outcome.records} == {
            outcome.model_version
        }
    assert outcomes_by_source(cluster) == inputs(cluster)
    assert list(store.rejected()) == ["v2"]


@pytest.mark.parametrize("ahead_from", [NEVER, ALWAYS])
def test_rows_a_new_version_cannot_score_are_scored_by_the_previous_version(
    tmp_path: Path, ahead_from: int
) -> None:
    store = MemoryStore()
    publish(store)
    watcher = ModelWatcher(store, BundleCache(tmp_path), WatcherOptions(guard=GuardPolicy()))
    watcher.tick()
    publish_promising(store, {})
    watcher.tick()

    def model() -> Bundle | None:
        bundle = watcher.current
        if bundle is None or bundle.version == "v1":
            return bundle
        return replace(bundle, predictor=NotANumber(bundle.predictor))

    cluster = make_cluster(60)
    # Twenty rejections in a row would stop the scorer if they were the records' fault.
    policy = RejectionPolicy(max_run=19)
    member = join(cluster, model, ModelGuard(watcher), 20, ahead_from, policy)
    drain(member)
    assert {outcome.model_version for outcome in member.seen.outcomes} == {"v1"}
    assert cluster.read(DLQ) == []
    assert outcomes_by_source(cluster) == inputs(cluster)
    watcher.tick()
    assert store.rejected()["v2"]["guard"] == "errors"


def test_finish_does_not_commit_a_batch_that_a_rejected_version_scored_ahead(
    tmp_path: Path,
) -> None:
    store = MemoryStore()
    publish(store)
    publish(store, seed=2)
    watcher = ModelWatcher(store, BundleCache(tmp_path))
    watcher.tick()
    cluster = make_cluster(12)
    guard = ModelGuard(watcher)
    member = join(cluster, lambda: watcher.current, guard, 4)
    assert member.loop.run_once() is Step.COMMITTED
    store.reject("v2", {"reason": "test"})
    watcher.tick()
    assert watcher.current is not None
    assert watcher.current.version == "v1", watcher.status  # shows the reason
    member.loop.finish()
    assert len(cluster.read(OUTPUT)) == 4
    member.broker.close()
    drain(join(cluster, lambda: watcher.current, guard, 4))
    assert outcomes_by_source(cluster) == inputs(cluster)


def test_row_with_a_score_that_is_not_finite_is_rejected_and_the_others_are_scored() -> None:
    bundle = make_bundle()
    broken = replace(bundle, predictor=SomeNotANumber(bundle.predictor))
    polled = make_polled(make_values(5))
    outcome = make_pipeline().process(polled, broken, NOW_MS)
    # Rows 0 and 3 at first; then 1, the first of the three that are left.
    assert sorted(r.index for r in outcome.rejections) == [0, 1, 3]
    assert {r.reason for r in outcome.rejections} == {"the score is not a finite number"}
    assert {r.stage.value for r in outcome.rejections} == {"score"}
    assert np.isfinite(outcome.scores).all()
    scored = [r for r in outcome.records if r.topic == OUTPUT]
    assert [read_score(r.value)["transaction_id"] for r in scored] == [3, 5]
