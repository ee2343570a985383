"""The scorer's loop on the in-memory broker: every input has exactly one outcome."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.model.bundle import Bundle
from stream_scorer.stream.loop import LoopOptions, ScorerLoop, Step
from stream_scorer.stream.memory_broker import MemoryBroker, MemoryCluster
from stream_scorer.stream.ports import NoHistories
from stream_scorer.stream.rejections.guard import RejectionGuard, RejectionPolicy, RejectionTally
from tests.support.factories import make_bundle
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
    make_value,
    make_values,
    outcomes_by_source,
    read_score,
)
from tests.support.stream.eventful_cluster import EventfulCluster, Meanwhile


@dataclass
class Member:
    """One scorer: its loop, its broker and its observer."""

    loop: ScorerLoop
    broker: MemoryBroker
    seen: Seen = field(default_factory=Seen)


def join(
    cluster: MemoryCluster,
    model: Callable[[], Bundle | None] = make_bundle,
    policy: RejectionPolicy | None = None,
    max_records: int = 5,
    ahead_from: int = NEVER,
    **pipeline: Any,
) -> Member:
    seen, broker = Seen(), MemoryBroker(cluster)
    guard = RejectionGuard(policy or RejectionPolicy())
    loop = ScorerLoop(
        broker, make_pipeline(**pipeline), NoHistories(model), guard, seen,
        LoopOptions(max_records, 0.0, ahead_from), clock=lambda: NOW_MS / 1000,
    )  # fmt: skip
    return Member(loop, broker, seen)


def make_cluster(n: int = 12, partitions: int = 2) -> MemoryCluster:
    cluster = EventfulCluster(INPUT, partitions)
    fill(cluster, make_values(n))
    return cluster


def drain(member: Member, iterations: int = 100) -> list[Step]:
    """Run the loop until it is idle."""
    steps: list[Step] = []
    while not steps or steps[-1] is not Step.IDLE:
        assert len(steps) < iterations, "the loop never became idle"
        steps.append(member.loop.run_once())
    return steps[:-1]


def ids(cluster: MemoryCluster, topic: str = OUTPUT) -> list[int]:
    return [int(read_score(record.value)["transaction_id"]) for _, record in cluster.read(topic)]


def test_everything_is_scored_once_and_in_input_order() -> None:
    cluster = make_cluster(12)
    member = join(cluster)
    assert drain(member) == [Step.COMMITTED] * 3
    assert outcomes_by_source(cluster) == inputs(cluster)
    assert ids(cluster) == [1, 3, 5, 7, 9, 11, 2, 4, 6, 8, 10, 12]
    assert cluster.committed == {0: 6, 1: 6}
    assert sum(o.scored for o in member.seen.outcomes) == 12
    assert member.seen.reasons == []


def test_without_records_the_iteration_is_idle_and_sends_a_heartbeat() -> None:
    member = join(make_cluster(0))
    assert member.loop.run_once() is Step.IDLE
    assert member.seen.heartbeats == 1
    assert member.seen.outcomes == []
    assert member.seen.reasons == []


def test_scored_at_is_the_clocks_time() -> None:
    cluster = make_cluster(1)
    drain(join(cluster))
    assert read_score(cluster.read(OUTPUT)[0][1].value)["scored_at"] == NOW_MS


@pytest.mark.parametrize("operation", ["poll", "publish", "commit"])
@pytest.mark.parametrize("times", [1, 3])
def test_batch_is_aborted_on_a_fault_and_redelivered(operation: str, times: int) -> None:
    cluster = make_cluster(12)
    faults: list[Exception | None] = [RetryableError(f"fault {i}") for i in range(times)]
    cluster.faults[operation] = [None, *faults]
    member = join(cluster)
    steps = drain(member)
    assert steps == [Step.COMMITTED, *[Step.ABORTED] * times, Step.COMMITTED, Step.COMMITTED]
    assert member.seen.reasons == [f"fault {i}" for i in range(times)]
    assert outcomes_by_source(cluster) == inputs(cluster)


def test_aborted_batch_publishes_nothing_and_commits_nothing() -> None:
    cluster = make_cluster(4)
    cluster.faults["commit"] = [RetryableError("x")]
    member = join(cluster)
    assert member.loop.run_once() is Step.ABORTED
    assert cluster.read(OUTPUT) == []
    assert cluster.committed == {}
    assert member.broker.lag() == {0: 2, 1: 2}


@pytest.mark.parametrize("operation", ["poll", "begin", "publish", "commit"])
def test_fatal_fault_ends_the_loop_and_a_new_process_continues(operation: str) -> None:
    cluster = make_cluster(12)
    cluster.faults[operation] = [None, FatalError("over")]
    first = join(cluster)
    with pytest.raises(FatalError, match="over"):
        drain(first)
    first.broker.close()
    drain(join(cluster))
    assert outcomes_by_source(cluster) == inputs(cluster)


@pytest.mark.parametrize("ahead_from", [NEVER, ALWAYS])
def test_transaction_that_cannot_begin_is_retried_and_skips_no_record(ahead_from: int) -> None:
    cluster = make_cluster(12)
    cluster.faults["begin"] = [RetryableError("not now")] * 2
    member = join(cluster, ahead_from=ahead_from)
    assert [member.loop.run_once(), member.loop.run_once()] == [Step.ABORTED] * 2
    assert set(member.seen.reasons) == {"cannot begin a transaction: not now"}
    drain(member)
    assert outcomes_by_source(cluster) == inputs(cluster)


class SilentLedger:
    """A ledger that does not answer at first."""

    def __init__(self, silent: int) -> None:
        self.silent = silent

    def read(self, _: Iterable[int]) -> Mapping[int, RejectionTally]:
        self.silent -= 1
        if self.silent >= 0:
            raise RetryableError("no answer")
        return {}

    def write(self, *_: object) -> None:
        """Nothing is stored."""


def test_rejections_wait_for_a_ledger_that_does_not_answer_and_no_record_is_skipped() -> None:
    cluster = MemoryCluster(INPUT, 1)
    fill(cluster, [b"bad", *make_values(3)])
    member = join(cluster)
    guard = RejectionGuard(RejectionPolicy(), SilentLedger(3), lambda: frozenset([0]))
    vars(member.loop)["_guard"] = guard
    assert [member.loop.run_once() for _ in range(3)] == [Step.ABORTED] * 3
    assert "stored counts of rejected records: no answer" in member.seen.reasons[0]
    assert cluster.read(DLQ) == []
    drain(member)
    assert outcomes_by_source(cluster) == inputs(cluster)


def test_too_many_rejections_stop_the_loop_before_the_commit() -> None:
    cluster = MemoryCluster(INPUT, 1)
    fill(cluster, [*make_values(5), *[b"bad"] * 5])
    member = join(cluster, policy=RejectionPolicy(max_run=4))
    assert member.loop.run_once() is Step.COMMITTED
    with pytest.raises(FatalError, match="in a row were rejected"):
        member.loop.run_once()
    assert cluster.read(DLQ) == []
    assert cluster.committed == {0: 5}


def test_committed_rejections_add_up_from_batch_to_batch() -> None:
    cluster = MemoryCluster(INPUT, 1)
    fill(cluster, [b"bad"] * 12)
    member = join(cluster, policy=RejectionPolicy(max_run=8))
    assert member.loop.run_once() is Step.COMMITTED
    with pytest.raises(FatalError, match="in a row were rejected"):
        member.loop.run_once()
    assert len(cluster.read(DLQ)) == 5


def test_rejections_of_aborted_batches_do_not_count() -> None:
    cluster = MemoryCluster(INPUT, 1)
    fill(cluster, [b"bad"] * 4)
    cluster.faults["commit"] = [RetryableError("x")] * 5
    drain(join(cluster, policy=RejectionPolicy(max_run=4)))
    assert len(cluster.read(DLQ)) == 4


def test_batch_is_scored_by_one_version_while_the_model_changes() -> None:
    cluster = make_cluster(40)
    versions = iter(["v1", "v2", "v3"] * 100)
    member = join(cluster, lambda: make_bundle(next(versions)), max_records=7)
    drain(member)
    for outcome in member.seen.outcomes:
        assert {read_score(r.value)["model_version"] for r in outcome.records} == {
            outcome.model_version
        }
    assert {o.model_version for o in member.seen.outcomes} == {"v1", "v2", "v3"}
    assert outcomes_by_source(cluster) == inputs(cluster)


def test_without_a_model_nothing_is_polled() -> None:
    cluster = make_cluster(4)
    loaded: list[Bundle] = []
    member = join(cluster, lambda: loaded[0] if loaded else None)
    assert member.loop.run_once() is Step.ABORTED
    assert member.seen.reasons == ["no model is loaded yet"]
    assert member.broker.lag() == {0: 2, 1: 2}
    loaded.append(make_bundle())
    drain(member)
    assert outcomes_by_source(cluster) == inputs(cluster)


def test_backoff_grows_to_a_limit_and_is_reset_after_a_commit() -> None:
    cluster = make_cluster(4)
    failures = 1_100  # 2.0 ** 1,100 overflows a double
    cluster.faults["poll"] = [RetryableError("x")] * failures
    member = join(cluster)
    pauses = []
    for _ in range(failures):
        assert member.loop.run_once() is Step.ABORTED
        pauses.append(member.loop.backoff())
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 10.0
    assert member.loop.run_once() is Step.COMMITTED
    cluster.faults["poll"] = [RetryableError("x")]
    assert member.loop.run_once() is Step.ABORTED
    assert member.loop.backoff() == 0.1


class _Registry:
    """A registry that at first does not answer, and then has no schema by id."""

    def __init__(self, silent: int) -> None:
        self.silent = silent

    def by_id(self, schema_id: int) -> Any:
        self.silent -= 1
        if self.silent >= 0:
            raise RetryableError("the registry does not answer")
        raise LookupError(schema_id)

    by_guid = by_id

    def by_fingerprint(self, fingerprint: bytes) -> Any:
        from schemas.resolver import LocalSchemas

        if self.silent > 0:
            self.by_id(0)
        return LocalSchemas().by_fingerprint(fingerprint)


def test_whole_batch_is_aborted_while_the_registry_does_not_answer() -> None:
    cluster = make_cluster(12)
    member = join(cluster, resolver=_Registry(silent=2))
    assert drain(member)[:3] == [Step.ABORTED, Step.ABORTED, Step.COMMITTED]
    assert member.seen.reasons == ["the registry does not answer"] * 2
    assert outcomes_by_source(cluster) == inputs(cluster)


def test_run_pauses_after_an_aborted_batch_and_ends_on_request() -> None:
    cluster = make_cluster(12)
    cluster.faults["commit"] = [RetryableError("x"), RetryableError("x")]
    member = join(cluster)
    pauses: list[float] = []
    member.loop.run(lambda: member.seen.heartbeats >= 6, pauses.append)
    assert pauses == [0.1, 0.2]
    assert outcomes_by_source(cluster) == inputs(cluster)


def test_run_that_is_already_stopping_reads_nothing() -> None:
    member = join(make_cluster(4))
    member.loop.run(lambda: True, lambda _: None)
    assert member.seen.heartbeats == 0


def test_batch_is_refused_after_a_rebalance_and_the_new_owner_scores_it() -> None:
    cluster = make_cluster(12)
    joined: list[Member] = []

    first = join(cluster)
    cluster.faults["publish"] = [Meanwhile(lambda: joined.append(join(cluster)))]
    assert first.loop.run_once() is Step.ABORTED
    assert "fenced" in first.seen.reasons[0]
    assert cluster.read(OUTPUT) == []
    drain(joined[0])
    drain(first)
    assert outcomes_by_source(cluster) == inputs(cluster)
    assert first.seen.outcomes
    assert joined[0].seen.outcomes


def test_next_batch_is_scored_during_the_commit_and_the_order_is_kept() -> None:
    cluster = make_cluster(20)
    member = join(cluster, max_records=4, ahead_from=ALWAYS)
    assert member.loop.run_once() is Step.COMMITTED
    # The second batch has been polled and scored, and none of it is visible.
    assert sum(cluster.committed.values()) == len(cluster.read(OUTPUT)) == 4
    assert sum(member.broker.lag().values()) == 12
    assert drain(member) == [Step.COMMITTED] * 4
    assert outcomes_by_source(cluster) == inputs(cluster)


def test_batch_scored_ahead_is_dropped_with_the_aborted_one_and_both_are_redelivered() -> None:
    cluster = make_cluster(20)
    cluster.faults["commit"] = [None, RetryableError("refused")]
    member = join(cluster, max_records=4, ahead_from=ALWAYS)
    assert member.loop.run_once() is Step.COMMITTED
    assert member.loop.run_once() is Step.ABORTED
    assert sum(cluster.committed.values()) == len(cluster.read(OUTPUT)) == 4
    drain(member)
    assert outcomes_by_source(cluster) == inputs(cluster)
    assert ids(cluster) == [*range(1, 20, 2), *range(2, 21, 2)]


def test_rebalance_during_the_poll_ahead_loses_and_duplicates_nothing() -> None:
    cluster = make_cluster(40)
    first = join(cluster, max_records=8, ahead_from=ALWAYS)
    joined: list[Member] = []
    cluster.faults["poll"] = [
        None,
        Meanwhile(lambda: joined.append(join(cluster, ahead_from=ALWAYS))),
    ]
    assert first.loop.run_once() is Step.ABORTED
    assert cluster.read(OUTPUT) == []
    drain(first)
    drain(joined[0])
    assert outcomes_by_source(cluster) == inputs(cluster)


def test_batch_scored_ahead_is_refused_when_a_rebalance_follows_the_previous_commit() -> None:
    cluster = make_cluster(40)
    first = join(cluster, max_records=8, ahead_from=ALWAYS)
    assert first.loop.run_once() is Step.COMMITTED  # the next batch is scored and waiting
    published = cluster.read(OUTPUT)
    second = join(cluster, ahead_from=ALWAYS)
    assert first.loop.run_once() is Step.ABORTED
    assert "fenced" in first.seen.reasons[0]
    assert cluster.read(OUTPUT) == published
    drain(first)
    drain(second)
    assert outcomes_by_source(cluster) == inputs(cluster)


def test_finish_commits_the_batch_scored_ahead() -> None:
    cluster = make_cluster(8)
    member = join(cluster, max_records=4, ahead_from=ALWAYS)
    member.loop.run_once()
    member.loop.finish()
    assert outcomes_by_source(cluster) == inputs(cluster)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_each_input_has_one_outcome_under_random_faults_and_rebalances(seed: int) -> None:
    chance = random.Random(seed)
    cluster = EventfulCluster(INPUT, 3)
    members = [join(cluster, max_records=4, ahead_from=ALWAYS)]
    produced = 0
    for _ in range(40):
        action = chance.random()
        if action < 0.15 and len(members) < 3:
            size, ahead = chance.choice([1, 4, 50]), chance.choice([ALWAYS, NEVER])
            members.append(join(cluster, max_records=size, ahead_from=ahead))
        elif action < 0.25 and len(members) > 1:
            members.pop(chance.randrange(len(members))).broker.close()
        elif action < 0.3:
            cluster.rebalance()
        elif action < 0.45 and produced < 40:
            fill(cluster, [make_value(produced), b"bad", make_value(produced + 1)])
            produced += 3
        elif action < 0.65:
            operation = chance.choice(["poll", "publish", "commit"])
            event: Exception | None = RetryableError("fault")
            if operation != "poll" and chance.random() < 0.5:
                event = Meanwhile(cluster.rebalance)
            cluster.faults.setdefault(operation, []).append(event)
        else:
            chance.choice(members).loop.run_once()
    for _ in range(100):
        if all(step is Step.IDLE for step in [member.loop.run_once() for member in members]):
            break
    assert outcomes_by_source(cluster) == inputs(cluster)
    for partition in range(3):
        offsets = [
            read_score(record.value)["source"]["offset"]
            for place, record in cluster.read(OUTPUT)
            if place == partition
        ]
        assert offsets == sorted(offsets)
