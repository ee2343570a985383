"""Which bundle a scorer can score with, and what it does until a history is there."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from schemas.batch import build_batch
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.kafka.mark import format_mark, parse_mark
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.store.memory_store import StoreFault
from stream_scorer.state.eras import require_spec
from stream_scorer.state.histories import HOLD_SECONDS, RETRY_SECONDS
from stream_scorer.state.inputs import InputMissing
from stream_scorer.state.marks import history_mark
from stream_scorer.stream.loop import Step
from stream_scorer.stream.memory_broker import Record
from tests.support.factories import make_bundle
from tests.support.scoring_kit import INPUT, NEVER
from tests.support.state.history_kit import NOW, make_era, make_history_bundle
from tests.support.state.world import PARTITIONS, Member, World

PLAIN = make_bundle("v2")
BUNDLE = make_history_bundle("v1")
SAME = make_history_bundle("v4")
OTHER = make_history_bundle("v3", ring=5)


class One:
    """One scorer, whose threads work only when a test says so."""

    def __init__(self, bundle: Bundle = BUNDLE, n: int = 60, ahead_from: int = 1) -> None:
        self.world = World(3, n, bundle)
        gone = self.world.members.pop()
        self.world.cluster.leave(gone.broker)
        self.member: Member = self.world.members[0]
        self.member.loop._options = replace(
            self.member.loop._options, max_records=4, ahead_from_records=ahead_from
        )

    def serve(self, bundle: Bundle) -> None:
        """Promote a bundle, and let the loop notice."""
        self.world.promote(bundle)
        self.member.models.current = bundle
        self.loop()

    def loop(self, times: int = 1) -> list[Step]:
        """Iterations of the loop."""
        steps = []
        for _ in range(times):
            self.world.now += 1
            steps.append(self.member.loop.run_once())
        return steps

    def work(self, times: int = 1) -> None:
        """Let the restore thread do N things, each followed by an iteration of the loop."""
        for _ in range(times):
            self.world.now += 1
            self.member.restorer.work_once()
            self.loop()

    def until(self, version: str, most: int = 60) -> None:
        """Work until a version scores."""
        for _ in range(most):
            if self.version == version and not self.held:
                return
            self.work()
        pytest.fail(f"{version} does not score: {self.member.histories.problem}")

    @property
    def version(self) -> str | None:
        model = self.member.histories.model()
        return model.version if model else None

    @property
    def held(self) -> frozenset[int]:
        return self.member.broker.held()

    @property
    def committed(self) -> int:
        return sum(self.world.cluster.committed.values())

    def versions(self) -> set[str]:
        return {version for version, _ in self.world.scores().values()}


def test_no_partition_delivers_a_record_before_its_history_is_there() -> None:
    one = One()
    assert one.loop(5) == [Step.IDLE] * 5
    assert one.held == frozenset(range(PARTITIONS))
    assert {w.reason for w in one.member.histories.waiting.values()} == {"waiting for history"}
    one.until("v1")
    assert one.member.histories.waiting == {}
    one.world.finish().check_outcomes()


def test_partitions_are_released_one_by_one_as_they_are_restored() -> None:
    one = One()
    one.loop()
    one.work()  # the era
    counts = []
    for _ in range(PARTITIONS):
        one.work()
        counts.append(len(one.held))
    assert counts == [2, 1, 0]


def test_new_version_with_the_same_features_takes_over_at_once_with_the_same_states() -> None:
    one = One()
    one.until("v1")
    states = one.member.histories.states
    one.serve(SAME)
    assert one.version == "v4"
    assert one.member.histories.states is states
    assert one.held == frozenset()
    one.world.finish().check_outcomes()
    assert "v4" in one.versions()


def test_version_without_history_takes_over_at_once_and_drops_everything() -> None:
    one = One()
    one.until("v1")
    one.loop(2)
    one.serve(PLAIN)
    assert (one.version, one.held) == ("v2", frozenset())
    assert one.member.histories.states is None
    one.world.finish().check_outcomes()
    assert one.versions() == {"v1", "v2"}


def test_partitions_that_wait_for_a_history_are_released_if_none_is_needed_any_more() -> None:
    one = One()
    one.loop(3)
    assert one.held
    one.serve(PLAIN)
    one.until("v2")
    one.world.finish().check_outcomes()
    assert one.versions() == {"v2"}


@pytest.mark.parametrize("before", [PLAIN, BUNDLE], ids=["without history", "with another"])
def test_scoring_goes_on_with_the_old_version_while_the_new_history_is_prepared(
    before: Bundle,
) -> None:
    one = One(before, 120)
    one.until(before.version)
    one.serve(OTHER)
    held, scored = [], one.committed
    while one.version != "v3":
        held.append(bool(one.held))
        one.work()
    assert one.committed > scored
    # Held only at the end, for the inputs that came while the states were prepared.
    assert held == sorted(held)
    assert held.count(True) <= PARTITIONS + 2 < held.count(False) + PARTITIONS + 2
    one.world.finish().check_outcomes()
    assert one.versions() == {before.version, "v3"}


def test_version_whose_history_cannot_be_restored_waits_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = One(PLAIN, 120)
    one.until("v2")
    one.world.objects.script([StoreFault("unavailable", times=1000)])
    one.serve(OTHER)
    one.work(10)
    assert (one.version, one.held) == ("v2", frozenset())
    assert "unavailable" in (one.member.histories.problem or "")
    one.world.objects.heal()
    one.world.now += 60
    one.until("v3")
    assert one.member.histories.problem is None
    one.world.finish().check_outcomes()
    assert "cannot look for the era" in caplog.text


def test_inputs_that_cannot_be_read_postpone_the_change_and_no_partition_stays_held() -> None:
    one = One(PLAIN, 120)
    one.until("v2")
    one.serve(OTHER)
    one.work(2)
    for log in one.world.logs:
        log.before_read = fail
    for _ in range(PARTITIONS + 6):
        one.work()
    assert one.held  # the last inputs are missing
    one.world.now += HOLD_SECONDS
    one.loop(2)
    one.work(PARTITIONS + 1)  # where each partition has to be read
    assert (one.version, one.held) == ("v2", frozenset())
    assert "cannot be read" in (one.member.histories.problem or "")
    for log in one.world.logs:
        log.before_read = lambda: None
    scored = one.committed
    one.work(3)
    assert one.committed >= scored
    one.world.now += RETRY_SECONDS
    one.until("v3")
    one.world.finish().check_outcomes()


def fail() -> None:
    raise InputMissing("the input at offset 7 cannot be read")


def test_promotion_that_is_taken_back_in_between_leaves_everything_as_it_was() -> None:
    one = One(BUNDLE, 120)
    one.until("v1")
    one.serve(OTHER)
    one.work(2)
    one.serve(BUNDLE)
    assert (one.version, one.held) == ("v1", frozenset())
    one.world.finish().check_outcomes()
    assert one.versions() == {"v1"}


def test_version_that_failed_its_guard_scores_nothing_while_the_previous_one_is_restored() -> None:
    one = One(BUNDLE, 120)
    one.until("v1")
    one.loop(2)
    scored = one.committed
    one.member.models.withdrawn.add("v1")
    one.serve(OTHER)
    assert one.held == frozenset(range(PARTITIONS))
    committed = one.committed  # what was scored ahead
    while one.version != "v3":
        one.work()
        assert one.committed in (committed, scored) or one.version == "v3"
    one.world.finish().check_outcomes()


def test_newer_era_is_taken_up_while_scoring_goes_on() -> None:
    one = One(BUNDLE, 120)
    one.until("v1")
    one.loop(3)
    era = one.world.store.latest_era(make_era(_spec(BUNDLE)).spec)
    assert era is not None
    begin = tuple(one.world.cluster.committed.get(p, 0) for p in range(PARTITIONS))
    one.world.store.create_era(
        replace(era, number=2, begin=begin, id="2" * 32, created=NOW + timedelta(hours=1))
    )
    one.world.now += 60
    for _ in range(40):
        one.work()
        states = one.member.histories.states
        if states is not None and states.era.number == 2:
            break
    one.world.finish()
    marks = [parse_mark(text) for text in one.world.cluster.marks.values()]
    assert {mark["era"] for mark in marks} <= {"1", "2"}
    assert any(mark["era"] == "2" for mark in marks)
    one.world.check_marks()


def test_mark_of_a_newer_era_is_looked_for_at_once() -> None:
    one = One()
    one.loop()
    one.work()  # era 1
    era = one.member.histories.states
    assert era is not None
    one.world.store.create_era(replace(era.era, number=2, id="2" * 32))
    mark = history_mark(era.spec.fingerprint, 2, 0)
    one.world.cluster.committed[1] = 0
    one.world.cluster.marks[1] = format_mark(mark.fields())
    one.work(PARTITIONS + 1)
    states = one.member.histories.states
    for _ in range(20):
        one.work()
        states = one.member.histories.states
    assert states is not None
    assert states.era.number == 2
    assert one.world.now < 60


def wrong_mark() -> str:
    return format_mark(history_mark(_spec(BUNDLE).fingerprint, 1, 99).fields())


def test_partition_with_another_check_sum_stays_held_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = One()
    one.world.cluster.committed[1] = 5
    one.world.cluster.marks[1] = format_mark(
        history_mark(_spec(BUNDLE).fingerprint, 1, 99).fields()
    )
    era = make_era(_spec(BUNDLE), PARTITIONS)
    one.world.store.create_era(era)
    one.loop()
    one.work(30)
    ends = one.world.ends()
    assert one.world.cluster.committed == {0: ends[0], 1: 5, 2: ends[2]}
    assert one.held == frozenset({1})
    waiting = one.member.histories.waiting[1]
    assert waiting.needs_operator
    assert "HistoryMismatch" in waiting.reason
    assert one.world.counted.restores["mismatch"] == 1
    assert caplog.text.count("has the check sum") == 1  # once, not at each iteration


def test_partition_with_a_mismatch_is_tried_again_when_it_returns() -> None:
    one = One()
    one.world.store.create_era(make_era(_spec(BUNDLE), PARTITIONS))
    one.world.cluster.committed[1] = 5
    one.world.cluster.marks[1] = format_mark(
        history_mark(_spec(BUNDLE).fingerprint, 1, 99).fields()
    )
    one.loop()
    one.work(6)
    assert one.held == frozenset({1})
    one.world.cluster.marks[1] = ""
    one.world.cluster.return_at_once([1])
    one.until("v1")
    one.world.finish()


def test_partitions_that_the_era_does_not_have_stop_the_process() -> None:
    one = One()
    one.world.store.create_era(make_era(_spec(BUNDLE), PARTITIONS - 1))
    one.loop()
    with pytest.raises(FatalError, match="history rescale"):
        one.work(3)


def test_unusable_era_stops_a_scorer_that_needs_it_but_not_one_that_has_another_version() -> None:
    one = One(PLAIN)
    one.until("v2")
    one.world.store.create_era(make_era(_spec(OTHER), PARTITIONS, topic="elsewhere"))
    one.serve(OTHER)
    one.work(5)
    assert one.version == "v2"
    assert "elsewhere" in (one.member.histories.problem or "")
    other = One(OTHER)
    other.world.store.create_era(make_era(_spec(OTHER), PARTITIONS, topic="elsewhere"))
    other.loop()
    with pytest.raises(FatalError, match="elsewhere"):
        other.work(3)


def test_partition_that_leaves_during_its_restore_is_abandoned() -> None:
    one = One()
    one.loop()
    one.work()
    one.loop()
    assert len(one.member.restorer._queue) == PARTITIONS
    one.member.broker.assign(frozenset({0, 1}))
    one.loop(2)
    one.work(4)
    assert one.member.restorer._queue == []
    states = one.member.histories.states
    assert states is not None
    assert sorted(p for p, _ in states.items()) == [0, 1]
    assert one.world.counted.restores["checked"] + one.world.counted.restores["unchecked"] == 2


def test_records_of_a_partition_without_a_state_change_nothing_and_are_read_again() -> None:
    one = One()
    one.until("v1")
    states = one.member.histories.states
    assert states is not None
    states.drop(1)
    before = [owned.head for _, owned in states.items()]
    polled = one.member.broker.poll(100, 0)
    assert polled is not None
    batch = build_batch([one.world.rows[0, 0]])
    with pytest.raises(RetryableError, match="partition 1"):
        one.member.histories.step(
            BUNDLE, polled, batch, np.zeros(1, np.int64), np.ones(1, np.bool_)
        )
    assert [owned.head for _, owned in states.items()] == before
    one.member.broker.rewind(polled)
    one.world.finish().check_outcomes()


def test_records_before_the_state_drop_it_and_it_is_restored() -> None:
    one = One(ahead_from=NEVER)
    one.until("v1")
    one.loop(3)
    states = one.member.histories.states
    assert states is not None
    partition, owned = next(iter(states.items()))
    assert owned.head > 0
    one.member.broker._positions[partition] = 0  # a broker that rewinds too far
    one.loop(2)
    assert partition not in states
    one.world.finish().check_outcomes()
    assert partition in states


def test_counts_are_those_of_committed_rows_and_survive_a_change_of_version() -> None:
    one = One()
    one.world.cluster.logs[INPUT, 0].append(Record(b"1", one.world.cluster.logs[INPUT, 1][0].value))
    one.world.rows[0, len(one.world.cluster.logs[INPUT, 0]) - 1] = one.world.rows[1, 0]
    one.until("v1")
    one.world.finish()
    counts = one.member.histories.counts()
    assert counts.misplaced >= 1
    assert counts.late > 0
    one.member.models.current = PLAIN
    one.loop()
    assert one.member.histories.counts() == counts


def test_step_of_something_else_is_refused() -> None:
    one = One()
    with pytest.raises(TypeError):
        one.member.histories.rollback(object())


def _spec(bundle: Bundle) -> HistorySpec:
    return require_spec(bundle)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
