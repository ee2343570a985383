"""The trainer's side of tracking: starts the process that talks to MLflow, and bounds the wait."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stream_scorer.runtime.masking import mask_userinfo

CLIENT: Final = (sys.executable, "-P", "-m", "trainer.publishing.tracking_process")

_READ_BYTES: Final = 64 * 1024
_PENDING_MAX_BYTES: Final = 8 * 1024 * 1024
"""Messages that the process has not taken yet. A learning curve is far smaller; points beyond are
dropped."""

_ENVIRONMENT: Final = {
    # Attempts are repeated by our process, which knows how long it may.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    # An address that redirects is a wrong setting: a redirected POST becomes a GET.
    "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Of the process. A variable of MLflow that the user has set takes precedence."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a run waits for tracking, in seconds.

    Training itself never waits. Once it has ended, the run waits while the server answers.

    Attributes:
        silent: without an answer. An upload that gets 256 KiB further counts as one.
        total: in all, whatever the server answers.
        start: for the process to load MLflow's client; the two above do not count before.
    """

    silent: float = 10.0
    total: float = 120.0
    start: float = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the tracking.

    Attributes:
        missed: part of the run that is not tracked → why; empty if all of it is.
        url: the run's page.
        champion: the registered version that the alias names now, if it was moved.
    """

    missed: Mapping[str, str]
    url: str = ""
    champion: str | None = None
    was_registered: bool = False


class TrackingProcess:
    """One process that tracks one run.

    No method waits but :meth:`end`, which is bounded by the limits.
    """

    def __init__(
        self, uri: str, limits: Limits = Limits(), command: Sequence[str] = CLIENT
    ) -> None:
        self._limits = limits
        self._pending = bytearray()
        self._received = bytearray()
        self._last_answer = 0.0
        self._ready_at: float | None = None
        self._is_closed = False
        self._done: set[str] = set()
        self._report: dict[str, Any] | None = None
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(limits),
            start_new_session=True,  # Ctrl-C reaches the trainer, which then ends the run
        )
        assert self._process.stdin is not None  # noqa: S101 - for mypy
        assert self._process.stdout is not None  # noqa: S101 - for mypy
        self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._input, False)
        os.set_blocking(self._output, False)
        self.send(uri=uri, silent_seconds=limits.silent, total_seconds=limits.total)

    def send(self, **message: Any) -> None:
        """Hand over a message."""
        if self._is_closed:
            return
        line = json.dumps(message).encode() + b"\n"
        if message.get("do") != "metric" or len(self._pending) < _PENDING_MAX_BYTES:
            self._pending += line
        self._write()
        self._read()

    @property
    def has_ended(self) -> bool:
        """Whether the process has given up before the run ended."""
        return self._report is not None

    def end(self, parts: Sequence[str] = (), **message: Any) -> Outcome:
        """Hand over the last message and wait for the outcome, within the limits.

        ``parts`` are what this message asks for: those that are not done are missed.
        """
        if self._report is None:
            self.send(**message)
        why = None if self._is_closed else self._wait(time.monotonic())
        self.kill()
        report = self._report or {}
        missed = dict(report.get("missed", {}))
        if missed or why is not None:
            why = why or next(iter(missed.values()))
            missed |= {p: why for p in parts if p not in self._done and p not in missed}
        if why is not None and not missed:
            missed["the end of the run"] = why
        was_registered = bool(report.get("was_registered"))
        return Outcome(missed, str(report.get("url", "")), report.get("champion"), was_registered)

    def kill(self) -> None:
        """End the process now."""
        self._is_closed = True
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _wait(self, started: float) -> str | None:
        """Wait for the last report; returns why it did not come, if so."""
        while self._report is None:
            now = time.monotonic()
            deadline, why = self._deadline(started)
            if now >= deadline:
                return why
            writing = [self._input] if self._pending else []
            select.select([self._output], writing, [], deadline - now)
            self._write()
            if not self._read() and self._report is None:
                return "the tracking process ended unexpectedly"
        return None

    def _deadline(self, started: float) -> tuple[float, str]:
        limits = self._limits
        if self._ready_at is None:
            return started + limits.start, f"MLflow's client did not load in {limits.start:g} s"
        began = max(started, self._ready_at)
        silent = max(began, self._last_answer) + limits.silent
        if silent <= began + limits.total:
            return silent, f"the server did not answer for {limits.silent:g} s"
        return began + limits.total, f"it took more than {limits.total:g} s"

    def _write(self) -> None:
        while self._pending:
            try:
                written = os.write(self._input, self._pending)
            except BlockingIOError:
                return
            except OSError:  # the process has ended
                self._pending.clear()
                return
            del self._pending[:written]

    def _read(self) -> bool:
        """Read what has been reported; False once the process has ended."""
        while True:
            try:
                block = os.read(self._output, _READ_BYTES)
            except BlockingIOError:
                return True
            if not block:
                return False
            self._received += block
            *lines, rest = self._received.split(b"\n")
            self._received = bytearray(rest)
            for line in lines:
                self._handle(json.loads(line))

    def _handle(self, report: dict[str, Any]) -> None:
        self._last_answer = time.monotonic()
        if self._ready_at is None:
            self._ready_at = self._last_answer
        if report["state"] == "done":
            self._done.add(report["part"])
        elif report["state"] == "ended":
            self._report = report


def _environment(limits: Limits) -> dict[str, str]:
    timeout = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, math.ceil(limits.silent)))}
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return _ENVIRONMENT | timeout | os.environ | {"PYTHONPATH": path}


def shown_uri(uri: str) -> str:
    """The server's address without credentials."""
    return mask_userinfo(uri)
