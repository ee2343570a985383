"""Progress for people who watch, and for a file: there, one line at intervals and no more."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

EVERY_SECONDS: Final = 10.0


class ProgressLines:
    """Writes the current state: over and over in one line of a terminal, else at intervals.

    Args:
        write: writes text; default: to standard error.
        is_terminal: whether a line can be written over; default: whether standard error is one.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        write: Callable[[str], object] | None = None,
        is_terminal: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write or _write_error
        self._is_terminal = sys.stderr.isatty() if is_terminal is None else is_terminal
        self._clock = clock
        self._next = clock() + EVERY_SECONDS
        self._width = 0

    def show(self, line: str) -> None:
        """Show the current state, if it is time for it."""
        if self._is_terminal:
            self._write(f"\r{line:<{self._width}}")
            self._width = len(line)
        elif (now := self._clock()) >= self._next:
            self._next = now + EVERY_SECONDS
            self._write(f"{line}\n")

    def end(self) -> None:
        """End the line that is written over."""
        if self._width:
            self._write("\n")
            self._width = 0


def _write_error(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
