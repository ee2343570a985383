"""Stall detection: partitions that have records to read and make no progress.

A client can stop fetching one partition without an error (quix-streams #1124), or wait forever at
an offset that retention has removed (#1114). Group and process look healthy while the lag grows. So
the progress of each partition is compared with the backlog that the broker reports.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

DISTURBED_SECONDS: Final = 15.0
"""Time does not count for this long after an abort. It is a little more than the loop's longest
pause, so that time does not count at all while the loop only backs off."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Records of one partition that have not been committed yet.

    Attributes:
        next_offset: the offset of the first one.
        end: the offset after the last one.
        expired_from: the committed offset, if retention has removed the record there.
    """

    next_offset: int
    end: int
    expired_from: int | None = None


class BacklogSource(Protocol):
    """Gets the backlog from the broker, never from a client's cache."""

    def backlog(self, partitions: Iterable[int]) -> Mapping[int, Backlog]:
        """Those of ``partitions`` that have records to read.

        Raises:
            RetryableError, FatalError: the backlog cannot be read now.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


@dataclass(frozen=True, slots=True)
class Standstill:
    """A partition that has records to read and made no progress for ``seconds``."""

    backlog: Backlog
    seconds: float


class ProgressWatch:
    """Adds up the time without progress by partition. The loop reports progress, the watch checks.

    Time counts only while the partition has records to read, the broker answers, and the loop is
    not backing off. If the process was suspended, a check counts for at most two intervals.

    Args:
        limit_seconds: a partition is stuck after this long.
        interval_seconds: the time between two calls of :meth:`check`.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        limit_seconds: float,
        interval_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit_seconds
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._checked_at = clock()
        self._disturbed_at = float("-inf")
        self._lock = threading.Lock()
        self._moved: set[int] = set()
        self._still: dict[int, Standstill | None] = {}

    def progressed(self, partitions: Iterable[int]) -> None:
        """Records of these partitions were committed."""
        with self._lock:
            self._moved.update(partitions)

    def disturbed(self) -> None:
        """A batch was aborted."""
        self._disturbed_at = self._clock()

    def check(self, assigned: frozenset[int], source: BacklogSource) -> None:
        """Add the time since the last check to the partitions without progress.

        Raises:
            RetryableError, FatalError: from the source; no time was added.
        """
        with self._lock:
            moved, self._moved = self._moved, set()
        now = self._clock()
        before, self._checked_at = self._checked_at, now
        # Newly assigned: no progress is expected before the next check.
        fresh: dict[int, Standstill | None] = {
            p: None for p in assigned if p in moved or p not in self._still
        }
        self._still = {p: s for p, s in self._still.items() if p in assigned} | fresh
        quiet = sorted(assigned - fresh.keys())
        found = source.backlog(quiet) if quiet else {}
        counted = min(
            now - before, 2 * self._interval_seconds, now - self._disturbed_at - DISTURBED_SECONDS
        )
        for partition in quiet:
            backlog, last = found.get(partition), self._still[partition]
            seconds = (last.seconds if last else 0.0) + max(0.0, counted)
            self._still[partition] = Standstill(backlog, seconds) if backlog else None

    def seconds(self) -> Mapping[int, float]:
        """Assigned partition → seconds without progress; 0 if it progressed or had no backlog."""
        return {p: still.seconds if still else 0.0 for p, still in self._still.items()}

    def stuck(self) -> Mapping[int, Standstill]:
        """The partitions over the limit."""
        return {p: s for p, s in self._still.items() if s is not None and s.seconds > self._limit}
