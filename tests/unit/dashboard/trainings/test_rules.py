"""When a training may start, and what the service counts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dashboard.trainings.records import MAX_CANCELLED, Records, read_records, write_records
from dashboard.trainings.rules import (
    HOUR_MS,
    check_cancel,
    check_start,
    digest_key,
    find_repetition,
)
from dashboard.trainings.training import (
    AlreadyRunning,
    NotCancellable,
    Order,
    State,
    TooSoon,
    Training,
    TrainingsUnavailable,
    Trigger,
    UnknownTraining,
)
from dashboard.trainings.trainings import Trainings
from tests.support.dashboard_kit import Clock
from tests.support.trainings.memory_runner import MemoryRunner

NOW = 1_764_489_600_000


def made(hours_ago: float, trigger: Trigger, state: State = State.SUCCEEDED) -> Training:
    return Training(f"t-{hours_ago}", state, NOW - round(hours_ago * HOUR_MS), trigger, "why")


def order(trigger: Trigger = Trigger.PERSON, key: str = "") -> Order:
    return Order("a reason", trigger, "ana", key)


@pytest.mark.parametrize("trigger", [Trigger.PERSON, Trigger.DRIFT])
@pytest.mark.parametrize("running", list(Trigger))
def test_one_training_runs_at_a_time_whoever_started_it(trigger: Trigger, running: Trigger) -> None:
    with pytest.raises(AlreadyRunning, match=r"t-1 \(why\).*wait until it has ended"):
        check_start(order(trigger), [made(1, running, State.RUNNING)], NOW, 24)


@pytest.mark.parametrize(
    ("trigger", "before", "may_start"),
    [
        (Trigger.DRIFT, [made(23.9, Trigger.DRIFT)], False),
        (Trigger.DRIFT, [made(24, Trigger.DRIFT)], True),
        (Trigger.DRIFT, [made(1, Trigger.DRIFT, State.FAILED)], False),
        (Trigger.DRIFT, [made(1, Trigger.DRIFT, State.LOST)], False),
        (Trigger.DRIFT, [made(1, Trigger.QUALITY)], False),
        (Trigger.QUALITY, [made(30, Trigger.DRIFT), made(1, Trigger.DRIFT)], False),
        (Trigger.DRIFT, [made(1, Trigger.PERSON), made(2, Trigger.SCHEDULE)], True),
        (Trigger.PERSON, [made(1, Trigger.DRIFT)], True),
        (Trigger.DRIFT, [], True),
    ],
)
def test_automatic_trainings_share_a_cooldown_and_people_have_none(
    trigger: Trigger, before: Sequence[Training], may_start: bool
) -> None:
    if may_start:
        check_start(order(trigger), before, NOW, 24)
        return
    with pytest.raises(TooSoon, match="TRAINING_COOLDOWN_HOURS=24") as error:
        check_start(order(trigger), before, NOW, 24)
    newest = max(one.started_at for one in before)
    assert error.value.next_at == newest + 24 * HOUR_MS
    check_start(order(trigger), before, NOW, 0)


def test_cooldown_counts_from_a_training_that_is_only_remembered() -> None:
    remembered = made(5, Trigger.DRIFT, State.RUNNING)  # as it was when it started
    with pytest.raises(TooSoon) as error:
        check_start(order(Trigger.QUALITY), [made(30, Trigger.DRIFT)], NOW, 24, remembered)
    assert error.value.next_at == NOW + 19 * HOUR_MS
    check_start(order(Trigger.QUALITY), [], NOW, 5, remembered)
    check_start(order(Trigger.PERSON), [], NOW, 24, remembered)


@pytest.mark.parametrize("trigger", list(Trigger))
def test_only_running_requested_trainings_are_cancelled(trigger: Trigger) -> None:
    if trigger in (Trigger.SCHEDULE, Trigger.KUBECTL):
        with pytest.raises(NotCancellable, match=rf"started by {trigger}.*kubectl delete job"):
            check_cancel(made(1, trigger, State.RUNNING))
    else:
        check_cancel(made(1, trigger, State.RUNNING))
    for state in State:
        if state is not State.RUNNING:
            with pytest.raises(NotCancellable, match=f"it has ended, and is {state}"):
                check_cancel(made(1, trigger, state))


def test_service_cancels_once_and_counts_how_trainings_end() -> None:
    runner, clock = MemoryRunner(), Clock()
    trainings = Trainings(runner, 24, clock)
    with pytest.raises(UnknownTraining, match="'none' is not known"):
        trainings.cancel("none", "ana")
    first, _ = trainings.start(order(Trigger.DRIFT))
    assert trainings.list()[0].is_running
    done, is_new = trainings.cancel(first.id, "ana")
    assert (done.state, is_new, done.ended_at) == (State.CANCELLED, True, 1_000_000)
    assert trainings.cancel(first.id, "eve") == (done, False)
    runner.trainings.clear()  # a history limit
    with pytest.raises(TooSoon):
        trainings.start(order(Trigger.DRIFT))
    second, _ = trainings.start(order())
    trainings.list()
    runner.end(State.REFUSED)
    for _ in range(2):
        trainings.count_ends({one.token: one.state for one in trainings.list()})
    with pytest.raises(NotCancellable):
        trainings.cancel(second.id, "ana")
    assert trainings.counts.ended == {"refused": 1}  # the first one left before anybody looked
    third, _ = trainings.start(order())
    trainings.count_ends({one.token: one.state for one in trainings.list()})
    trainings.cancel(third.id, "ana")
    trainings.count_ends({one.token: one.state for one in trainings.list()})
    assert trainings.counts.ended == {"refused": 1, "cancelled": 1}


def test_records_are_read_as_written_and_damaged_ones_are_left_out() -> None:
    one = Training("a", State.RUNNING, 1, Trigger.DRIFT, "r", "b", key="k", token="t")
    ended = Training("b", State.CANCELLED, 1, Trigger.PERSON, ended_at=2, detail="d", token="u")
    records = Records().with_automatic(one).with_cancelled(ended).with_cancelled(ended)
    assert read_records(write_records(records)) == records
    assert records.cancelled == (ended,)
    for number in range(MAX_CANCELLED + 5):
        records = records.with_cancelled(Training(f"c{number}", State.CANCELLED, 1, Trigger.PERSON,
                                                  token=f"c{number}"))  # fmt: skip
    assert len(records.cancelled) == MAX_CANCELLED
    assert records.cancelled[0].id == f"c{MAX_CANCELLED + 4}"
    for text in ("", "[1]", "{", '{"automatic": 3, "cancelled": [null, {"id": "x"}]}', "[" * 9999,
                 '{"automatic": {"id": "a", "state": "gone"}, "cancelled": "all"}'):  # fmt: skip
        assert read_records(text) == Records()


def test_repetition_is_found_by_the_digest_of_its_key() -> None:
    before = [
        Training("a", State.FAILED, 1, Trigger.PERSON),
        Training("b", State.FAILED, 2, Trigger.PERSON, key=digest_key("k")),
    ]
    assert find_repetition(order(key=digest_key("k")), before) is before[1]
    assert find_repetition(order(key=digest_key("other")), before) is None
    assert find_repetition(order(), before) is None
    assert digest_key("") == ""


def test_service_counts_what_it_started_and_refused() -> None:
    runner, clock = MemoryRunner(), Clock()
    trainings = Trainings(runner, 24, clock)
    first, is_new = trainings.start(order(Trigger.DRIFT, key="k"))
    assert (is_new, first.started_at) == (True, 1_000_000)
    assert trainings.start(order(Trigger.DRIFT, key="k")) == (first, False)
    with pytest.raises(AlreadyRunning):
        trainings.start(order())
    runner.end()
    with pytest.raises(TooSoon):
        trainings.start(order(Trigger.DRIFT))
    clock.now += 24 * 3600
    trainings.start(order(Trigger.DRIFT))
    runner.problem = TrainingsUnavailable("down")
    with pytest.raises(TrainingsUnavailable):
        trainings.start(order())
    assert trainings.counts.started == {"drift": 2}
    assert trainings.counts.refused == {"running": 1, "cooldown": 1, "unavailable": 1}


class RacingRunner(MemoryRunner):
    """Another dashboard starts a training after the list was read."""

    def __init__(self, other: Order) -> None:
        super().__init__()
        self._other = other

    def list(self) -> list[Training]:
        found = super().list()
        if not found:
            super().start(self._other, 1, [])
        return found


def test_training_of_another_dashboard_wins_unless_it_is_the_same_request() -> None:
    with pytest.raises(AlreadyRunning):
        Trainings(RacingRunner(order(key="theirs")), 24).start(order(key="ours"))
    same = order(key="same")
    found, is_new = Trainings(RacingRunner(same), 24).start(same)
    assert (found.key, is_new) == ("same", False)
