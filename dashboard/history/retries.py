"""When a partition whose history could not be used is loaded again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from stream_scorer.runtime.backoff import backoff_seconds

FIRST_SECONDS: Final = 30.0
MOST_SECONDS: Final = 3600.0
"""A history that fails each time would be loaded and replayed each time."""


class Retries:
    """Each failure of a partition in a row doubles the time until it is loaded again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[int, int] = {}
        self._due_at: dict[int, float] = {}

    def failed(self, partition: int) -> None:
        """Its history cannot be used any more."""
        failures = self._failures[partition] = self._failures.get(partition, 0) + 1
        seconds = backoff_seconds(failures, FIRST_SECONDS, MOST_SECONDS)
        self._due_at[partition] = self._clock() + seconds

    def succeeded(self, partition: int) -> None:
        """Its history was advanced and checked."""
        self._failures.pop(partition, None)

    def is_due(self, partition: int) -> bool:
        """Whether it may be loaded."""
        return self._due_at.get(partition, 0.0) <= self._clock()

    def forget(self) -> None:
        """Other histories are wanted."""
        self._failures.clear()
        self._due_at.clear()
