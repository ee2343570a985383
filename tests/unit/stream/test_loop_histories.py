"""The loop and the histories of its partitions: state and position always agree.

Every test runs the same checks. After each operation the state of each partition that a member
owns is the fold of the inputs before its position, and without its open steps the fold of the
inputs before the committed offset. Each scored row has the features of the inputs before it, and
each committed mark is that of its offset.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from threading import Event
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rejections import Rejection, Stage
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.mark import parse_mark
from stream_scorer.model.bundle import Bundle
from stream_scorer.stream.loop import LoopOptions, ScorerLoop, Step
from stream_scorer.stream.memory_broker import MemoryBroker, MemoryCluster
from stream_scorer.stream.outcome import Outcome
from stream_scorer.stream.pipeline import Pipeline
from stream_scorer.stream.ports import Marks, NoHistories, Polled
from stream_scorer.stream.rejections.guard import RejectionGuard, RejectionPolicy
from tests.support.factories import make_bundle
from tests.support.scoring_kit import (
    ALWAYS,
    INPUT,
    NEVER,
    NOW_MS,
    OUTPUT,
    Seen,
    inputs,
    make_pipeline,
    make_polled,
    make_value,
    outcomes_by_source,
)
from tests.support.stream.eventful_cluster import EventfulCluster, Meanwhile
from tests.support.stream.fold_histories import (
    SCORE_BYTES,
    FoldHistories,
    Inputs,
    LateMarks,
    MemoryHistories,
    State,
    WatchedFeatures,
    WithoutRollback,
    as_histories,
    watched,
)

KINDS = ("good", "good", "good", "bad", "poison", "large", "redriven:score", "redriven:decode")
PARTITIONS = 3


class ScriptedGuard(RejectionGuard):
    """A guard that allows every rejection, and can fail."""

    def __init__(self) -> None:
        super().__init__(RejectionPolicy(10**9, 1.0))
        self.script: list[Exception | None] = []

    def check(self, size: int, rejections: Sequence[Rejection]) -> None:
        if self.script and (fault := self.script.pop(0)) is not None:
            raise fault
        super().check(size, rejections)


@dataclass
class Member:
    """One scorer with histories. ``scripts`` are what its next operations raise or refuse."""

    loop: ScorerLoop
    broker: MemoryBroker
    histories: MemoryHistories
    scripts: dict[str, list[Exception | None]]
    seen: Seen = field(default_factory=Seen)

    def run_once(self) -> Step:
        step = self.loop.run_once()
        self.histories.check()
        return step

    @property
    def features(self) -> WatchedFeatures:
        features = self.histories.bundle.features
        assert isinstance(features, WatchedFeatures)
        return features

    @property
    def problems(self) -> list[str]:
        return self.histories.problems + self.features.problems


@cache
def shared_pipeline() -> Pipeline:
    """Compiles the plan of the writer's schema once."""
    return make_pipeline(max_bytes={OUTPUT: SCORE_BYTES})


Control = Callable[[Member], None]


