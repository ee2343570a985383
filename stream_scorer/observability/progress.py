"""Partitions that are ours, have records to read, and do not move while everything else is well.

A client can stop fetching one partition in silence (quix-streams #1124), or wait for ever at an
offset that retention has removed (#1114): the group looks healthy, the process too, and the lag
grows. So what counts is progress by partition against what the broker itself says is there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

DISTURBED_SECONDS: Final = 15.0
"""After an abort the time does not count for so long: a little more than the loop's longest pause,
so that a loop that only backs off keeps every clock still."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Records of one partition that nobody has committed yet.

    Attributes:
        next_offset: the first of them.
        end: the offset after the last.
        expired_from: the committed offset, if retention has removed what was there.
    """

    next_offset: int
    end: int
    expired_from: int | None = None


class BacklogSource(Protocol):
    """Asks the broker, never a client's memory of it."""

    def backlog(self, partitions: Iterable[int]) -> Mapping[int, Backlog]:
        """Those of ``partitions`` that have records to read.

        Raises:
            RetryableError, FatalError: it cannot be told now.
        """
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


@dataclass(frozen=True, slots=True)
class Standstill:
    """A partition that has records to read and did not move for ``seconds``."""

    backlog: Backlog
    seconds: float


class ProgressWatch:
    """Adds up, by partition, the time without progress. Fed by the loop, asked by the watcher.

    Only time counts in which the partition had records to read, the broker could be asked, and
    the loop was not backing off; a process that was suspended counts one look as two at most.

    Args:
        limit_seconds: a partition is stuck after so long.
        look_seconds: how often :meth:`look` is called.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        limit_seconds: float,
        look_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit_seconds
        self._look_seconds = look_seconds
        self._clock = clock
        self._looked_at = clock()
        self._disturbed_at = float("-inf")
        self._lock = threading.Lock()
        self._moved: set[int] = set()
        self._still: dict[int, Standstill | None] = {}

    def progressed(self, partitions: Iterable[int]) -> None:
        """Records of these partitions were committed."""
        with self._lock:
            self._moved.update(partitions)

    def disturbed(self) -> None:
        """A batch was put off."""
        self._disturbed_at = self._clock()

    def look(self, assigned: frozenset[int], source: BacklogSource) -> None:
        """Bring the clocks up to now.

        Raises:
            RetryableError, FatalError: as the source; no clock has moved.
        """
        with self._lock:
            moved, self._moved = self._moved, set()
        now = self._clock()
        before, self._looked_at = self._looked_at, now
        # Newly ours: nothing is expected of it before the next look.
        fresh: dict[int, Standstill | None] = {
            p: None for p in assigned if p in moved or p not in self._still
        }
        self._still = {p: s for p, s in self._still.items() if p in assigned} | fresh
        quiet = sorted(assigned - fresh.keys())
        found = source.backlog(quiet) if quiet else {}
        calm = min(
            now - before, 2 * self._look_seconds, now - self._disturbed_at - DISTURBED_SECONDS
        )
        for partition in quiet:
            backlog, last = found.get(partition), self._still[partition]
            seconds = (last.seconds if last else 0.0) + max(0.0, calm)
            self._still[partition] = Standstill(backlog, seconds) if backlog else None

    def seconds(self) -> Mapping[int, float]:
        """Assigned partition → seconds without progress; 0 where there was some or no need."""
        return {p: still.seconds if still else 0.0 for p, still in self._still.items()}

    def stuck(self) -> Mapping[int, Standstill]:
        """The partitions past the limit."""
        return {p: s for p, s in self._still.items() if s is not None and s.seconds > self._limit}
