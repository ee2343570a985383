"""The processors that this process may use inside its container, and how OpenMP uses them."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

CGROUP: Final = Path("/sys/fs/cgroup")


def prepare_openmp(threads: int) -> None:
    """Set what OpenMP reads when it is loaded; what the environment sets already stays.

    Without a number of threads, OpenMP uses every processor of the machine. Threads that wait for
    each other must not hold a processor that another process could use: on a busy machine a fit of
    10 s took more than 4 minutes.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def available_cpus(cgroup: Path = CGROUP) -> int:
    """The container's CPU limit, rounded up; without a limit, the processors it may run on."""
    try:
        mine = len(os.sched_getaffinity(0))
    except AttributeError:  # not available on every system
        mine = os.cpu_count() or 1
    limit = _limit(cgroup)
    return mine if limit is None else max(1, min(mine, math.ceil(limit)))


def _limit(cgroup: Path) -> float | None:
    """Quota over period, from cgroup v2 (``cpu.max``) or v1 (``cpu.cfs_*_us``)."""
    try:
        quota, _, period = (cgroup / "cpu.max").read_text().strip().partition(" ")
    except OSError:
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        limit = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):  # "max": no limit
        return None
    return limit if limit > 0 else None
