"""Runs trainings as processes of this machine. They outlive the dashboard, in their own session.

Each training has a folder with its request, its log, its exit code and a lock. The training and
its child processes hold the lock for as long as they live, so that a dashboard that was restarted
knows whether it still runs. A process id would say that of any process that got the number later.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dashboard.trainings.process_group import end_group, is_ours, started_ticks
from dashboard.trainings.records import Records, read_records, write_records
from dashboard.trainings.rules import check_cancel
from dashboard.trainings.training import (
    AUTOMATIC,
    LOG_MAX_BYTES,
    REFUSED_CODE,
    AlreadyRunning,
    Order,
    State,
    Training,
    TrainingsUnavailable,
    Trigger,
    tail,
)
from stream_scorer.runtime.files import replace_file
from stream_scorer.runtime.text import printable

log = logging.getLogger(__name__)

KEPT: Final = 20
"""Folders of trainings that are kept, the newest."""

_REQUEST: Final = "training.json"
_LOG: Final = "log.txt"
_EXIT: Final = "exit"
_LOCK: Final = "lock"
_PROCESS: Final = "process.json"
_CANCEL: Final = "cancelled"  # who cancelled it
_AUTOMATIC: Final = "automatic.json"  # beside the folders, of which only the newest are kept
_DETAIL_MAX: Final = 300  # characters of a log line
_COLLECT_SECONDS: Final = 1.0
_SIGNALED: Final = 128  # a shell adds the number of the signal to it

# Writes the exit code to the file named first. It is there whole or not at all.
_WRAPPER: Final = '"$@"; code=$?; echo $code >"$0.part" && mv "$0.part" "$0"; exit $code'


class ProcessRunner:
    """Trainings as processes.

    Args:
        folder: where their folders are; created when needed.
        command: the command line of a training.
        environment: of the processes. The request is added to it.
    """

    def __init__(self, folder: Path, command: str, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._command = _split(command)
        self._environment = environment
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def where(self) -> str:
        """Where trainings run, in words."""
        return "a process on this machine"

    def list(self) -> list[Training]:
        """The trainings whose folders are kept, newest first."""
        try:
            folders = [one for one in self._folder.iterdir() if one.is_dir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise TrainingsUnavailable(f"cannot read {self._folder}: {error}") from error
        found = [one for one in map(_read, folders) if one is not None]
        for one in found:
            if not one.is_running and (process := self._processes.pop(one.id, None)) is not None:
                _collect(process)
        return sorted(found, key=lambda one: (one.started_at, one.id), reverse=True)

    def start(self, order: Order, now: int, seen: Sequence[Training]) -> Training:
        """Start a training."""
        running = next((one for one in self.list() if one.is_running), None)
        if running is not None:
            raise AlreadyRunning(running)
        when = datetime.fromtimestamp(now / 1000, UTC).strftime("%Y%m%d-%H%M%S")
        name = f"training-{when}-{secrets.token_hex(3)}"
        folder = self._folder / name
        started = Training(
            name, State.RUNNING, now, order.trigger, order.reason, order.by, key=order.key,
            token=name,
        )  # fmt: skip
        before = self.last_automatic()
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.mkdir(mode=0o700)
            if order.trigger in AUTOMATIC:  # first, so that no crash forgets it
                self._remember(started)
            self._start(folder, order, now)
        except OSError as error:
            with suppress(OSError):
                self._remember(before)
            shutil.rmtree(folder, ignore_errors=True)
            raise TrainingsUnavailable(
                f"the training did not start: {error}. Free the disk or correct "
                "DASHBOARD_STATE_DIR, and try again"
            ) from error
        for old in sorted(seen, key=lambda one: one.started_at)[: -KEPT + 1]:
            if not old.is_running:
                shutil.rmtree(self._folder / old.id, ignore_errors=True)
        return started

    def last_automatic(self) -> Training | None:
        """The last one that was started, from a file."""
        try:
            return read_records((self._folder / _AUTOMATIC).read_text()).automatic
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise TrainingsUnavailable(f"cannot read {_AUTOMATIC}: {error}") from error

    def cancel(self, training: Training, by: str, now: int) -> tuple[Training, bool]:  # noqa: ARG002 - the file has its own time
        """End the process and its children."""
        folder = self._folder / Path(training.id).name
        is_new = not (folder / _CANCEL).exists()
        try:
            process = json.loads((folder / _PROCESS).read_bytes())
            group, ticks = int(process["pid"]), process["ticks"]
            if is_new:
                replace_file(folder / _CANCEL, by.encode())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingsUnavailable(
                f"the training was not cancelled: {error!r}. End the process on this machine"
            ) from error
        lock = folder / _LOCK
        # A group that is not ours any more has only processes that left it, which hold the lock.
        has_ended = is_ours(group, ticks) and end_group(group, lambda: not _is_locked(lock))
        found = next((one for one in self.list() if one.id == training.id), training)
        if not has_ended and found.is_running:
            raise TrainingsUnavailable(
                f"training {training.id} still runs: a process of it has left the group {group}. "
                "End it on this machine"
            )
        if found.state is not State.CANCELLED:
            check_cancel(found)  # it has ended by itself in between
        return found, is_new

    def log(self, training_id: str) -> str:
        """The end of the log."""
        return _read_log(self._folder / Path(training_id).name)

    def _remember(self, last: Training | None) -> None:
        """Make this one the last automatic training."""
        if last is not None or (self._folder / _AUTOMATIC).exists():
            text = write_records(Records(last))
            replace_file(self._folder / _AUTOMATIC, text.encode())

    def _start(self, folder: Path, order: Order, now: int) -> None:
        request = {
            "reason": order.reason,
            "trigger": order.trigger.value,
            "by": order.by,
            "key": order.key,
            "started_at": now,
        }
        replace_file(folder / _REQUEST, json.dumps(request).encode())
        environment = {
            **self._environment,
            "TRAINING_ID": folder.name,
            "TRAINING_REASON": order.reason,
            "TRAINING_TRIGGER": order.trigger.value,
            "TRAINING_BY": order.by,
        }
        with (folder / _LOCK).open("w") as lock, (folder / _LOG).open("wb") as output:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            process = subprocess.Popen(
                ["/bin/sh", "-c", _WRAPPER, str((folder / _EXIT).absolute()), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                pass_fds=(lock.fileno(),),
            )
        self._processes[folder.name] = process
        facts = {"pid": process.pid, "ticks": started_ticks(process.pid)}
        try:
            replace_file(folder / _PROCESS, json.dumps(facts).encode())
        except OSError as error:  # it runs, and can be ended by hand
            log.warning("training %s cannot be cancelled here: %s", folder.name, error)


def _collect(process: subprocess.Popen[bytes]) -> None:
    """Collect the exit status of a child that has released its lock, and so is about to end."""
    try:
        process.wait(_COLLECT_SECONDS)
    except subprocess.TimeoutExpired:
        log.warning("process %d has released its lock and does not end", process.pid)


def _split(command: str) -> list[str]:
    """The words of a command line. ``fraud-trainer`` is the one of this Python."""
    first, *rest = shlex.split(command)
    start = [sys.executable, "-m", "trainer"] if first == "fraud-trainer" else [first]
    return [*start, *rest]


def _read(folder: Path) -> Training | None:
    """The training of a folder. None if the folder has none."""
    try:
        request = json.loads((folder / _REQUEST).read_bytes())
        common: dict[str, Any] = {
            "id": folder.name,
            "started_at": int(request["started_at"]),
            "trigger": Trigger(request["trigger"]),
            "reason": str(request["reason"]),
            "by": str(request["by"]),
            "key": str(request["key"]),
            "token": folder.name,
        }
        by = _cancelled_by(folder)
        if _is_locked(folder / _LOCK):
            detail = "" if by is None else "it is being cancelled"
            return Training(state=State.RUNNING, detail=detail, **common)
        code = _exit_code(folder / _EXIT)
        ended = folder / (_LOG if code is None else _EXIT)
        common["ended_at"] = int(ended.stat().st_mtime * 1000)
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("ignoring %s: %s", folder, error)
        return None
    if code == 0:
        return Training(state=State.SUCCEEDED, **common)
    if by is not None:
        return Training(state=State.CANCELLED, detail=f"cancelled by {by}", **common)
    state = {None: State.LOST, REFUSED_CODE: State.REFUSED}.get(code, State.FAILED)
    return Training(state=state, detail=_why(code, _read_log(folder)), **common)


def _why(code: int | None, text: str) -> str:
    """Why a training failed, with the last line of its log."""
    if code is None:
        how = "the process vanished without an exit code: it was killed, or this machine restarted"
    elif code > _SIGNALED:
        number = code - _SIGNALED
        known = {int(one): one.name for one in signal.Signals}
        how = f"ended by {known.get(number, f'signal {number}')}"
    else:
        how = f"exit code {code}"
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    return f"{how}; last line: {printable(last.strip()[:_DETAIL_MAX])}" if last else how


def _cancelled_by(folder: Path) -> str | None:
    """Who cancelled a training; None if nobody did."""
    try:
        return printable((folder / _CANCEL).read_text(errors="replace")[:_DETAIL_MAX])
    except FileNotFoundError:
        return None


def _exit_code(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except FileNotFoundError:
        return None


def _is_locked(path: Path) -> bool:
    """Whether a process holds the lock."""
    with path.open("r") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _read_log(folder: Path) -> str:
    try:
        with (folder / _LOG).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_MAX_BYTES))
            return tail(file.read(LOG_MAX_BYTES).decode("utf-8", "replace"))
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise TrainingsUnavailable(f"cannot read the log of {folder.name}: {error}") from error