@dataclass
class World:
    """A cluster, its inputs, and all members that ever were."""

    cluster: MemoryCluster = field(default_factory=lambda: EventfulCluster(INPUT, PARTITIONS))
    members: list[Member] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.inputs = Inputs(self.cluster)

    def produce(self, *kinds: str) -> None:
        for kind in kinds:
            size = sum(map(len, self.inputs.produced.values()))
            self.inputs.produce(size % self.cluster.partitions, kind)

    def join(
        self,
        ahead_from: int = NEVER,
        max_records: int = 5,
        chance: random.Random | None = None,
        control: Control = lambda _: None,
    ) -> Member:
        broker, guard, seen = MemoryBroker(self.cluster), ScriptedGuard(), Seen()
        scripts: dict[str, list[Exception | None]] = {"refusal": [], "score": []}
        bundle = watched(make_bundle(), self.inputs, scripts["score"])
        histories = MemoryHistories(broker, bundle, self.inputs, chance=chance)
        histories.faults = scripts
        scripts["guard"] = guard.script

        def refusal(_: Outcome) -> str | None:
            fault = scripts["refusal"].pop(0) if scripts["refusal"] else None
            return None if fault is None else str(fault)

        loop = ScorerLoop(
            broker, shared_pipeline(), histories, guard, seen,
            LoopOptions(max_records, 0.0, ahead_from), refusal, lambda: NOW_MS / 1000,
        )  # fmt: skip
        member = Member(loop, broker, histories, scripts, seen)
        control(member)
        self.members.append(member)
        return member

    def script(self, member: Member, operation: str) -> list[Exception | None]:
        """What the next calls of an operation raise."""
        own = operation in member.scripts or operation in ("serve", "step")
        scripts = member.scripts if own else self.cluster.faults
        return scripts.setdefault(operation, [])

    def problems(self) -> list[str]:
        """What was wrong so far: with states, features, or the marks of the offsets committed."""
        found = [problem for member in self.members for problem in member.problems]
        for partition, offset in self.cluster.committed.items():
            mark = parse_mark(self.cluster.marks[partition])
            if mark != self.inputs.fold(partition, offset).mark:
                found.append(f"partition {partition}: mark {mark} at {offset}")
        return found

    def assert_complete(self) -> None:
        assert self.problems() == []
        assert outcomes_by_source(self.cluster) == inputs(self.cluster)


def drain(member: Member, iterations: int = 200) -> list[Step]:
    """Run the loop until it is idle twice: a restore may come with the first time."""
    steps: list[Step] = []
    while steps[-2:] != [Step.IDLE, Step.IDLE]:
        assert len(steps) < iterations, "the loop never became idle"
        steps.append(member.run_once())
    return steps[:-2]


def world_of(*kinds: str) -> World:
    world = World()
    world.produce(*kinds)
    return world


MIXED = KINDS * 3


@pytest.mark.parametrize("ahead_from", [NEVER, ALWAYS])
def test_each_row_is_scored_with_the_inputs_before_it(ahead_from: int) -> None:
    world = world_of(*MIXED)
    member = world.join(ahead_from)
    drain(member)
    world.assert_complete()
    # Three kinds of eight are not scored at once, and the batches of poison in several parts.
    assert member.features.rows >= 21
    assert member.histories.open == []
    assert member.histories.check() == PARTITIONS
    stages = Counter(r.stage for o in member.seen.outcomes for r in o.rejections)
    assert stages == {Stage.FRAMING: 3, Stage.SCORE: 3, Stage.PUBLISH: 3}


FAULTS = ("poll", "begin", "publish", "commit", "committed", "serve", "step", "score", "guard",
          "refusal")  # fmt: skip


@pytest.mark.parametrize("operation", FAULTS)
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("calls_before", [0, 1, 2])
@pytest.mark.parametrize("ahead_from", [NEVER, ALWAYS])
def test_state_and_position_agree_after_a_fault_of_any_call(
    operation: str, times: int, calls_before: int, ahead_from: int
) -> None:
    world = world_of(*MIXED)
    member = world.join(ahead_from)
    script: list[Exception | None] = [None] * calls_before
    script += [RetryableError(f"fault {i}") for i in range(times)]
    scripted = world.script(member, operation)
    scripted += script
    assert Step.ABORTED in drain(member) or operation in ("poll", "serve", "score", "step")
    assert scripted == []
    assert member.histories.open == []
    world.assert_complete()


@pytest.mark.parametrize("operation", ["begin", "publish", "commit", "score"])
def test_new_process_continues_after_a_fatal_fault(operation: str) -> None:
    world = world_of(*MIXED)
    first = world.join(ALWAYS)
    scripted = world.script(first, operation)
    scripted += [None, None, FatalError("over")]
    with pytest.raises(FatalError, match="over"):
        drain(first)
    first.broker.close()
    second = world.join(ALWAYS)
    drain(second)
    world.assert_complete()
    assert second.histories.restored == PARTITIONS


