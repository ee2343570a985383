"""The thread that reads the scores topic into the table and onto the board."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from dashboard.cache.flag_table import Counts, FlagWriter
from dashboard.feed.board import Board, FeedState, Progress
from dashboard.feed.mixture import Scoring
from dashboard.feed.reading import FlagReader, Unsaved, add_to_histogram
from dashboard.feed.source import ScoreSource, TopicBounds
from stream_scorer.errors import FatalError, RetryableError, ScorerError

log = logging.getLogger(__name__)

_POLL_RECORDS: Final = 2000
_POLL_SECONDS: Final = 0.1
_SAVE_SECONDS: Final = 0.25  # rows reach the page within this time plus one tick
_REFRESH_SECONDS: Final = 2.0  # how soon an unreachable broker is noticed
_RETRY_SECONDS: Final = 1.0
_PACE_SECONDS: Final = 2.0  # after which the pace of reading says something
_BACKLOG: Final = "reading the backlog"
_RECREATED: Final = "the topic of the scores was deleted and created again, so all of it is read"


class TopicMissing(RetryableError):
    """The scores topic does not exist."""


class PartitionsChanged(RetryableError):
    """The scores topic has other partitions than when it was opened."""


class TopicRecreated(RetryableError):
    """The scores topic is another one than when it was opened, with the same name."""


class CacheDeleted(RetryableError):
    """Somebody deleted the file of the cache."""


def explain_outage(error: ScorerError) -> str:
    """Why scores cannot be read, in words for everybody: without hosts and error codes."""
    if isinstance(error, TopicMissing):
        return "the topic of the scores does not exist yet"
    if isinstance(error, PartitionsChanged):
        return "the topic of the scores has new partitions, which are being opened"
    if isinstance(error, TopicRecreated):
        return "the topic of the scores was deleted and created again"
    if isinstance(error, CacheDeleted):
        return "the cache of this dashboard was deleted, and is made again from the topic"
    if isinstance(error, FatalError):
        return "Kafka refuses access to the scores, which an operator must fix"
    return "Kafka does not answer"


class Feed:
    """Reads until it is stopped. On an error it retries, and shows the reason on the board."""

    def __init__(
        self,
        open_source: Callable[[], ScoreSource],
        topics: tuple[str, str],
        writer: FlagWriter,
        reader: FlagReader,
        board: Board,
    ) -> None:
        self._open_source = open_source
        self._topic, self._input_topic = topics
        self._writer = writer
        self._reader = reader
        self._board = board
        self._rebuilding_because = _BACKLOG
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        board.load(writer.load_counts())
        board.distribution.note_listed(writer.listed)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Stop the thread. Records that were not saved are read again at the next start."""
        self._stop.set()
        self._thread.join(timeout)
        if not self._thread.is_alive():
            self._writer.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if self._writer.is_lost:
                    self._make_cache_again()
                source = self._open_source()
                try:
                    self._read_until_error(source)
                finally:
                    source.close()
            except ScorerError as error:
                self._enter_waiting(explain_outage(error), str(error))
            except Exception:
                log.exception("the feed failed; it will restart")
                self._enter_waiting("an unexpected error stopped the reading of scores", "")
            self._stop.wait(_RETRY_SECONDS)

    def _enter_waiting(self, detail: str, reason: str) -> None:
        if self._board.enter(FeedState.WAITING, detail, reason):
            log.warning("the feed is waiting to retry: %s", reason or detail)

    def _read_until_error(self, source: ScoreSource) -> None:
        """Open the topic and read it until an error or the stop."""
        topic = self._fetch_bounds(source)
        stored = self._stored_offsets(topic)
        session = _Session(self._writer.load_counts(), stored, topic)
        source.assign(session.positions)
        self._board.load(session.counts.copy())
        self._board.distribution.note_listed(self._writer.listed)
        self._board.enter(FeedState.REBUILDING, self._rebuilding_because)
        refreshed = saved = time.monotonic()
        while not self._stop.is_set():
            polled = source.poll(_POLL_RECORDS, _POLL_SECONDS)
            self._reader.read(polled.records, session.unsaved, session.counts)
            session.advance(polled.ends_reached)
            now = time.monotonic()
            if now - saved >= _SAVE_SECONDS:
                self._save(session)
                saved = now
            if now - refreshed >= _REFRESH_SECONDS:
                session.bounds = self._refresh_bounds(source, session)
                refreshed = time.monotonic()

    def _make_cache_again(self) -> None:
        path = self._writer.path
        try:
            self._writer.reopen()
        except (OSError, sqlite3.Error) as error:
            raise CacheDeleted(f"{path} was deleted and cannot be made again: {error}") from error
        log.error("%s was deleted: it is made again, and all scores are read again", path)
        self._rebuilding_because = "the cache was deleted, so all scores are read again"

    def _fetch_bounds(self, source: ScoreSource) -> TopicBounds:
        topic = source.fetch_bounds()
        if topic is None:
            raise TopicMissing(f"the topic {self._topic} does not exist yet")
        return topic

    def _refresh_bounds(
        self, source: ScoreSource, session: _Session
    ) -> Mapping[int, tuple[int, int]]:
        found = self._fetch_bounds(source)
        if found.bounds.keys() != session.bounds.keys():
            raise PartitionsChanged(f"the partitions of {self._topic} changed")
        if session.is_recreated(found):
            raise TopicRecreated(f"the topic {self._topic} was deleted and created again")
        return found.bounds

    def _stored_offsets(self, topic: TopicBounds) -> dict[int, int]:
        """The offset to continue from in each partition. Clears the cache of a recreated topic."""
        origin = topic.cluster, self._topic, self._input_topic, topic.topic_id
        before = self._writer.origin().get("topic id")
        is_recreated = None not in (before, topic.topic_id) and before != topic.topic_id
        stored = self._writer.resume(*origin)
        if is_recreated or any(
            p not in topic.bounds or o > topic.bounds[p][1] for p, o in stored.items()
        ):
            self._rebuilding_because = _RECREATED
            log.error("topic %s was recreated: clearing the cache and rereading it", self._topic)
            self._writer.clear()
            stored = self._writer.resume(*origin)
        return {p: max(low, stored.get(p, low)) for p, (low, _) in topic.bounds.items()}

    def _save(self, session: _Session) -> None:
        if self._writer.is_lost:
            raise CacheDeleted(f"{self._writer.path} was deleted while the dashboard runs")
        unsaved = session.take()
        if unsaved.positions:
            add_to_histogram(session.counts.histogram, unsaved.tallies.values())
            self._writer.save(unsaved.flags, unsaved.positions, session.counts, unsaved.tallies)
            self._board.distribution.note_listed(self._writer.listed)
            partition, following = next(reversed(unsaved.positions.items()))
            place = f"{self._topic}[{partition}]@{following - 1}"
            counts = session.counts.copy()
            self._board.add(unsaved.scored, unsaved.flags, unsaved.stamp, counts, place)
            self._board.note_scorings({Scoring(*key[:3]) for key in unsaved.tallies})
        self._board.note_unreadable(unsaved.unreadable)
        self._board.measure(lag=session.lag, done=session.done, progress=session.progress())
        if session.has_caught_up and self._board.enter(FeedState.LIVE):
            log.info("the feed caught up with topic %s", self._topic)
            self._rebuilding_because = _BACKLOG


