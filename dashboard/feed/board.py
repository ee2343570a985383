"""What the feed's thread tells the web side: its state, and what happened since last asked."""

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
"""Rows one tick carries at most; more could not be read in a quarter of a second anyway."""


class FeedState(StrEnum):
    """How the feed stands."""

    STARTING = "starting"
    WAITING = "waiting"
    REBUILDING = "rebuilding"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """The feed at one moment.

    Attributes:
        state: ``waiting`` means that broker or topic are not there; ``detail`` says which.
        since: epoch milliseconds of the last change of state.
        lag: committed records not read yet, as of the last look.
        delay_ms: from scoring to here, of the last record; None before the first.
        read_at: epoch milliseconds when records last came in.
        stamp: model and thresholds of the last record.
        done: share of the backlog read, 0 to 1, while rebuilding.
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
    """What came in between two looks; ``rows`` newest first, ``more`` of them left out."""

    scored: int
    flagged: int
    rows: tuple[Flag, ...]
    more: int
    is_reset: bool


class Board:
    """Thread-safe; the feed writes, the pulse drains, anyone reads the status."""

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
        """The feed now."""
        with self._lock:
            return self._status

    @property
    def counts(self) -> Counts:
        """The totals as of the last save."""
        with self._lock:
            return self._counts

    def enter(self, state: FeedState, detail: str = "") -> bool:
        """Change the state; True if it, or its reason, was another one before."""
        with self._lock:
            before = self._status
            changed = state is not self._status.state
            since = self.now() if changed else self._status.since
            self._status = replace(self._status, state=state, detail=detail, since=since)
            if changed and state is FeedState.LIVE:
                self._is_reset = True  # rows read meanwhile were not announced one by one
            return changed or detail != before.detail

    def measure(self, *, lag: int, done: float) -> None:
        """Note how far the feed has come."""
        with self._lock:
            self._status = replace(self._status, lag=lag, done=done)

    def add(self, scored: int, flags: Sequence[Flag], stamp: Stamp | None, counts: Counts) -> None:
        """Note what was saved; rows are announced only while live."""
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
        """Set the totals without an event: they were there already."""
        with self._lock:
            self._counts = counts

    def drain(self) -> Activity:
        """What happened since the last call."""
        with self._lock:
            rows = sorted(self._rows, key=lambda flag: flag.key, reverse=True)
            activity = Activity(
                self._scored, self._flagged, tuple(rows), self._flagged - len(rows), self._is_reset
            )
            self._scored = self._flagged = 0
            self._rows = []
            self._is_reset = False
            return activity
