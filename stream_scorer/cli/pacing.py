"""Sends at a steady rate."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

STALL_SECONDS: Final = 1.0
"""A longer delay is a stall: the schedule restarts instead of catching up in a burst."""

SERVE_SECONDS: Final = 0.2
"""Longest interval between two times that callbacks are served and progress is reported."""


class Pacer:
    """Waits until the next record is due.

    Args:
        rate: records per second; None: as fast as possible.
        wait: waits up to the given number of seconds; 0 only serves pending callbacks.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        rate: float | None,
        wait: Callable[[float], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = 1.0 / rate if rate else 0.0
        self._wait = wait
        self._clock = clock
        self._due = clock()
        self._served = self._due

    def before_next(self) -> bool:
        """Wait until the next record is due; True a few times per second, to report progress."""
        now = self._clock()
        served = False
        if self._interval:
            while (left := self._due - now) > 0:
                self._wait(min(left, SERVE_SECONDS))
                now = self._clock()
            if now - self._due > STALL_SECONDS:
                self._due = now
            self._due += self._interval
        if now - self._served >= SERVE_SECONDS:
            self._wait(0)
            self._served = now
            served = True
        return served
