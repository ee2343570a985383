"""Shared state between the feed's thread and the web side: feed status, totals, new activity."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, NamedTuple

from dashboard.cache.flag import SAMPLE, Flag
from dashboard.cache.flag_table import Counts
from dashboard.feed.distribution import Distribution
from dashboard.feed.mixture import Mixed, Mixture, Scoring
from dashboard.feed.prefix import Stamp

TICK_ROWS: Final = 50
"""Maximum rows per tick. Nobody can read more in a quarter of a second."""

TICK_CASES: Final = 50
"""Maximum changed cases per tick. A client that misses some reads its list again."""

NAMED_UNREADABLE: Final = 20
"""Unreadable records that are remembered with their places."""

SILENT_MS: Final = 60_000
"""A scorer that commits nothing for this long while records wait is silent."""


class FeedState(StrEnum):
    """The state of the feed."""

    STARTING = "starting"
    WAITING = "waiting"
    REBUILDING = "rebuilding"
    LIVE = "live"


class Progress(NamedTuple):
    """Records of the backlog, and about how long the rest takes. None: not known yet."""

    read: int
    total: int
    seconds_left: float | None


class Unreadable(NamedTuple):
    """A score record that could not be read, and why. The reason is printable."""

    place: str
    reason: str
    at: int


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """A snapshot of the feed.

    Attributes:
        state: ``waiting`` means that the topic cannot be read at present.
        detail: why the feed is in this state, in words for everybody.
        reason: the same in the words of Kafka's client, for operators. May name hosts.
        since: epoch milliseconds of the last change of state.
        lag: committed records that have not been read, as of the last check.
        delay_ms: time from scoring to reading of the last record. None before the first record.
        input_delay_ms: time from the event of the last record to its reading. Its start is the
            event time that the producer set or, without one, the time of scoring.
        read_at: epoch milliseconds when records were last read. None before the first record.
        stamp: model and thresholds of the last record.
        place: where the last record is, such as ``fraud-scores[2]@8812345``.
        done: share of the backlog that has been read, 0 to 1, while rebuilding.
        progress: what has been read of the backlog, while rebuilding.
    """

    state: FeedState = FeedState.STARTING
    detail: str = "not connected yet"
    reason: str = ""
    since: int = 0
    lag: int = 0
    delay_ms: int | None = None
    input_delay_ms: int | None = None
    read_at: int | None = None
    stamp: Stamp | None = None
    place: str | None = None
    done: float = 0.0
    progress: Progress | None = None


class InputPlace(NamedTuple):
    """One partition of the input. ``committed`` is None if the scorers committed nothing there."""

    partition: int
    committed: int | None
    low: int
    end: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """The records that the scorers' group has not committed yet.

    Attributes:
        records: how many. None if that is not known.
        committed: the sum of the committed offsets, which grows while the scorers work.
        oldest_at: append time of the first record that waits, in epoch milliseconds. None if
            nothing waits, or while the scorers make progress.
        detail: why the number is not known, in words for everybody.
        reason: the same in the words of Kafka's client, for operators.
        places: the partitions that it was measured on.
    """

    records: int | None
    committed: int = 0
    oldest_at: int | None = None
    detail: str = ""
    reason: str = ""
    places: tuple[InputPlace, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Scorer:
    """What the scorers seem to do: ``working``, ``idle``, ``silent`` or ``unknown``.

    ``silent``: records have been waiting since ``since`` (epoch milliseconds), and nothing was
    committed or scored.
    """

    state: str
    since: int | None = None


@dataclass(frozen=True, slots=True)
class Activity:
    """What happened between two ticks.

    ``rows`` are newest first and leave out ``more`` rows. ``cases`` has the encoded cases that
    changed by flag id, unless ``has_more_cases``: then some were left out.
    """

    scored: int
    flagged: int
    rows: tuple[Flag, ...]
    more: int
    is_reset: bool
    cases: Mapping[str, bytes] = field(default_factory=dict)
    has_more_cases: bool = False


NOT_MEASURED: Final = Backlog(None, detail="The backlog of the scorers is not known yet.")
"""The backlog before the first check."""


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
        self._listed = 0  # with the sampled ones
        self._is_reset = False
        self._cases: dict[str, bytes] = {}
        self._has_more_cases = False
        self._waiting = 0
        self._mixture = Mixture()
        self.distribution = Distribution()
        self._unreadable: deque[Unreadable] = deque(maxlen=NAMED_UNREADABLE)
        self._backlog = NOT_MEASURED
        self._progress_at = self.now()

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

    @property
    def backlog(self) -> Backlog:
        """The backlog of the scorers, as of the last check."""
        with self._lock:
            return self._backlog

    @property
    def waiting(self) -> int:
        """Decisions that wait to be recorded."""
        with self._lock:
            return self._waiting

    @property
    def scorer(self) -> Scorer:
        """What the scorers do."""
        with self._lock:
            records, since = self._backlog.records, self._progress_at
        if records is None:
            return Scorer("unknown")
        if records == 0:
            return Scorer("idle")
        if self.now() - since > SILENT_MS:
            return Scorer("silent", since)
        return Scorer("working")

    def note_backlog(self, backlog: Backlog) -> None:
        """Set the backlog of the scorers."""
        now = self.now()
        with self._lock:
            before = self._backlog
            # What waits now has waited since the last time that nothing did.
            if not before.records or before.committed != backlog.committed:
                self._progress_at = now
            self._backlog = backlog

    def note_case(self, flag_id: str, case: bytes) -> None:
        """Publish the changed case of a flag, an encoded JSON object, with the next tick."""
        with self._lock:
            self._cases.pop(flag_id, None)
            self._cases[flag_id] = case
            if len(self._cases) > TICK_CASES:
                del self._cases[next(iter(self._cases))]
                self._has_more_cases = True

    def note_many_cases(self) -> None:
        """Publish that more cases changed than are worth to be named."""
        with self._lock:
            self._has_more_cases = True

    def note_waiting(self, count: int) -> None:
        """Set the number of decisions that wait to be recorded."""
        with self._lock:
            self._waiting = count

    def enter(self, state: FeedState, detail: str = "", reason: str = "") -> bool:
        """Set state, detail and reason. Returns whether one of them changed."""
        with self._lock:
            before = self._status
            changed = state is not self._status.state
            since = self.now() if changed else self._status.since
            self._status = replace(
                self._status, state=state, detail=detail, reason=reason, since=since
            )
            if changed and state is FeedState.LIVE:
                self._is_reset = True  # rows read before this were not published in ticks
                self.distribution.note_change()
            return changed or (detail, reason) != (before.detail, before.reason)

    def measure(self, *, lag: int, done: float, progress: Progress | None = None) -> None:
        """Set the progress of the feed."""
        with self._lock:
            self._status = replace(self._status, lag=lag, done=done, progress=progress)

    def note_scorings(self, found: Iterable[Scoring]) -> None:
        """Note how the scores read now were made, if they are not a backlog."""
        now = self.now()
        with self._lock:
            if self._status.state is FeedState.LIVE:
                self._mixture.note(found, now)

    @property
    def mixed(self) -> Mixed | None:
        """The scorers that disagree now about model or thresholds. None if all agree."""
        now = self.now()
        with self._lock:
            return self._mixture.find(now)

    def note_unreadable(self, found: Iterable[tuple[str, str]]) -> None:
        """Note places of records that could not be read, each with the reason."""
        now = self.now()
        with self._lock:
            self._unreadable.extend(Unreadable(place, reason, now) for place, reason in found)

    @property
    def unreadable(self) -> list[Unreadable]:
        """The last records that could not be read since the start, newest first."""
        with self._lock:
            return list(reversed(self._unreadable))

    def add(
        self,
        scored: int,
        flags: Sequence[Flag],
        stamp: Stamp | None,
        counts: Counts,
        place: str | None = None,
    ) -> None:
        """Add what was saved. Rows are published only while the feed is live."""
        now = self.now()
        with self._lock:
            status = replace(self._status, read_at=now, place=place or self._status.place)
            if stamp is not None:
                happened = stamp.scored_at if stamp.event_time is None else stamp.event_time
                status = replace(
                    status,
                    stamp=stamp,
                    delay_ms=max(0, now - stamp.scored_at),
                    input_delay_ms=max(0, now - happened),
                )
            self._status = status
            self._counts = counts
            if scored:
                self._progress_at = now
            if status.state is FeedState.LIVE:
                self._scored += scored
                self._flagged += sum(flag.decision != SAMPLE for flag in flags)
                self._listed += len(flags)
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
                self._scored,
                self._flagged,
                tuple(rows),
                self._listed - len(rows),
                self._is_reset,
                self._cases,
                self._has_more_cases,
            )
            self._cases, self._has_more_cases = {}, False
            self._scored = self._flagged = self._listed = 0
            self._rows = []
            self._is_reset = False
            return activity
