"""Ends the processes of a training, whichever dashboard started them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

TERM_SECONDS: Final = 8.0
"""A trainer ends within a second; what it has not published is never used."""

KILL_SECONDS: Final = 2.0

_POLL_SECONDS: Final = 0.02
_AFTER_NAME: Final = 19  # the start time is field 22 of the line, and the name is field 2


def started_ticks(pid: int) -> int | None:
    """When a process started, in ticks of the kernel; None if it is gone or not known.

    A process id is used again after its process ended. Both together are never.
    """
    try:
        line = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        return int(line.rpartition(")")[2].split()[_AFTER_NAME])
    except (OSError, ValueError, IndexError):
        return None


def is_ours(pid: int, ticks: int | None) -> bool:
    """Whether the group of this leader is still the one that was started.

    While a group has members, no process gets the number of its leader. So only a leader that
    started at another time is a stranger.
    """
    now = started_ticks(pid)
    return now is None or ticks is None or now == ticks


def end_group(
    group: int,
    has_ended: Callable[[], bool],
    term_seconds: float = TERM_SECONDS,
    kill_seconds: float = KILL_SECONDS,
) -> bool:
    """Ask a group of processes to end, then kill what is left of it.

    Returns whether the training has ended. A child that the training started without its lock is
    killed too, once the training has ended.
    """
    for number, seconds in ((signal.SIGTERM, term_seconds), (signal.SIGKILL, kill_seconds)):
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + seconds
        while not has_ended() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
    return has_ended()
