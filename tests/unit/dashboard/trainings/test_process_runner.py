"""Trainings as processes: environment, log, a restart of the dashboard, and a killed process."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from pathlib import Path

import pytest

from dashboard.trainings import process_group
from dashboard.trainings.process_runner import KEPT, ProcessRunner
from dashboard.trainings.training import (
    LOG_MAX_BYTES,
    Order,
    State,
    Training,
    TrainingsUnavailable,
    Trigger,
)
from tests.support.waiting import wait_until

ORDER = Order("why; $(id) 'x'", Trigger.PERSON, "ana", "")


def python(code: str) -> str:
    return shlex.join([sys.executable, "-I", "-S", "-c", code])


def run(runner: ProcessRunner, now: int = 1000) -> Training:
    started = runner.start(ORDER, now, runner.list())
    wait_until(lambda: not runner.list()[0].is_running, what="the end of the process")
    return next(one for one in runner.list() if one.id == started.id)


def test_process_knows_its_request_and_its_output_is_the_log(tmp_path: Path) -> None:
    code = (
        "import json, os; print(json.dumps({n: v for n, v in os.environ.items() "
        "if n.startswith('TRAINING_') or n == 'MINE'}))"
    )
    runner = ProcessRunner(tmp_path / "t", python(code), {"MINE": "yes"})
    done = run(runner)
    assert done.state is State.SUCCEEDED
    assert json.loads(runner.log(done.id)) == {
        "MINE": "yes",
        "TRAINING_ID": done.id,
        "TRAINING_REASON": ORDER.reason,
        "TRAINING_TRIGGER": "person",
        "TRAINING_BY": "ana",
    }


def test_training_outlives_its_dashboard_and_a_new_one_finds_it(tmp_path: Path) -> None:
    """The lock is of the process, so that it runs on whoever looks."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = python(f"open({str(pipe)!r}).read()")
    first = ProcessRunner(tmp_path / "t", command, {})
    started = first.start(ORDER, 1000, [])
    restarted = ProcessRunner(tmp_path / "t", command, {})
    assert restarted.list() == [started]
    pipe.write_text("")
    wait_until(lambda: not restarted.list()[0].is_running, what="the end")
    assert restarted.list()[0].state is State.SUCCEEDED
    first.list()  # collects its child


