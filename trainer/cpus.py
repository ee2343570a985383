"""The number of processors this process may use inside its container."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

CGROUP: Final = Path("/sys/fs/cgroup")


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