def test_any_error_of_a_batch_leaves_the_histories_as_they_were() -> None:
    world = world_of(*["good"] * 6)
    member = world.join()
    assert member.run_once() is Step.COMMITTED
    before = dict(member.histories.states)
    member.scripts["score"].append(MemoryError("not a record's fault"))
    with pytest.raises(MemoryError):
        member.run_once()
    assert member.histories.states == before
    assert member.histories.open == []


def test_columns_of_a_wrong_size_do_not_leave_a_step_open() -> None:
    world = world_of(*["good"] * 4)
    member = world.join()
    original = member.histories.step

    def step(*given: Any) -> Any:
        found = original(*given)
        columns = found.columns._replace(values=found.columns.values[1:])
        member.histories.open[-1] = replace(found, values=columns)
        return member.histories.open[-1]

    vars(member.histories)["step"] = step
    with pytest.raises(ValueError, match="history of"):
        member.run_once()
    assert member.histories.open == []
    assert set(member.histories.states.values()) == {State()}


def test_batch_scored_ahead_is_rolled_back_before_the_aborted_one() -> None:
    world = world_of(*["good"] * 20)
    world.cluster.faults["commit"] = [None, RetryableError("refused")]
    member = world.join(ALWAYS)
    assert [member.run_once(), member.run_once()] == [Step.COMMITTED, Step.ABORTED]
    assert member.histories.open == []  # the fake records it if the oldest comes first
    drain(member)
    world.assert_complete()


