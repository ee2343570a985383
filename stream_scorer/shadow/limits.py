"""What the challenger's process may take: memory, and processors that nobody else wants.

Everything here is best on Linux; what another system lacks is left out.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

MEMORY_BYTES: Final = 512 * 1024 * 1024
"""Private memory of a challenger's process, at most."""

LEAST_MEMORY_BYTES: Final = 320 * 1024 * 1024
"""With less it cannot load: the program alone needs 130 MiB, and a bundle three times its files."""

MARGIN_BYTES: Final = 128 * 1024 * 1024
"""Memory that stays free below the container's limit; the batch in shared memory is in it."""

CGROUP: Final = Path("/sys/fs/cgroup")

_PR_SET_PDEATHSIG: Final = 1
_FIRST_VICTIM: Final = 1000
_NICE: Final = 19
_UNLIMITED: Final = 1 << 60  # cgroup v1 states no limit as a number near 2^63

_LOOK_SECONDS: Final = 1.0
_MOST_WAITING: Final = 0.05
_PAUSE_SECONDS: Final = 10.0
_LONGEST_PAUSE_SECONDS: Final = 300.0


def end_with(parent: int) -> None:
    """Be killed when the thread that started this process ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        sys.exit(1)


def limit_memory(size: int) -> None:
    """Let allocations beyond ``size`` bytes fail, and be the first that the kernel ends.

    ``RLIMIT_DATA`` counts private writable memory, and neither programs nor shared memory.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    with suppress(OSError):  # no such file outside Linux
        Path("/proc/self/oom_score_adj").write_text(f"{_FIRST_VICTIM}\n", "ascii")


def yield_processors() -> None:
    """Run only where no other process wants to."""
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(_NICE)


class Memory(NamedTuple):
    """The container's memory in bytes: its limit, and what cannot be reclaimed of it."""

    limit: int
    used: int


def read_memory(cgroup: Path = CGROUP) -> Memory | None:
    """The memory of this container; None where it has no limit, or none can be read."""
    for folder, names in (
        (cgroup, ("memory.max", "memory.current", "inactive_file ")),
        (cgroup / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes",
                             "total_inactive_file ")),
    ):  # fmt: skip
        try:
            limit = (folder / names[0]).read_text("ascii").strip()
            used = int((folder / names[1]).read_text("ascii"))
            lines = (folder / "memory.stat").read_text("ascii").splitlines()
        except (OSError, ValueError):
            continue
        if not limit.isdecimal() or int(limit) >= _UNLIMITED:
            return None
        files = [int(line.split()[1]) for line in lines if line.startswith(names[2])]
        return Memory(int(limit), used - sum(files))
    return None


def peak_bytes() -> int:
    """The most memory that this process has had.

    On Linux ``ru_maxrss`` is also that of the process that started this one, before it did.
    """
    with suppress(OSError, LookupError, ValueError):
        status = Path("/proc/self/status").read_text("ascii", "replace")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def memory_for_challenger(memory: Memory | None, peak: int) -> int:
    """Bytes for a challenger's process beside one whose memory was ``peak``; 0: too few.

    What this process has once needed it may need again, so that counts and not what it uses now.
    """
    if memory is None:
        return MEMORY_BYTES
    left = memory.limit - max(peak, memory.used) - MARGIN_BYTES
    return 0 if left < LEAST_MEMORY_BYTES else min(left, MEMORY_BYTES)


class SpareProcessor:
    """Whether a processor is free beside the loop; looks once a second, in the loop's thread.

    None is free while the loop waits for a processor for more than a twentieth of the time, or its
    container was throttled. Then it is left alone for ten seconds, and for twice as long each time
    that one more second later none is free either, up to five minutes.

    Args:
        read_waiting: seconds that the calling thread has waited for a processor, all in all.
        read_throttled: periods in which the container was throttled, all in all.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        read_waiting: Callable[[], float],
        read_throttled: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read_waiting = read_waiting
        self._read_throttled = read_throttled
        self._clock = clock
        self._looked_at: float | None = None
        self._seen = 0.0, 0
        self._until = float("-inf")
        self._pause = _PAUSE_SECONDS

    def is_free(self) -> bool:
        """As of the last look."""
        now = self._clock()
        if self._looked_at is None or now - self._looked_at >= _LOOK_SECONDS:
            self._look(now)
        return now >= self._until

    def _look(self, now: float) -> None:
        before, self._seen = self._seen, (self._read_waiting(), self._read_throttled())
        since, self._looked_at = self._looked_at, now
        if since is None:
            return
        waited = (self._seen[0] - before[0]) / (now - since)
        if waited > _MOST_WAITING or self._seen[1] > before[1]:
            if now >= self._until:  # it was let in, and that was too early
                recently = now - self._until < _PAUSE_SECONDS
                longer = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
                self._pause = longer if recently else _PAUSE_SECONDS
            self._until = now + self._pause


def seconds_waited() -> float:
    """Seconds that this thread was ready to run and no processor was free."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text("ascii").split()[1]) / 1e9
    except (OSError, LookupError, ValueError):
        return 0.0


def times_throttled(cgroup: Path = CGROUP) -> int:
    """Periods in which this container wanted more processor time than its limit."""
    for path in (cgroup / "cpu.stat", cgroup / "cpu" / "cpu.stat"):
        try:
            lines = path.read_text("ascii").splitlines()
        except OSError:
            continue
        return sum(int(line.split()[1]) for line in lines if line.startswith("nr_throttled "))
    return 0
