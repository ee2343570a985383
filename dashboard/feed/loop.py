"""The thread that reads the scores topic into the table and onto the board."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from dashboard.cache.flag_table import Counts, FlagWriter
from dashboard.feed.board import Board, FeedState
from dashboard.feed.reading import Harvest, ScoreReader
from dashboard.feed.source import Place, ScoreSource
from stream_scorer.errors import RetryableError, ScorerError

log = logging.getLogger(__name__)

_POLL_RECORDS: Final = 2000
_POLL_SECONDS: Final = 0.1
_SAVE_SECONDS: Final = 0.25  # rows reach the page within this and one tick
_LOOK_SECONDS: Final = 2.0  # how soon a broker that went away is noticed
_RETRY_SECONDS: Final = 1.0


class Feed:
    """Reads for as long as the process lives; trouble is waited out and shown on the board."""

    def __init__(
        self,
        open_source: Callable[[], ScoreSource],
        topic: str,
        writer: FlagWriter,
        reader: ScoreReader,
        board: Board,
    ) -> None:
        self._open_source = open_source
        self._topic = topic
        self._writer = writer
        self._reader = reader
        self._board = board
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        board.load(writer.load_counts())

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the thread; what was not saved is read again at the next start."""
        self._stop.set()
        self._thread.join(timeout)
        if not self._thread.is_alive():
            self._writer.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                source = self._open_source()
                try:
                    self._session(source)
                finally:
                    source.close()
            except ScorerError as error:
                self._wait(str(error))
            except Exception:
                log.exception("the feed failed and starts again")
                self._wait("an unexpected failure; see the log")
            self._stop.wait(_RETRY_SECONDS)

    def _wait(self, why: str) -> None:
        if self._board.enter(FeedState.WAITING, why):
            log.warning("the feed waits: %s", why)

    def _session(self, source: ScoreSource) -> None:
        """From finding the topic to the first trouble."""
        place = self._find(source)
        stored = self._stored_offsets(place)
        session = _Session(self._writer.load_counts(), stored, place.bounds)
        source.assign(session.positions)
        self._board.load(session.counts.copy())
        self._board.enter(FeedState.REBUILDING, "reading what came in before")
        looked = saved = time.monotonic()
        while not self._stop.is_set():
            polled = source.poll(_POLL_RECORDS, _POLL_SECONDS)
            self._reader.read(polled.records, session.harvest, session.counts)
            session.move(polled.ends_reached)
            now = time.monotonic()
            if now - saved >= _SAVE_SECONDS:
                self._save(session)
                saved = now
            if now - looked >= _LOOK_SECONDS:
                session.bounds = self._look(source, session.bounds)
                looked = time.monotonic()

    def _find(self, source: ScoreSource) -> Place:
        place = source.find()
        if place is None:
            raise RetryableError(f"the topic {self._topic} does not exist yet")
        return place

    def _look(
        self, source: ScoreSource, before: Mapping[int, tuple[int, int]]
    ) -> Mapping[int, tuple[int, int]]:
        bounds = self._find(source).bounds
        if bounds.keys() != before.keys():
            raise RetryableError(f"the partitions of {self._topic} changed")
        return bounds

    def _stored_offsets(self, place: Place) -> dict[int, int]:
        """Where to go on in each partition; from the start if this is not what was read."""
        stored = self._writer.begin_from(place.cluster, self._topic)
        unknown = [p for p, o in stored.items() if p not in place.bounds or o > place.bounds[p][1]]
        if unknown:
            log.warning("%s is not the topic that was read before: reading it anew", self._topic)
            self._writer.clear()
            stored = self._writer.begin_from(place.cluster, self._topic)
        return {p: max(low, stored.get(p, low)) for p, (low, _) in place.bounds.items()}

    def _save(self, session: _Session) -> None:
        harvest = session.take()
        if harvest.positions:
            self._writer.save(harvest.flags, harvest.positions, session.counts)
            self._board.add(harvest.scored, harvest.flags, harvest.stamp, session.counts.copy())
        self._board.measure(lag=session.lag, done=session.done)
        if session.has_caught_up and self._board.enter(FeedState.LIVE):
            log.info("the feed has caught up with %s", self._topic)


class _Session:
    """Positions and unsaved rows between two troubles."""

    def __init__(
        self, counts: Counts, start: dict[int, int], bounds: Mapping[int, tuple[int, int]]
    ) -> None:
        self.counts = counts
        self.positions = dict(start)
        self.bounds = bounds
        self.harvest = Harvest()
        self._start = start
        self._goal = {p: high for p, (_, high) in bounds.items()}

    def move(self, ends_reached: Mapping[int, int]) -> None:
        """Note the ends that were reached: offsets of control records carry no data."""
        for partition, offset in self.harvest.positions.items():
            self.positions[partition] = offset
        for partition, offset in ends_reached.items():
            if offset > self.positions[partition]:
                self.positions[partition] = self.harvest.positions[partition] = offset

    def take(self) -> Harvest:
        """The unsaved part; the next one starts empty."""
        taken, self.harvest = self.harvest, Harvest()
        return taken

    @property
    def lag(self) -> int:
        return sum(max(0, high - self.positions[p]) for p, (_, high) in self.bounds.items())

    @property
    def has_caught_up(self) -> bool:
        return all(self.positions[p] >= goal for p, goal in self._goal.items())

    @property
    def done(self) -> float:
        """Share of the backlog found at the start that has been read."""
        total = sum(goal - self._start[p] for p, goal in self._goal.items())
        left = sum(max(0, goal - self.positions[p]) for p, goal in self._goal.items())
        return 1.0 if total <= 0 else 1.0 - left / total
