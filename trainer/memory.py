"""The peak of this process's memory, by stage where the kernel can reset it (Linux)."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from pathlib import Path
from typing import Final

_SELF: Final = Path("/proc/self")
_RESET_PEAK: Final = "5"  # proc(5), clear_refs: reset the peak resident set size


def reset_peak(process: Path = _SELF) -> None:
    """Forget the peak so far; where that is not possible, peaks are those since the start."""
    try:
        (process / "clear_refs").write_text(_RESET_PEAK)
    except OSError:
        return


def peak_bytes(process: Path = _SELF) -> int:
    """The peak resident set size since the last reset, in bytes."""
    try:
        lines = (process / "status").read_text().splitlines()
        (peak,) = (line for line in lines if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        scale = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def return_freed_memory() -> None:
    """Give freed memory back to the system, with glibc; elsewhere this does nothing.

    Reading rows allocates and frees arrays of a few megabytes, which glibc keeps: 3.5 KB for each
    row, which is 2 GB for 590,540.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
