"""``run --workers N``: the children exit with their parent, however it exits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

CHILDREN = "/proc/{pid}/task/{pid}/children"  # not available in every kernel

pytestmark = [
    pytest.mark.skipif(
        sys.platform != "linux", reason="only Linux notifies a child when its parent exits"
    ),
    pytest.mark.skipif(
        not Path(CHILDREN.format(pid=os.getpid())).exists(),
        reason="this kernel does not list the children of a process",
    ),
]


def is_running(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False


def scorers_of(pid: int) -> list[int]:
    """The children that have started to run a scorer."""
    children = Path(CHILDREN.format(pid=pid)).read_text(encoding="utf-8").split()
    return [
        int(child)
        for child in children
        if b"stream_scorer\0run" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


@contextmanager
def two_workers(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """A parent with two scorers that wait for a broker that does not exist."""
    environment = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "MODEL_STORE_URI": (folder / "store").as_uri(),
        "MODEL_CACHE_DIR": str(folder / "cache"),
        "METRICS_PORT": "0",
        "METRICS_HOST": "127.0.0.1",
    }
    log = folder / "workers.log"
    command = [sys.executable, "-m", "stream_scorer", "run", "--workers", "2"]
    with log.open("wb") as output:
        parent = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    scorers: list[int] = []
    try:
        wait_until(
            lambda: log.read_text().count("waiting for") == 2, 120, what="both to be running"
        )
        scorers = scorers_of(parent.pid)
        yield parent, scorers
    finally:
        parent.kill()
        parent.wait(60)
        for pid in filter(is_running, scorers):
            os.kill(pid, signal.SIGKILL)


def test_workers_exit_when_their_parent_is_killed(tmp_path: Path) -> None:
    with two_workers(tmp_path) as (parent, scorers):
        assert len(scorers) == 2
        parent.kill()
        wait_until(lambda: not any(map(is_running, scorers)), what="the children to exit")


def test_workers_exit_cleanly_when_their_parent_is_terminated(tmp_path: Path) -> None:
    with two_workers(tmp_path) as (parent, scorers):
        parent.terminate()
        assert parent.wait(90) == 0
        assert not any(map(is_running, scorers))
