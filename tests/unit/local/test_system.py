"""The folder and the end of the system that the demo runs; its processes are small ones."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import tempfile
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stream_scorer.errors import FatalError, UsageError
from stream_scorer.local.system import Interrupted, LocalSystem, run_system

Usage = namedtuple("Usage", "total used free")  # noqa: PYI024 - as shutil's


class Scripted(LocalSystem):
    """Runs a function in place of the demo."""

    def __init__(self, folder: Path, what: Callable[[LocalSystem], int]) -> None:
        super().__init__(folder, 8000)
        self._what = what

    def run(self) -> int:
        return self._what(self)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """run_system sets them for its process, which ends afterwards."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def run(what: Callable[[LocalSystem], int]) -> int:
    return run_system(lambda folder: Scripted(folder, what))


def test_ctrl_c_ends_all_processes_and_removes_the_folder(temporary: Path) -> None:
    children: list[subprocess.Popen[bytes]] = []

    def start_and_wait(system: LocalSystem) -> int:
        for number in range(3):
            child = subprocess.Popen(
                ["/bin/sh", "-c", "trap 'exit 0' TERM; echo $0; while :; do read _; done",
                 str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            assert child.stdout is not None
            child.stdout.readline()  # its trap is set
            system.children.append((str(number), child))
            children.append(child)
        raise Interrupted

    assert run(start_and_wait) == 0
    assert [child.returncode is None for child in children] == [False] * 3
    assert not list(temporary.iterdir())
    for child in children:
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None
            pipe.close()


def test_full_disk_is_said_in_a_sentence_before_and_while_it_runs(
    monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    def write(_: LocalSystem) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UsageError, match="no space is left on the disk of"):
        run(write)
    shutil.rmtree(next(temporary.iterdir()))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 2**20))
    with pytest.raises(UsageError, match="1 MiB are free on the disk of"):
        run(write)
    assert not list(temporary.iterdir())


def test_program_that_fails_on_a_full_disk_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    system = Scripted(tmp_path, lambda _: 0)
    (tmp_path / "logs" / "synth.log").write_text("\x1b[31mTraceback: disk\n")
    with pytest.raises(FatalError, match="the last lines of its log"):
        system.fail("synth")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 0))
    with pytest.raises(FatalError, match="synth failed: no space is left"):
        system.fail("synth")


@pytest.mark.parametrize("text", [None, "", "no number", "99999999"])
def test_grandchild_that_was_never_started_or_has_ended_is_no_failure(
    tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "training.pid"
    if text is not None:
        path.write_text(text)
    Scripted(tmp_path, lambda _: 0).end_grandchild(path)
