"""Shared state between the feed's thread and the web side: feed status, totals, new activity."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from dashboard.cache.flag import Flag
from dashboard.cache.flag_table import Counts
from dashboard.feed.prefix import Stamp

TICK_ROWS: Final = 50
"""Maximum rows per tick. Nobody can read more in a quarter of a second."""


class FeedState(StrEnum):
    """The state of the feed."""

    STARTING = "starting"
    WAITING = "waiting"
    REBUILDING = "rebuilding"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """A snapshot of the feed.

    Attributes:
        state: ``waiting`` means that the topic cannot be read at present.
        detail: why the feed is in this state.
        since: epoch milliseconds of the last change of state.
        lag: committed records that have not been read, as of the last check.
        delay_ms: time from scoring to reading of the last record. None before the first record.
        read_at: epoch milliseconds when records were last read. None before the first record.
        stamp: model and thresholds of the last record.
        done: share of the backlog that has been read, 0 to 1, while rebuilding.
    """

    state: FeedState = FeedState.STARTING
    detail: str = "not connected yet"
    since: int = 0
    lag: int = 0
    delay_ms: int | None = None
    read_at: int | None = None
    stamp: Stamp | None = None
    done: float = 0.0


@dataclass(frozen=True, slots=True)
class Activity:
    """What was read between two ticks. ``rows`` are newest first and leave out ``more`` rows."""

    scored: int
    flagged: int
    rows: tuple[Flag, ...]
    more: int
    is_reset: bool


class Board:
    """Thread-safe. The feed writes it, the tick publisher drains it, handlers read the status."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._status = FeedStatus(since=self.now())
        self._counts = Counts()
        self._scored = 0
        self._rows: list[Flag] = []
        self._flagged = 0
        self._is_reset = False

    def now(self) -> int:
        """Epoch milliseconds."""
        return int(self._clock() * 1000)

    @property
    def status(self) -> FeedStatus:
        """The current status of the feed."""
        with self._lock:
            return self._status

    @property
    def counts(self) -> Counts:
        """The totals at the last save."""
        with self._lock:
            return self._counts

    def enter(self, state: FeedState, detail: str = "") -> bool:
        """Set state and detail. Returns whether either of them changed."""
        with self._lock:
            before = self._status
            changed = state is not self._status.state
            since = self.now() if changed else self._status.since
            self._status = replace(self._status, state=state, detail=detail, since=since)
            if changed and state is FeedState.LIVE:
                self._is_reset = True  # rows read before this were not published in ticks
            return changed or detail != before.detail

    def measure(self, *, lag: int, done: float) -> None:
        """Set the progress of the feed."""
        with self._lock:
            self._status = replace(self._status, lag=lag, done=done)

    def add(self, scored: int, flags: Sequence[Flag], stamp: Stamp | None, counts: Counts) -> None:
        """Add what was saved. Rows are published only while the feed is live."""
        now = self.now()
        with self._lock:
            status = replace(self._status, read_at=now)
            if stamp is not None:
                delay = max(0, now - stamp.scored_at)
                status = replace(status, stamp=stamp, delay_ms=delay)
            self._status = status
            self._counts = counts
            if status.state is FeedState.LIVE:
                self._scored += scored
                self._flagged += len(flags)
                self._rows = (self._rows + list(flags))[-TICK_ROWS:]

    def load(self, counts: Counts) -> None:
        """Set the totals that were stored before this start, without publishing them."""
        with self._lock:
            self._counts = counts

    def drain(self) -> Activity:
        """The activity since the last call."""
        with self._lock:
            rows = sorted(self._rows, key=lambda flag: flag.key, reverse=True)
            activity = Activity(
                self._scored, self._flagged, tuple(rows), self._flagged - len(rows), self._is_reset
            )
            self._scored = self._flagged = 0
            self._rows = []
            self._is_reset = False
            return activity
