"""``stream-scorer demo`` as ``make demo`` starts it, on a machine that makes it hard.

The system has no OpenMP library, the dashboard's port is taken, and the scorer is killed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.local.probe import pick_free_port
from tests.support.hidden_openmp import without_openmp
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="hides libgomp and reads /proc"),
]

TRANSACTIONS = 2_000


@dataclass(frozen=True)
class Run:
    """A finished demo."""

    code: int
    log: str
    summary: dict[str, Any]
    port: int


def scorers_of(demo: int) -> list[int]:
    """The process ids of the scorers that a demo has started."""
    children = Path(f"/proc/{demo}/task/{demo}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"stream_scorer\0run" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("demo")
    environment = without_openmp(folder / "libraries")
    environment.pop("KAFKA_BOOTSTRAP_SERVERS", None)
    log = folder / "log"
    with socket.socket() as taken, log.open("wb") as stderr:
        port = pick_free_port()
        taken.bind(("127.0.0.1", port))
        taken.listen()
        command = [sys.executable, "-m", "stream_scorer", "demo", "--transactions",
                   str(TRANSACTIONS), "--exit", "--rate", "200", "--port", str(port)]  # fmt: skip
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=stderr
        ) as demo:
            try:
                wait_until(lambda: "first score" in log.read_text(), 400, what="the first score")
                (scorer,) = scorers_of(demo.pid)
                os.kill(scorer, signal.SIGKILL)
                output, _ = demo.communicate(timeout=350)
            finally:
                demo.terminate()
                demo.wait(60)
    lines = output.decode().splitlines()
    return Run(demo.returncode, log.read_text(), json.loads(lines[-1]) if lines else {}, port)


def test_demo_verifies_all_without_the_openmp_library_of_the_system(run: Run) -> None:
    assert run.code == 0, run.log
    assert run.summary["verified"] is True
    assert run.summary["scored"] == run.summary["transactions"] == TRANSACTIONS


def test_scorer_that_was_killed_is_started_again_and_said(run: Run) -> None:
    assert run.summary["restarts"] == 1
    assert "the scorer ended by itself (exit code -9); starting it again" in run.log


def test_dashboard_takes_the_next_free_port_and_says_which(run: Run) -> None:
    address = run.summary["dashboard"]
    taken = int(address.rpartition(":")[2].strip("/"))
    assert run.port < taken <= run.port + 100
    assert f"port {run.port} is in use, using {taken} instead" in run.log
    assert f"dashboard: {address}" in run.log


def test_progress_in_a_file_is_a_line_every_ten_seconds_at_most(run: Run) -> None:
    progress = [line for line in run.log.splitlines() if line.startswith("  scored ")]
    assert progress, run.log  # the last line is the result
    assert len(progress) <= 2 + run.summary["seconds"] / 10
    jars = [line for line in run.log.splitlines() if " of 46 " in line]
    assert len(jars) <= 1 + run.summary["seconds"] / 10
