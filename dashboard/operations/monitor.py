"""Asks the brokers in threads of its own, so that no page waits for them.

The backlog is read all the time, for its history. Dead letters are read only while somebody looks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from dashboard.operations.backlog import BacklogHistory, BacklogSource, PartitionBacklog
from dashboard.operations.dead_letters import DeadLetters, DeadLetterSource
from stream_scorer.errors import ScorerError

log = logging.getLogger(__name__)

T = TypeVar("T")

BACKLOG_SECONDS: Final = 5.0
HISTORY_SECONDS: Final = 10.0
TOPICS_SECONDS: Final = 30.0
DEAD_LETTER_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0  # for a thread that may be waiting for a response


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """The last result of a request, and the problem of a later one.

    Attributes:
        value: the last result. None before the first.
        at: when it was read, epoch milliseconds.
        problem: why the latest request failed. Empty if it did not.
        since: epoch milliseconds of the first failure since then.
    """

    value: T | None = None
    at: int | None = None
    problem: str = ""
    since: int | None = None

    def then(self, value: T, now: int) -> Reading[T]:
        """After a success."""
        return Reading(value, now)

    def failed(self, problem: str, now: int) -> Reading[T]:
        """After a failure."""
        return Reading(self.value, self.at, problem, now if self.since is None else self.since)


@dataclass(frozen=True, slots=True)
class State:
    """What is known of the brokers now."""

    backlog: Reading[list[PartitionBacklog]] = field(default_factory=Reading)
    missing_topics: Reading[list[str]] = field(default_factory=Reading)
    history: list[tuple[int, int]] = field(default_factory=list)


class Monitor:
    """Reads backlog and topics periodically, and dead letters on demand.

    Args:
        backlog: where the backlog and topics are read. Used by one thread.
        dead_letters: where dead letters are read. Used by another thread.
        topics: topics that should exist.
        clock: epoch seconds.
    """

    def __init__(
        self,
        backlog: BacklogSource,
        dead_letters: DeadLetterSource,
        topics: Sequence[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._backlog = backlog
        self._dead_letters = dead_letters
        self._topics = list(topics)
        self._clock = clock
        self._lock = threading.Lock()
        self._dead_read = threading.Condition(self._lock)
        self._state = State()
        self._history = BacklogHistory()
        self._point_at = self._topics_at = self._requested_at = 0.0
        self._dead: Reading[DeadLetters] = Reading()
        self._is_wanted = threading.Event()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, name="operations", daemon=True),
            threading.Thread(target=self._serve, name="dead-letters", daemon=True),
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop the threads. Returns when they have ended, or after five seconds."""
        self._stop.set()
        self._is_wanted.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_STOP_SECONDS)

    @property
    def state(self) -> State:
        """The latest readings."""
        with self._lock:
            return self._state

    def dead_letters(self, wait_seconds: float) -> Reading[DeadLetters]:
        """The latest reading, at most ``DEAD_LETTER_SECONDS`` older than this page polls.

        Waits up to ``wait_seconds`` for the first one.
        """
        with self._dead_read:
            if self._clock() - self._requested_at >= DEAD_LETTER_SECONDS:
                self._requested_at = self._clock()
                self._is_wanted.set()
            self._dead_read.wait_for(
                lambda: self._dead.at is not None or self._dead.problem, wait_seconds
            )
            return self._dead

    def poll(self) -> None:
        """Read the backlog once, and the topics if it is time. Never raises."""
        state, now = self.state, self._now()
        backlog = _read(self._backlog.read, state.backlog, now, "the backlog")
        missing = state.missing_topics
        if not backlog.problem and self._clock() - self._topics_at >= TOPICS_SECONDS:
            self._topics_at = self._clock()
            missing = _read(lambda: self._backlog.missing(self._topics), missing, now, "the topics")
        if (
            backlog.value is not None
            and not backlog.problem
            and self._clock() - self._point_at >= HISTORY_SECONDS
        ):
            self._point_at = self._clock()
            self._history.add(now, sum(p.waiting for p in backlog.value))
        with self._lock:
            self._state = State(backlog, missing, self._history.points())

    def read_dead_letters(self) -> None:
        """Read dead letters once. Never raises."""
        found = _read(self._dead_letters.read, self._dead, self._now(), "dead letters")
        with self._dead_read:
            self._dead = found
            self._dead_read.notify_all()

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.poll()
            self._stop.wait(BACKLOG_SECONDS)
        self._backlog.close()

    def _serve(self) -> None:
        while True:
            self._is_wanted.wait()
            self._is_wanted.clear()
            if self._stop.is_set():
                return
            self.read_dead_letters()

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _read(request: Callable[[], T], before: Reading[T], now: int, what: str) -> Reading[T]:
    try:
        return before.then(request(), now)
    except ScorerError as error:
        problem = str(error)
    except Exception:  # a page must not lose its thread
        log.exception("reading %s failed", what)
        problem = "unexpected error; see the log"
    if problem != before.problem:
        log.warning("cannot read %s: %s", what, problem)
    return before.failed(problem, now)
