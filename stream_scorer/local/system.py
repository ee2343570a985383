"""The processes of the whole system on this machine: started, watched and ended by this one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

from stream_scorer.errors import FatalError, UsageError
from stream_scorer.local.broker import EmbeddedBroker
from stream_scorer.local.folders import (
    check_space,
    explaining_full_disk,
    find_fullness,
    using_folder,
)
from stream_scorer.local.probe import next_free_port, pick_free_port
from stream_scorer.local.progress_lines import ProgressLines
from stream_scorer.local.scrape import answers
from stream_scorer.runtime.processes import end_child, end_process, start_child

STEP_SECONDS: Final = 300.0

_START_SECONDS: Final = 180.0  # the first start compiles kernels: a minute on two idle cores
_END_SECONDS: Final = 15.0
_LOG_LINES: Final = 15

_NEEDED_MIB: Final = 300
"""The data of Kafka, tables, models and logs; twice what the largest loop was seen to need."""


class Interrupted(Exception):
    """Ctrl-C or SIGTERM."""


def run_system(make: Callable[[Path], LocalSystem], kept: Path | None = None) -> int:
    """Run a system, and end all that it started; returns its exit code.

    Its files are in the folder ``kept``, or in a temporary one that is kept only after a failure.

    Raises:
        UsageError: the folder cannot be used, or its disk is full.
    """
    folder = _open_folder(kept)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with using_folder(folder, "the demo's files"):
        system = make(folder)
    system.is_temporary = kept is None
    failed = True
    try:
        with explaining_full_disk(folder):
            code = system.run()
        failed = code != 0
    except Interrupted:
        say("\nstopping …")
        code, failed = 0, False
    finally:
        # A second Ctrl-C during cleanup must not leave anything running.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        system.end()
        if failed:
            say(f"logs of all processes: {folder / 'logs'}")
        elif kept is None:
            shutil.rmtree(folder, ignore_errors=True)
    say("all processes have ended")
    if system.summary is not None:
        print(json.dumps(system.summary), flush=True)  # noqa: T201 - the command's output
    return code


def _open_folder(kept: Path | None) -> Path:
    if kept is None:
        root = Path(tempfile.gettempdir())
        with using_folder(root, "the demo's files"):
            check_space(root, _NEEDED_MIB)
            return Path(tempfile.mkdtemp(prefix="stream-scorer-demo-"))
    folder = kept.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_empty = not any(folder.iterdir())
    except OSError as error:
        raise UsageError(f"--folder {kept}: {error.strerror or error}") from error
    if not is_empty:
        raise UsageError(f"--folder {kept} is not empty: name a new folder")
    check_space(folder, _NEEDED_MIB)
    return folder


def _interrupt(*_: Any) -> None:
    raise Interrupted


def say(text: str) -> None:
    """Print a line for people."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the command's output


