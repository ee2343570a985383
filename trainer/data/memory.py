"""How much memory this process may use: of the machine, and of its container."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

CGROUP: Final = Path("/sys/fs/cgroup")
MEMINFO: Final = Path("/proc/meminfo")

_AVAILABLE: Final = re.compile(r"^MemAvailable:\s+(\d+) kB$", re.MULTILINE)
_RECLAIMABLE: Final = re.compile(r"^inactive_file (\d+)$", re.MULTILINE)
_FILES: Final = (
    ("memory.max", "memory.current", "memory.stat"),  # cgroup 2
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
    ),
)


def available_memory(meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> int | None:
    """Bytes that can still be allocated; None where the system does not report it.

    What a container's file cache holds can be freed, so it counts as available.
    """
    found = []
    if match := _AVAILABLE.search(_read(meminfo)):
        found.append(int(match[1]) * 1024)
    for limit, used, stat in _FILES:
        numbers = [_read(cgroup / name).strip() for name in (limit, used)]
        if all(number.isdecimal() for number in numbers):
            cached = _RECLAIMABLE.search(_read(cgroup / stat))
            free = int(numbers[0]) - int(numbers[1]) + (int(cached[1]) if cached else 0)
            found.append(max(0, free))
    return min(found, default=None)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