def test_served_before_each_poll_and_at_no_other_time() -> None:
    world = world_of(*["good"] * 20)
    member = world.join(ALWAYS)
    calls: list[str] = []

    def recorded(name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            of = "" if name != "serve" else f"({given[0] and len(given[0])})"
            calls.append(name + of)
            return inner(*given)

        return call

    for name in ("serve", "step", "rollback", "committed"):
        setattr(member.histories, name, recorded(name, getattr(member.histories, name)))
    for name in ("poll", "begin"):
        setattr(member.broker, name, recorded(name, getattr(member.broker, name)))
    assert member.run_once() is Step.COMMITTED
    expected = ["serve(None)", "poll", "step", "serve(5)", "poll", "begin", "step", "committed"]
    assert calls == expected
    calls.clear()
    assert member.run_once() is Step.COMMITTED
    assert calls == expected[3:]


def test_rebalance_seen_by_the_poll_ahead_drops_both_batches_and_their_steps() -> None:
    world = world_of(*["good"] * 30)
    member = world.join(ALWAYS)
    world.cluster.faults["poll"] = [None, Meanwhile(lambda: world.join(ALWAYS))]
    assert member.run_once() is Step.ABORTED
    assert member.histories.open == []
    drain(member)
    drain(world.members[1])
    world.assert_complete()
    assert world.members[1].seen.outcomes


def test_partition_that_returns_during_the_poll_ahead_is_restored_before_it_is_read_again() -> None:
    world = world_of(*["good"] * 30)
    member = world.join(ALWAYS)
    world.cluster.faults["poll"] = [None, Meanwhile(lambda: world.cluster.return_at_once([0, 1]))]
    assert member.run_once() is Step.ABORTED
    assert member.broker.held() == {0, 1}
    drain(member)
    world.assert_complete()
    assert member.histories.restored == PARTITIONS + 2


@pytest.mark.parametrize("operation", [None, "commit", "guard", "refusal"])
def test_finish_commits_the_batch_scored_ahead_or_rolls_it_back(operation: str | None) -> None:
    world = world_of(*["good"] * 20)
    member = world.join(ALWAYS)
    assert member.run_once() is Step.COMMITTED
    assert len(member.histories.open) == 1
    committed = sum(world.cluster.committed.values())
    if operation == "commit":
        world.cluster.faults["commit"] = [RetryableError("x")]
    elif operation is not None:
        member.scripts[operation].append(RetryableError("x"))
    member.loop.finish()
    assert member.histories.open == []
    assert sum(world.cluster.committed.values()) == committed + 5 * (operation is None)
    assert member.histories.check() == PARTITIONS
    assert world.problems() == []


@pytest.mark.parametrize(
    ("headers", "advances"),
    [
        (None, True),
        ([], True),
        ([("redrive.topic", b"d")], True),
        ([("redrive.stage", b"score")], False),
        ([("redrive.stage", b"publish")], False),
        ([("redrive.stage", b"validate")], True),
        ([("redrive.stage", b"score"), ("redrive.stage", b"schema")], True),
        ([("redrive.stage", None)], True),
        ([("redrive.stage", b"\xff")], True),
    ],
)
def test_rows_redriven_from_a_stage_after_validation_do_not_advance(
    headers: Any, advances: bool
) -> None:
    found: list[tuple[list[int], list[bool]]] = []

    class Recording(NoHistories):
        def has_history(self, bundle: Bundle) -> bool:
            del bundle
            return True

        def step(self, *given: Any) -> None:
            found.append((given[3].tolist(), given[4].tolist()))

    polled = make_polled([b"bad", make_value(1), make_value(2)], headers=[headers, headers, None])
    pipeline = make_pipeline()
    pipeline.process(polled, make_bundle(), NOW_MS, Recording())
    alone = make_polled([make_value(1)], headers=[headers])
    pipeline.process(alone, make_bundle(), NOW_MS, Recording())
    assert found == [([1, 2], [advances, True]), ([0], [advances])]


def test_batch_without_a_valid_record_takes_a_step_for_its_marks() -> None:
    world = world_of("bad", "bad", "bad")
    member = world.join()
    drain(member)
    assert world.cluster.committed == {0: 1, 1: 1, 2: 1}
    assert set(world.cluster.marks.values()) == {f"sum={0:016x}"}
    world.assert_complete()


def test_bundle_without_history_takes_no_step_and_commits_no_mark() -> None:
    class Strict(NoHistories):
        def step(self, *_: object) -> None:
            raise AssertionError("no step was wanted")

    cluster = MemoryCluster(INPUT, PARTITIONS)
    world = World(cluster)
    world.produce(*MIXED)
    committed: list[Marks] = []

    class Broker(MemoryBroker):
        def begin(self) -> Any:
            txn = super().begin()
            inner = txn.commit

            def commit(polled: Polled, marks: Marks) -> None:
                committed.append(marks)
                inner(polled, marks)

            txn.commit = commit  # type: ignore[method-assign,assignment]
            return txn

    broker = Broker(cluster)
    loop = ScorerLoop(
        broker, make_pipeline(max_bytes={OUTPUT: SCORE_BYTES}), Strict(make_bundle),
        ScriptedGuard(), Seen(), LoopOptions(7, 0.0, ALWAYS),
    )  # fmt: skip
    while loop.run_once() is not Step.IDLE:
        pass
    assert outcomes_by_source(cluster) == inputs(cluster)
    assert [dict(marks) for marks in committed] == [{}] * 4
    assert set(cluster.marks.values()) == {""}


class Schedule:
    """Members that come and go, faults at every call, partitions that return: all at random."""

    def __init__(self, seed: int, control: Control = lambda _: None) -> None:
        self.chance = random.Random(seed)
        self.control = control
        self.world = World()
        self.active: list[Member] = []
        self.zombies: list[Member] = []
        self.join()

    def join(self) -> None:
        ahead, size = self.chance.choice([ALWAYS, NEVER]), self.chance.choice([1, 4, 50])
        self.active.append(self.world.join(ahead, size, self.chance, self.control))

    def leave(self) -> None:
        gone = self.active.pop(self.chance.randrange(len(self.active)))
        if self.chance.random() < 0.5:
            gone.loop.finish()
        else:
            self.zombies.append(gone)
            self.world.members.remove(gone)
        gone.broker.close()

    def disturb(self) -> None:
        cluster = self.world.cluster
        partitions = [p for p in range(PARTITIONS) if self.chance.random() < 0.5]
        if self.chance.random() < 0.5:
            cluster.rebalance()
        else:
            cluster.return_at_once(partitions)

    def fail(self) -> None:
        operation = self.chance.choice(FAULTS)
        event: Exception | None = RetryableError("fault")
        if operation in ("poll", "publish", "commit") and self.chance.random() < 0.5:
            event = Meanwhile(self.disturb)
        self.world.script(self.chance.choice(self.active), operation).append(event)

    def act(self) -> None:
        action = self.chance.random()
        if action < 0.1 and len(self.active) < 3:
            self.join()
        elif action < 0.2 and len(self.active) > 1:
            self.leave()
        elif action < 0.25:
            self.disturb()
        elif action < 0.4:
            self.world.produce(*self.chance.choices(KINDS, k=3))
        elif action < 0.5:
            self.fail()
        else:
            self.chance.choice([*self.active, *self.active, *self.zombies]).run_once()

    def run(self) -> World:
        """The world after 60 actions and the rest of the inputs.

        A zombie was removed from the group and does not know. What it does has no effect, and its
        states are of the past.
        """
        for _ in range(60):
            self.act()
        for _ in range(100):
            steps = [member.run_once() for member in self.active * 2]
            if set(steps) == {Step.IDLE} and not any(m.broker.held() for m in self.active):
                break
        return self.world


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_state_and_position_agree_under_random_faults_and_rebalances(seed: int) -> None:
    world = Schedule(seed).run()
    world.assert_complete()
    assert all(member.histories.open == [] for member in world.members)


def no_rollback(member: Member) -> None:
    """Aborted batches stay in the state."""
    proxy = as_histories(WithoutRollback(member.histories))
    vars(member.loop)["_histories"] = proxy


def keep_over_revocations(member: Member) -> None:
    """A partition that left and returned keeps its state."""
    histories = member.histories
    vars(histories)["drop"] = lambda _: None
    restore = histories.restore

    def keep(partition: int, count: int) -> None:
        if partition not in histories.states:
            restore(partition, count)
            return
        histories.known[partition] = count
        found = histories.broker.committed([partition])[partition]
        histories.broker.release(partition, found.offset or 0)

    vars(histories)["restore"] = keep


def advance_again(member: Member) -> None:
    """A batch that fails after its step keeps it, and advances again when it is retried."""

    class Keeping:
        def process(
            self, polled: Polled, bundle: Bundle, now_ms: int, histories: FoldHistories
        ) -> Outcome:
            proxy = as_histories(WithoutRollback(histories))
            return shared_pipeline().process(polled, bundle, now_ms, proxy)

    vars(member.loop)["_pipeline"] = Keeping()


def compute_marks_late(member: Member) -> None:
    """Marks are computed when they are committed. The next batch has advanced by then."""
    histories, has_stepped = member.histories, Event()
    step = histories.step

    def lazily(*given: Any) -> Any:
        found = step(*given)
        if len(histories.open) > 1:
            has_stepped.set()
        late = LateMarks(histories, list(found.marks))
        histories.open[-1] = replace(found, after=late)
        return histories.open[-1]

    vars(histories)["step"] = lazily
    histories.cluster.faults["commit"] = [Meanwhile(lambda: has_stepped.wait(10))]


@pytest.mark.parametrize("control", [no_rollback, keep_over_revocations, advance_again])
def test_control_is_caught_under_random_faults_and_rebalances(control: Control) -> None:
    caught, schedules = 0, 0
    while caught < 3:
        assert schedules < 60, f"caught in {caught} of {schedules} schedules"
        caught += bool(Schedule(schedules, control).run().problems())
        schedules += 1


def test_control_of_marks_that_are_computed_after_the_next_step_is_caught() -> None:
    for control, is_wrong in ((lambda _: None, False), (compute_marks_late, True)):
        world = world_of(*["good"] * 12)
        member = world.join(ALWAYS, control=control)
        assert member.run_once() is Step.COMMITTED
        assert sum(world.cluster.committed.values()) == 5
        assert bool(world.problems()) is is_wrong