class LocalSystem:
    """The running processes, in the order in which they were started.

    Args:
        folder: for all files.
        port: of the dashboard, if it is free.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.started = time.monotonic()
        self.children: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.environment = dict(os.environ)
        self.summary: dict[str, Any] | None = None
        self.is_temporary = False
        self._port = port
        self._broker: EmbeddedBroker | None = None
        self._metrics_port = 0
        (folder / "logs").mkdir()

    def run(self) -> int:
        """Start everything, and see it through; returns the exit code."""
        raise NotImplementedError

    def end(self) -> None:
        """End every process that was started, all at once and Kafka last."""
        for _, child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        for _, child in self.children:
            end_child(child, _END_SECONDS)
        self.children.clear()
        if self._broker is not None:
            if self.is_temporary:
                self._broker.kill()  # a clean stop takes seconds, for data that nobody reads again
            self._broker.close()

    def end_grandchild(self, pid_file: Path) -> None:
        """End a process that a child has started, if it runs: its number is in this file."""
        with suppress(OSError, ValueError):
            end_process(int(pid_file.read_text()))

    def start_broker(self) -> str:
        """Start the embedded broker, unless there is a Kafka already; returns its address."""
        if servers := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
            say(f"  using the Kafka at {servers}")
            return servers
        self.tell("starting Apache Kafka")
        self._broker = EmbeddedBroker(self.folder / "kafka")
        lines = ProgressLines()
        self._broker.start(
            lambda done, total: lines.show(f"  downloaded {done} of {total} Kafka jars")
        )
        lines.end()
        return self._broker.bootstrap_servers

    def configure(self, servers: str) -> None:
        """Settings of all processes."""
        run = self.folder.name.rpartition("-")[2]
        self.environment |= {
            "KAFKA_BOOTSTRAP_SERVERS": servers,
            "MODEL_STORE_URI": (self.folder / "store").as_uri(),
            "MODEL_CACHE_DIR": str(self.folder / "cache"),
            "HISTORY_CACHE_DIR": str(self.folder / "history"),
            "MODEL_POLL_SECONDS": "2",
            "SHADOW_SPARE_CPU_ONLY": "false",  # a demo keeps all processors busy
            "METRICS_HOST": "127.0.0.1",
            "DASHBOARD_HOST": "127.0.0.1",
            "DASHBOARD_STATE_DIR": str(self.folder / "dashboard"),
            "PYTHONUNBUFFERED": "1",
        }
        if self._broker is None:  # an external Kafka: use topics and a group of this run only
            names = ("INPUT_TOPIC", "OUTPUT_TOPIC", "DLQ_TOPIC", "LABELS_TOPIC", "AUDIT_TOPIC",
                     "SHADOW_TOPIC", "KAFKA_GROUP_ID")  # fmt: skip
            for name in names:
                self.environment.setdefault(name, f"demo-{run}-{name.lower().replace('_', '-')}")

    def start_scorer(self) -> subprocess.Popen[bytes]:
        """Start the scorer; its port is picked now, before another process can take it."""
        self._metrics_port = pick_free_port()
        self.environment["METRICS_PORT"] = str(self._metrics_port)
        return self.start("scorer", "stream_scorer", "run")

    def start_dashboard(self) -> str:
        """Start the dashboard on the next free port; returns its address."""
        port = next_free_port(self._port)
        if port != self._port:
            say(f"  port {self._port} is in use, using {port} instead")
        self.environment["DASHBOARD_PORT"] = str(port)
        address = f"http://127.0.0.1:{port}/"
        dashboard = self.start("dashboard", "dashboard")
        self.wait("dashboard", dashboard, lambda: answers(f"{address}livez"))
        return address

    def start(self, name: str, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a program of the project. Its output goes to a log with this name."""
        with (self.folder / "logs" / f"{name}.log").open("ab") as log:
            child = start_child([sys.executable, "-m", module, *arguments], log, self.environment)
        self.children.append((name, child))
        return child

    def run_program(self, name: str, module: str, *arguments: str) -> None:
        """Start a program and wait until it has ended well."""
        self.finish(name, self.start(name, module, *arguments))

    def finish(self, name: str, child: subprocess.Popen[bytes]) -> None:
        """Wait until a program has ended well.

        Raises:
            FatalError: it failed, or takes too long.
        """
        try:
            code = child.wait(STEP_SECONDS)
        except subprocess.TimeoutExpired:
            raise FatalError(f"{name} did not finish within {STEP_SECONDS:.0f} s") from None
        self.children.remove((name, child))
        if code != 0:
            self.fail(name)

    def wait(self, name: str, child: subprocess.Popen[bytes], is_ready: Callable[[], bool]) -> None:
        """Wait until a running program is ready."""
        deadline = time.monotonic() + _START_SECONDS
        while not is_ready():
            if child.poll() is not None:
                self.fail(name)
            if time.monotonic() > deadline:
                self.fail(name, f"was not ready within {_START_SECONDS:.0f} s")
            time.sleep(0.05)

    def check(self, *names: str) -> None:
        """Fail if one of these programs has ended."""
        for name, child in self.children:
            if name in names and child.poll() is not None:
                self.fail(name)

    def fail(self, name: str, what: str = "failed") -> NoReturn:
        """Fail with the last lines of a program's log, or because the disk is full."""
        if full := find_fullness(self.folder):
            raise FatalError(f"{name} {what}: {full}")
        lines = (self.folder / "logs" / f"{name}.log").read_text(errors="replace").splitlines()
        tail = "\n".join(f"    {line}" for line in lines[-_LOG_LINES:])
        raise FatalError(f"{name} {what}; the last lines of its log:\n{tail}")

    def tell(self, what: str) -> None:
        """Say what happens now, with the time since the start."""
        say(f"[{time.monotonic() - self.started:5.1f} s] {what}")

    def url(self, path: str) -> str:
        """An address of the scorer."""
        return f"http://127.0.0.1:{self._metrics_port}{path}"
