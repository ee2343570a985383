"""The thread that reads the topics of the desk into its cache."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from dashboard.cache.connection import CacheUnavailable
from dashboard.cases.desk_table import DeskWriter
from dashboard.cases.events import CONTRACT, Event, read_event
from dashboard.cases.labels import Label, read_label
from dashboard.cases.log import (
    Channel,
    DeskLog,
    LogBatch,
    LogBounds,
    LogReader,
    LogRecord,
    Place,
)
from dashboard.cases.outbox import Outbox
from dashboard.cases.session import Session, find_recreated, origin_of
from schemas.records import UndecodableRecord, decode_record
from schemas.resolver import SchemaResolver
from stream_scorer.errors import ScorerError
from stream_scorer.runtime.text import printable

log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.2  # also how long a stop takes
_CHECK_SECONDS: Final = 2.0  # how soon an unreachable broker or a new topic is noticed
_RETRY_SECONDS: Final = 1.0
_TOPICS: Final = "reading the topics of the desk"
_NAMED: Final = 20  # unreadable records in the log per session
_CHANGES: Final = 1000  # remembered changes; a page that misses some reads the list again


class ReadingState(StrEnum):
    """Whether the desk follows its topics."""

    STARTING = "starting"
    WAITING = "waiting"
    REBUILDING = "rebuilding"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Reading:
    """A snapshot of the reader.

    Attributes:
        state: ``waiting`` means that the topics cannot be read at present.
        detail: why it is in this state.
        since: epoch milliseconds of the last change of state.
        problems: the topics that cannot be used, and why.
        lag: records that have not been read, as of the last check.
        unreadable: records that could not be read since the start.
    """

    state: ReadingState = ReadingState.STARTING
    detail: str = "not connected yet"
    since: int = 0
    problems: Mapping[Channel, str] = field(default_factory=dict)
    lag: int = 0
    unreadable: int = 0


class DeskReader:
    """Reads until it is stopped. On an error it retries, and keeps the reason in its status."""

    def __init__(
        self,
        desk_log: DeskLog,
        writer: DeskWriter,
        outbox: Outbox,
        resolvers: Mapping[Channel, SchemaResolver],
        input_topic: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log = desk_log
        self._writer = writer
        self._outbox = outbox
        self._resolvers = resolvers
        self._input_topic = input_topic
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="desk-reader", daemon=True)
        self._changed = threading.Condition()
        self._status = Reading(since=int(clock() * 1000))
        self._positions: dict[tuple[Channel, int], int] = {}
        self._changes: deque[tuple[int, str]] = deque(maxlen=_CHANGES)
        self._change_count = 0
        self._check_wanted = self._check_done = 0
        self._named = 0
        self._rebuilding_because = _TOPICS
        self.sessions = 0
        """How often reading began, maybe of topics that were created again."""

    @property
    def status(self) -> Reading:
        """The current status."""
        return self._status

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Stop the thread."""
        self._stop.set()
        self._thread.join(timeout)
        if not self._thread.is_alive():
            self._writer.close()

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until ``condition`` holds, which is checked after each save."""
        with self._changed:
            return self._changed.wait_for(lambda: condition() or self._stop.is_set(), seconds)

    def wait_for_place(self, channel: Channel, place: Place, seconds: float) -> bool:
        """Wait until a record has been read."""
        key = (channel, place.partition)
        return self.wait_for(lambda: self._positions.get(key, 0) > place.offset, seconds)

    def catch_up(self, seconds: float) -> bool:
        """Wait until everything has been read that was on the topics when this was called."""
        with self._changed:
            self._check_wanted += 1
            wanted = self._check_wanted
            return self._changed.wait_for(lambda: self._check_done >= wanted, seconds)

    def note_change(self, targets: Collection[str]) -> None:
        """Remember that the cases of these targets changed, and notify whoever waits."""
        with self._changed:
            for target in targets:
                self._change_count += 1
                self._changes.append((self._change_count, target))
            self._changed.notify_all()

    def changes_after(self, number: int) -> tuple[int, list[str] | None]:
        """The number of the last change, and the targets that changed after change ``number``.

        None instead of the targets: some are no longer remembered.
        """
        with self._changed:
            last, changes = self._change_count, list(self._changes)
        if number >= last:
            return last, []
        if not changes or changes[0][0] > number + 1:
            return last, None
        return last, list(dict.fromkeys(target for n, target in changes if n > number))

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if self._writer.is_lost:
                    self._make_cache_again()
                reader = self._log.open_reader()
                try:
                    self._read_until_error(reader)
                finally:
                    reader.close()
            except (ScorerError, CacheUnavailable) as error:
                self._enter(ReadingState.WAITING, str(error))
            except Exception:
                log.exception("reading the topics of the desk failed; it will restart")
                self._enter(ReadingState.WAITING, "unexpected error; see the log")
            self._stop.wait(_RETRY_SECONDS)

    def _make_cache_again(self) -> None:
        path = self._writer.path
        try:
            self._writer.reopen()
        except (OSError, sqlite3.Error) as error:
            problem = f"{path} was deleted and cannot be made again: {error}"
            raise CacheUnavailable(problem) from error
        log.error("%s was deleted: it is made again, and the topics of the desk are read again",
                  path)  # fmt: skip
        self._rebuilding_because = "the cache of the desk was deleted, so its topics are read again"

    def _enter(self, state: ReadingState, detail: str = "") -> None:
        before = self._status
        since = before.since if state is before.state else int(self._clock() * 1000)
        self._status = replace(before, state=state, detail=detail, since=since)
        if state is ReadingState.WAITING and (before.state, before.detail) != (state, detail):
            log.warning("the desk is waiting to retry: %s", detail)

    def _read_until_error(self, reader: LogReader) -> None:
        found = self._assign(reader)
        session = Session(found)
        checked = time.monotonic()
        while not self._stop.is_set():
            session.follow_check(self._check_wanted)
            batch = reader.poll(_POLL_SECONDS)
            if self._writer.is_lost:
                return
            self._save(batch, session)
            self._finish_check(session)
            if time.monotonic() - checked >= _CHECK_SECONDS or session.is_check_due:
                found = reader.fetch_bounds()
                checked = time.monotonic()
                if found.bounds.keys() != session.bounds.keys() or session.is_recreated(
                    found, self._positions
                ):
                    return  # a topic was created, or has more partitions
                session.begin_check(found.bounds)
                self._finish_check(session)
                self._measure(session)

    def _assign(self, reader: LogReader) -> LogBounds:
        """Continue from the stored offsets. Clears the cache of a recreated topic."""
        found = reader.fetch_bounds()
        self._status = replace(self._status, problems=dict(found.problems))
        stored = self._resume(found)
        bounds = found.bounds
        first = {p: low for (channel, p), (low, _) in bounds.items() if channel is Channel.AUDIT}
        self._writer.forget_events(first)
        positions = {place: max(low, stored.get(place, low)) for place, (low, _) in bounds.items()}
        with self._changed:
            self._positions = dict(positions)
        self._named = 0
        self._enter(ReadingState.REBUILDING, self._rebuilding_because)
        reader.assign(positions)
        self.sessions += 1
        return found

    def _resume(self, found: LogBounds) -> dict[tuple[Channel, int], int]:
        """The stored offsets; none if a topic is another one than when they were stored."""
        origin = origin_of(found, self._log)
        before = self._writer.origin()
        stored = self._writer.resume(origin)
        if recreated := find_recreated(found, before, stored):
            names = " and ".join(f"the topic {self._log.name_of(one)}" for one in recreated)
            self._rebuilding_because = (
                f"{names} was deleted and created again, so the topics of the desk are read from "
                "their start"
            )
            log.error("%s", self._rebuilding_because)
            self._writer.clear()
            stored = self._writer.resume(origin)
        return stored

    def _save(self, batch: LogBatch, session: Session) -> None:
        positions = {(r.channel, r.place.partition): r.place.offset + 1 for r in batch.records}
        for place, end in batch.ends.items():
            if end > max(positions.get(place, 0), self._positions.get(place, 0)):
                positions[place] = end  # control records precede the end
        if positions:
            labels, events = self._decode(batch)
            changed, ids = self._writer.save(labels, events, positions)
            for channel in Channel:
                self._outbox.remove(channel, ids)
            with self._changed:
                self._positions.update(positions)
            self.note_change(changed)
        if session.is_behind(self._positions):
            return
        if self._status.state is not ReadingState.LIVE:
            self._enter(ReadingState.LIVE)
            self._rebuilding_because = _TOPICS
            self.note_change(())
            log.info("the desk has read its topics")

    def _decode(self, batch: LogBatch) -> tuple[list[Label], list[tuple[Event, Place]]]:
        labels, events = list[Label](), list[tuple[Event, Place]]()
        for record in batch.records:
            try:
                resolver = self._resolvers[record.channel]
                if record.channel is Channel.LABELS:
                    labels.append(read_label(record, resolver, self._input_topic))
                else:
                    events.append((_event(record, resolver), record.place))
            except ScorerError:
                raise  # the registry does not answer, which says nothing about the record
            except Exception as error:  # whatever is in a record, reading goes on
                self._refuse(record, error)
        return labels, events

    def _refuse(self, record: LogRecord, error: Exception) -> None:
        self._status = replace(self._status, unreadable=self._status.unreadable + 1)
        self._named += 1
        if self._named <= _NAMED:
            name = self._log.name_of(record.channel)
            log.warning(
                "cannot read the record %s at %s: %s", name, record.place,
                printable(str(error))[:200],
            )  # fmt: skip

    def _finish_check(self, session: Session) -> None:
        """Report a check as done once everything up to its bounds has been read."""
        if session.checking and not session.is_behind(self._positions):
            with self._changed:
                self._check_done = max(self._check_done, session.checking)
                self._changed.notify_all()
            session.checking = 0

    def _measure(self, session: Session) -> None:
        lag = sum(
            max(0, high - self._positions.get(place, 0))
            for place, (_, high) in session.bounds.items()
        )
        self._status = replace(self._status, lag=lag)


def _event(record: LogRecord, resolver: SchemaResolver) -> Event:
    if record.fault:
        raise UndecodableRecord(record.fault)
    found = decode_record(CONTRACT, record.value, resolver, record.headers)
    return read_event(found, record.time)