def test_killed_process_is_lost_and_its_last_line_is_shown(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = (
        "import os; print(os.getsid(0)); print('\\x1b[31mfit', flush=True); "
        f"open({str(pipe)!r}).read()"
    )
    runner = ProcessRunner(tmp_path / "t", python(code), {})
    started = runner.start(ORDER, 1000, [])
    wait_until(lambda: runner.log(started.id).count("\n") == 1, what="two lines")
    session = int(runner.log(started.id).splitlines()[0])
    assert session != os.getsid(0)
    os.killpg(session, signal.SIGKILL)
    wait_until(lambda: not runner.list()[0].is_running, what="the end")
    (lost,) = runner.list()
    assert lost.state is State.LOST
    assert lost.detail.startswith("the process vanished without an exit code")
    assert lost.detail.endswith("last line: \\x1b[31mfit")


def waiting(folder: Path, code: str) -> str:
    """A command that runs ``code``, says so, and then waits for ever."""
    os.mkfifo(folder / "pipe")
    end = f"print('ready', flush=True); open({str(folder / 'pipe')!r}).read()"
    return python(f"{code}; {end}")


def started(runner: ProcessRunner) -> Training:
    """A training whose command has begun to wait."""
    found = runner.start(ORDER, 1000, [])
    wait_until(lambda: "ready" in runner.log(found.id), what="the process")
    return found


def living(group: int) -> list[str]:
    """The processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            line = path.read_text(errors="replace")
        except OSError:  # it ended in between
            continue
        state, _, of = line.rpartition(")")[2].split()[:3]
        if int(of) == group and state not in "ZX":
            found.append(line)
    return found


def test_cancelling_ends_the_children_too_and_twice_is_once(tmp_path: Path) -> None:
    # It holds no lock, and ignores the request to end.
    shell = "['/bin/sh', '-c', 'trap \"\" TERM; read line <pipe']"
    child = f"import subprocess; subprocess.Popen({shell})"
    place = f"import os; os.chdir({str(tmp_path)!r}); {child}"
    runner = ProcessRunner(tmp_path / "t", waiting(tmp_path, place), {})
    found = started(runner)
    process = json.loads((tmp_path / "t" / found.id / "process.json").read_text())
    assert len(living(process["pid"])) == 3
    ended, is_new = runner.cancel(found, "ana", 2000)
    assert (ended.state, is_new) == (State.CANCELLED, True)
    wait_until(lambda: living(process["pid"]) == [], what="the end of the children")
    assert runner.cancel(found, "eve", 3000) == (ended, False)


def test_process_that_ignores_the_request_to_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_group.end_group, "__defaults__", (0.05, 60.0))
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    runner = ProcessRunner(tmp_path / "t", waiting(tmp_path, code), {})
    ended, _ = runner.cancel(started(runner), "ana", 2000)
    assert (ended.state, ended.detail) == (State.CANCELLED, "cancelled by ana")


def test_process_of_a_stranger_is_never_ended(tmp_path: Path) -> None:
    """The number of a process that has ended is given to others."""
    runner = ProcessRunner(tmp_path / "t", waiting(tmp_path, "pass"), {})
    found = started(runner)
    path = tmp_path / "t" / found.id / "process.json"
    own = json.loads(path.read_text())
    for facts, words in (
        ({"pid": os.getpid(), "ticks": 1}, "still runs: a process of it has left the group"),
        ({"pid": "x", "ticks": 1}, "End the process on this machine"),
    ):
        path.write_text(json.dumps(facts))
        with pytest.raises(TrainingsUnavailable, match=words):
            runner.cancel(found, "ana", 2000)
    (listed,) = runner.list()
    assert (listed.state, listed.detail) == (State.RUNNING, "it is being cancelled")
    path.write_text(json.dumps(own))
    assert runner.cancel(found, "ana", 2000)[0].state is State.CANCELLED


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (python("import os, signal; os.kill(os.getpid(), signal.SIGTERM)"), "ended by SIGTERM"),
        (python("import sys; sys.exit('fraud-trainer: no training data')"),
         "exit code 1; last line: fraud-trainer: no training data"),
        ("/no/such/program", "exit code 127"),
    ],
)  # fmt: skip
def test_failure_names_exit_code_or_signal(tmp_path: Path, command: str, words: str) -> None:
    done = run(ProcessRunner(tmp_path / "t", command, {}))
    assert done.state is State.FAILED
    assert words in done.detail


def test_log_is_bounded_whatever_it_holds(tmp_path: Path) -> None:
    code = "import sys; sys.stdout.buffer.write(b'\\xff' * 300_000 + b'\\nend')"
    runner = ProcessRunner(tmp_path / "t", python(code), {})
    text = runner.log(run(runner).id)
    assert text.endswith("end")
    assert len(text) <= LOG_MAX_BYTES


def test_only_the_newest_folders_are_kept_and_damaged_ones_are_ignored(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    for number in range(KEPT + 5):
        old = folder / f"training-{number:02}"
        old.mkdir()
        request = {"reason": "", "trigger": "drift", "by": "", "key": "", "started_at": number}
        (old / "training.json").write_text(json.dumps(request))
        for name, text in (("lock", ""), ("exit", "0"), ("log.txt", "")):
            (old / name).write_text(text)
    (folder / "training-24" / "training.json").write_text("{")
    runner = ProcessRunner(folder, python(""), {})
    assert len(runner.list()) == KEPT + 4
    run(runner, now=99)
    found = runner.list()
    assert len(found) == KEPT
    assert found[0].started_at == 99


def test_folder_that_cannot_be_written_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("a file")
    runner = ProcessRunner(tmp_path / "t" / "u", python(""), {})
    with pytest.raises(TrainingsUnavailable, match=r"did not start|cannot read"):
        runner.start(ORDER, 1, [])
