"""How far an ablation is, and how long it will take."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

log = logging.getLogger(__name__)

Clock = Callable[[], float]

_LOG_EVERY_SECONDS: Final = 30.0
_LARGEST: Final = 99.5  # from here on the next unit is easier to read


class FitProgress:
    """Counts fits: a bar on a terminal, elsewhere a line in the log every half minute."""

    def __init__(
        self, total: int, kept: int, console: Console, clock: Clock = time.monotonic
    ) -> None:
        self._total, self._done, self._kept = total, kept, kept
        self._clock = clock
        self._started = self._logged = clock()
        self._is_terminal = console.is_terminal
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._bar = Progress(*columns, console=console, disable=not self._is_terminal)
        self._task = self._bar.add_task("fits", total=total, completed=kept, left="")

    def __enter__(self) -> Self:
        self._bar.start()
        if self._kept:
            log.info("%d of %d fits are already in the output file", self._kept, self._total)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def seconds_left(self) -> float | None:
        """At the pace of this run; None before its first fit."""
        here = self._done - self._kept
        if not here:
            return None
        return (self._clock() - self._started) / here * (self._total - self._done)

    def advance(self) -> None:
        """Count one fit."""
        self._done += 1
        left = describe_seconds(self.seconds_left() or 0.0)
        self._bar.update(self._task, completed=self._done, left=f"about {left} left")
        now = self._clock()
        if not self._is_terminal and now - self._logged >= _LOG_EVERY_SECONDS:
            self._logged = now
            log.info("%d of %d fits done, about %s left", self._done, self._total, left)


def describe_seconds(seconds: float) -> str:
    """Such as ``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < _LARGEST:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < _LARGEST else f"{minutes / 60:.1f} h"
