"""What every runner of trainings does: the fake in memory, processes, and Jobs of an API server."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dashboard.trainings.kubernetes_api import KubernetesApi
from dashboard.trainings.kubernetes_runner import KubernetesRunner
from dashboard.trainings.process_runner import ProcessRunner
from dashboard.trainings.training import (
    AlreadyRunning,
    NotCancellable,
    Order,
    Runner,
    State,
    Trigger,
)
from tests.support.trainings.api_server import ApiServer, serve_api
from tests.support.trainings.memory_runner import MemoryRunner
from tests.support.waiting import wait_until

NOW = 1_764_489_600_000
BY_RULE = "Container trainer for pod training/p failed with exit code 4 matching FailJob rule"
ORDER = Order("drift of C13 <b>", Trigger.DRIFT, "alertmanager", "0" * 32)


@dataclass
class Case:
    """A runner, a second one of another dashboard, and how the training that runs ends."""

    runner: Runner
    other: Runner
    succeed: Callable[[], None]
    fail: Callable[[], None]
    refuse: Callable[[], None]
    finish_cancelling: Callable[[], None] = lambda: None
    forget: Callable[[str], None] = lambda _training: None


@pytest.fixture(params=["memory", "process", "kubernetes"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    if request.param == "memory":
        memory = MemoryRunner()
        yield Case(
            memory,
            memory,
            memory.end,
            lambda: memory.end(State.FAILED, "exit code 3"),
            lambda: memory.end(State.REFUSED, "exit code 4"),
            forget=lambda _training: memory.trainings.clear(),
        )
    elif request.param == "process":
        yield process_case(tmp_path)
    else:
        with serve_api(tmp_path, ApiServer()) as (api, credentials):
            runners = [
                KubernetesRunner(KubernetesApi(credentials, api.address), "training", "pipeline")
                for _ in range(2)
            ]

            def newest() -> str:
                return runners[0].list()[0].id

            yield Case(
                runners[0],
                runners[1],
                lambda: api.end(newest()),
                lambda: api.end(newest(), "Failed", reason="DeadlineExceeded"),
                lambda: api.end(newest(), "Failed", reason="PodFailurePolicy", message=BY_RULE),
                lambda: api.end_pods(newest()),
                api.forget_job,
            )


def process_case(folder: Path) -> Case:
    """A command that waits for a byte from a named pipe, and ends with it as its exit code."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    code = f"import sys; print('hello', flush=True); sys.exit(int(open({str(pipe)!r}).read()))"
    command = shlex.join([sys.executable, "-I", "-S", "-c", code])
    runners = [ProcessRunner(folder / "trainings", command, dict(os.environ)) for _ in range(2)]

    def end(text: str) -> None:
        pipe.write_text(text)
        # Both, because each collects the processes that it started.
        wait_until(
            lambda: not any(runner.list()[0].is_running for runner in runners),
            10,
            what="the end of the process",
        )

    return Case(
        runners[0],
        runners[1],
        lambda: end("0"),
        lambda: end("3"),
        lambda: end("4"),
        forget=lambda training: shutil.rmtree(folder / "trainings" / training),
    )


def test_started_training_runs_is_listed_and_ends(case: Case) -> None:
    assert case.runner.list() == []
    started = case.runner.start(ORDER, NOW, [])
    assert (started.state, started.ended_at) == (State.RUNNING, None)
    (found,) = case.other.list()
    for one in (started, found):
        facts = (one.reason, one.trigger, one.by, one.key)
        assert facts == (ORDER.reason, ORDER.trigger, ORDER.by, ORDER.key)
    assert (found.id, found.is_running) == (started.id, True)
    case.succeed()
    (ended,) = case.other.list()
    assert (ended.state, ended.detail) == (State.SUCCEEDED, "")
    assert ended.ended_at is not None


def test_failed_training_says_why(case: Case) -> None:
    case.runner.start(ORDER, NOW, [])
    case.fail()
    (ended,) = case.runner.list()
    assert ended.state is State.FAILED
    assert ended.detail.startswith(("exit code 3", "DeadlineExceeded"))


def test_second_start_on_the_same_list_starts_nothing(case: Case) -> None:
    seen = case.runner.list()
    first = case.runner.start(ORDER, NOW, seen)
    with pytest.raises(AlreadyRunning) as error:
        case.other.start(Order("other", Trigger.PERSON, "ana"), NOW + 1, seen)
    assert error.value.running.id == first.id
    assert [one.id for one in case.runner.list()] == [first.id]
    case.succeed()
    second = case.other.start(Order("other", Trigger.PERSON, "ana"), NOW + 2, case.other.list())
    assert [one.id for one in case.runner.list()] == [second.id, first.id]
    case.succeed()


def test_log_of_a_training_that_has_none_is_empty(case: Case) -> None:
    started = case.runner.start(ORDER, NOW, [])
    assert case.runner.log("no-such-training") == ""
    assert case.runner.log(started.id) in ("", "hello")
    case.succeed()


def test_training_that_the_gate_refused_is_no_failure(case: Case) -> None:
    case.runner.start(ORDER, NOW, [])
    case.refuse()
    (ended,) = case.runner.list()
    assert (ended.state, "exit code 4" in ended.detail) == (State.REFUSED, True)


def test_cancelled_training_ends_stays_in_the_list_and_lets_another_one_start(case: Case) -> None:
    started = case.runner.start(ORDER, NOW, [])
    # Another dashboard, or this one after a restart, cancels it too.
    found, is_new = case.other.cancel(started, "ana <b>", NOW + 5)
    assert (found.id, is_new) == (started.id, True)
    case.finish_cancelling()
    for runner in (case.runner, case.other):
        (ended,) = runner.list()
        assert (ended.id, ended.state) == (started.id, State.CANCELLED)
        assert ended.detail == "cancelled by ana <b>"
        assert (ended.reason, ended.trigger, ended.by) == (ORDER.reason, ORDER.trigger, ORDER.by)
        assert ended.ended_at is not None
    second = case.runner.start(Order("again", Trigger.PERSON, "ana"), NOW + 9, case.runner.list())
    assert second.is_running
    case.succeed()
    assert {one.state for one in case.runner.list()} == {State.CANCELLED, State.SUCCEEDED}


def test_training_that_has_ended_is_not_cancelled(case: Case) -> None:
    started = case.runner.start(ORDER, NOW, [])
    case.succeed()
    with pytest.raises(NotCancellable, match="it has ended, and is succeeded"):
        case.runner.cancel(started, "ana", NOW)
    assert case.runner.list()[0].state is State.SUCCEEDED


def test_last_automatic_training_is_known_after_everything_of_it_is_gone(case: Case) -> None:
    assert case.runner.last_automatic() is None
    started = case.runner.start(ORDER, NOW, [])
    case.succeed()
    case.forget(started.id)
    case.runner.start(Order("why", Trigger.PERSON, "ana"), NOW + 1, case.runner.list())
    case.succeed()
    for runner in (case.runner, case.other):
        last = runner.last_automatic()
        assert last is not None
        facts = (last.id, last.started_at, last.trigger, last.reason)
        assert facts == (started.id, NOW, ORDER.trigger, ORDER.reason)