class _Session:
    """Positions and unsaved rows, from one assignment to the next error."""

    def __init__(self, counts: Counts, start: dict[int, int], topic: TopicBounds) -> None:
        self.counts = counts
        self.positions = dict(start)
        self.topic_id = topic.topic_id
        self.bounds = bounds = topic.bounds
        self.unsaved = Unsaved()
        self._start = start
        self._begun = time.monotonic()
        self._goal = {p: high for p, (_, high) in bounds.items()}

    def advance(self, ends_reached: Mapping[int, int]) -> None:
        """Advance the positions. An end may follow control records, which are never delivered."""
        for partition, offset in self.unsaved.positions.items():
            self.positions[partition] = offset
        for partition, offset in ends_reached.items():
            if offset > self.positions[partition]:
                self.positions[partition] = self.unsaved.positions[partition] = offset

    def is_recreated(self, found: TopicBounds) -> bool:
        """Whether the topic is another one. Brokers before 2.8 have no topic ids."""
        if found.topic_id is not None and self.topic_id is not None:
            return found.topic_id != self.topic_id
        return any(self.positions[p] > high for p, (_, high) in found.bounds.items())

    def take(self) -> Unsaved:
        """Return what is unsaved, and start empty."""
        taken, self.unsaved = self.unsaved, Unsaved()
        return taken

    @property
    def lag(self) -> int:
        return sum(max(0, high - self.positions[p]) for p, (_, high) in self.bounds.items())

    @property
    def has_caught_up(self) -> bool:
        return all(self.positions[p] >= goal for p, goal in self._goal.items())

    @property
    def done(self) -> float:
        """Share of the backlog at the start of the session that has been read, 0 to 1."""
        read, total, _ = self.progress()
        return 1.0 if total <= 0 else read / total

    def progress(self) -> Progress:
        """What has been read of the backlog, and how long the rest takes at this pace."""
        total = sum(max(0, goal - self._start[p]) for p, goal in self._goal.items())
        left = sum(max(0, goal - self.positions[p]) for p, goal in self._goal.items())
        read, seconds = total - left, time.monotonic() - self._begun
        is_known = read > 0 and seconds >= _PACE_SECONDS
        return Progress(read, total, left / read * seconds if is_known else None)
