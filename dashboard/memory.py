"""Gives memory back to the system that the process has used and does not use.

Loading a model and reading a backlog allocate much that is freed at once. glibc keeps it, and keeps
more for each thread. The compiler, whose code takes 25 MB, is needed while a model is loaded and
not again until the next one. Only with glibc on Linux; elsewhere this does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_ARENAS: Final = 2  # the default is eight per processor; few threads allocate at the same time
_M_ARENA_MAX: Final = -8  # malloc.h of glibc
_MADV_DONTNEED: Final = 4  # madvise(2)
_FIRST_SECONDS: Final = 15.0  # by then a model is loaded
_INTERVAL_SECONDS: Final = 60.0
_COMPILER: Final = "libllvmlite"
_MAPPED: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-xp \S+ \S+ \S+ +(/\S+)")
_MAPS: Final = Path("/proc/self/maps")


def limit_arenas() -> None:
    """Let threads share two heaps. Call it before there are threads."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def return_unused_memory(maps: Path = _MAPS) -> None:
    """Return freed memory, and the pages of the compiler's code.

    The pages are read from its file again when they are needed.
    """
    # A call into a library releases the interpreter's lock.
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.malloc_trim(0)
        madvise = libc.madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for start, end in code_of(_COMPILER, maps.read_text().splitlines()):
            madvise(start, end - start, _MADV_DONTNEED)


def code_of(library: str, maps: Iterable[str]) -> list[tuple[int, int]]:
    """The addresses of a library's code in the lines of proc(5), ``maps``.

    Nobody writes to it, unlike its data: relocations are there, and are not in the file.
    """
    found = [match for line in maps if (match := _MAPPED.match(line))]
    return [
        (int(match[1], 16), int(match[2], 16))
        for match in found
        if Path(match[3]).name.startswith(library)
    ]


async def return_unused_memory_regularly() -> None:
    """Return it after the start, and then once a minute, until this is cancelled."""
    seconds = _FIRST_SECONDS
    while True:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(return_unused_memory)
        seconds = _INTERVAL_SECONDS
