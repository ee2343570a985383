"""What this dashboard has yet to write to the topics of the desk, on disk.

Unlike the caches, this file holds what exists nowhere else: it must not be deleted while anything
waits in it. If somebody does that while the dashboard runs, the entries are written again. Each
entry is on the disk before its request is answered (``synchronous = FULL``), and is removed only
when its record was read back from the topic.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from dashboard.cache.connection import BUSY_SECONDS, OpenFile
from dashboard.cases.case import DeskUnavailable
from dashboard.cases.events import Event, read_event
from dashboard.cases.log import Channel
from stream_scorer.errors import UsageError

log = logging.getLogger(__name__)

_FORMAT: Final = 1
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS entries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, channel TEXT NOT NULL,
    record_key BLOB NOT NULL, flag_id TEXT, body BLOB NOT NULL, UNIQUE (channel, id));
CREATE INDEX IF NOT EXISTS entries_by_flag ON entries (flag_id);
"""


MAX_ENTRIES: Final = 50_000
"""Entries that may wait for a topic, some 30 MB: while it is missing, more would fill the disk."""


class OutboxFull(DeskUnavailable):
    """Too many entries wait for a topic."""

    def __init__(self, channel: Channel, most: int) -> None:
        what = "decisions" if channel is Channel.LABELS else "events of the audit log"
        super().__init__(f"{most:,} {what} wait to be recorded, the most that are kept")
        self.channel = channel


@dataclass(frozen=True, slots=True)
class Entry:
    """One record to write. ``body`` is what the sender encodes."""

    id: str
    channel: Channel
    key: bytes
    flag_id: str | None
    body: dict[str, Any]
    seq: int = 0

    def as_event(self) -> Event:
        """The audit event in an entry of the audit channel."""
        return read_event(self.body)


class Restored(NamedTuple):
    """What became of the entries of a deleted outbox. ``at`` is epoch milliseconds."""

    at: int
    kept: int
    lost: int

    def __str__(self) -> str:
        lost = f", and {self.lost:,} are lost: decide these cases again" if self.lost else ""
        return f"{self.kept:,} entries that wait were written to a new file{lost}"


def event_entry(event: Event) -> Entry:
    """The entry of an audit event."""
    return Entry(event.event_id, Channel.AUDIT, event.key, event.flag_id, event.as_record())


class Outbox:
    """The entries, oldest first. Safe to use from several threads."""

    def __init__(self, path: Path, most: int = MAX_ENTRIES) -> None:
        self.path = path
        self._most = most
        self.restored: Restored | None = None
        """Set once the file was deleted while this process ran."""
        self._lock = threading.Lock()
        try:
            self._open()
        except (sqlite3.Error, OSError) as error:
            raise UsageError(
                f"the outbox {path} cannot be used: {error}. It may hold decisions that are "
                "recorded nowhere else: keep a copy, then move it away to start with an empty one"
            ) from error
        rows = self._db.execute("SELECT channel, count(*) FROM entries GROUP BY channel")
        self._counts = {Channel(channel): int(count) for channel, count in rows}
        self._rescued: list[tuple[Any, ...]] | None = None

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, _FORMAT):
            raise UsageError(
                f"{self.path} was written by a later release: run that one, or a newer"
            )
        self._db.executescript(_TABLES)
        self._db.execute(f"PRAGMA user_version = {_FORMAT}")
        self._file = OpenFile(self.path)

    def close(self) -> None:
        """Close the file, with all that waits in it."""
        with self._lock:
            try:
                self._write_again_if_deleted()
            except DeskUnavailable as error:
                log.error("%s", error)
            self._db.close()

    def count(self, channel: Channel) -> int:
        """How many entries wait."""
        return self._counts.get(channel, 0)

    def add(self, entries: Sequence[Entry]) -> None:
        """Add entries in one SQLite transaction. An entry with a known id is left out.

        Raises:
            OutboxFull: too many entries wait.
            DeskUnavailable: the disk is full or fails.
        """
        with self._writing():
            for entry in entries:
                added = self._db.execute(
                    "INSERT OR IGNORE INTO entries (id, channel, record_key, flag_id, body) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (entry.id, entry.channel, entry.key, entry.flag_id, orjson.dumps(entry.body)),
                ).rowcount
                self._counts[entry.channel] = self.count(entry.channel) + added
                if added and self._counts[entry.channel] > self._most:
                    raise OutboxFull(entry.channel, self._most)

    def remove(self, channel: Channel, ids: Collection[str]) -> int:
        """Remove entries whose records were read back. Returns how many there were."""
        if not self.count(channel):
            return 0
        with self._writing():
            removed = sum(
                self._db.execute(
                    "DELETE FROM entries WHERE channel = ? AND id = ?", (channel, one)
                ).rowcount
                for one in ids
            )
            self._counts[channel] = self.count(channel) - removed
        return removed

    def get(self, channel: Channel, entry_id: str) -> Entry | None:
        """One entry."""
        return next(iter(self._select("channel = ? AND id = ?", (channel, entry_id), 1)), None)

    def has_labels(self, ids: Sequence[str]) -> bool:
        """Whether any of these decisions waits."""
        if not self.count(Channel.LABELS):
            return False
        return any(self.get(Channel.LABELS, one) is not None for one in ids)

    def oldest(self, channels: Collection[Channel], after: int, limit: int) -> list[Entry]:
        """The oldest entries of some channels that follow the entry number ``after``."""
        marks = ", ".join("?" * len(channels))
        return self._select(f"seq > ? AND channel IN ({marks})", (after, *channels), limit)

    def of_flags(self, flag_ids: Sequence[str]) -> dict[str, list[Entry]]:
        """The entries about some flagged transactions, oldest first."""
        if not any(self._counts.values()):
            return {}
        marks = ", ".join("?" * len(flag_ids))
        found: dict[str, list[Entry]] = {}
        for entry in self._select(f"flag_id IN ({marks})", flag_ids, 10_000):
            found.setdefault(entry.flag_id or "", []).append(entry)
        return found

    def of_user(self, user: str) -> list[Entry]:
        """The entries of one user that are about no flagged transaction."""
        if not self.count(Channel.AUDIT):
            return []
        return self._select("flag_id IS NULL AND record_key = ?", (user.encode(),), 10_000)

    def _select(self, condition: str, parameters: Iterable[Any], limit: int) -> list[Entry]:
        # The condition contains only column names and placeholders.
        query = (
            "SELECT id, channel, record_key, flag_id, body, seq FROM entries "  # noqa: S608
            f"WHERE {condition} ORDER BY seq LIMIT ?"
        )
        try:
            with self._lock:
                self._write_again_if_deleted()
                rows = self._db.execute(query, (*parameters, limit)).fetchall()
        except sqlite3.Error as error:
            raise DeskUnavailable(f"the outbox cannot be read: {error}") from error
        return [
            Entry(entry_id, Channel(channel), key, flag_id, orjson.loads(body), seq)
            for entry_id, channel, key, flag_id, body, seq in rows
        ]

    def _write_again_if_deleted(self) -> None:
        """Put what waits into a new file, if the one that has it was deleted. Holds the lock.

        SQLite still has the deleted file open, so that nothing is lost while this process runs.
        What waits in a file that took its place stays: it may be that of another dashboard.

        Raises:
            DeskUnavailable: no new file can be made. The entries stay in memory.
        """
        if self._rescued is None:
            if not self._file.is_lost:
                return
            self._rescued = self._rescue()
            # Before the new file: closed later, this connection would delete that one's journal.
            self._db.close()
        is_replaced = self._file.is_replaced
        try:
            self._open()
            with self._db:
                if not is_replaced:  # then it has what this one had before its journal was deleted
                    self._db.execute("DELETE FROM entries")
                self._db.executemany(
                    "INSERT OR IGNORE INTO entries (id, channel, record_key, flag_id, body) "
                    "VALUES (?, ?, ?, ?, ?)",
                    self._rescued,
                )
        except (sqlite3.Error, OSError, UsageError) as error:
            self._db.close()
            raise DeskUnavailable(
                f"the outbox {self.path.name} was deleted and cannot be made again: {error}. "
                f"{len(self._rescued):,} entries are in memory alone: make the folder writable, "
                "and do not stop this dashboard before"
            ) from error
        kept, self._rescued = len(self._rescued), None
        waited = sum(self._counts.values())
        rows = self._db.execute("SELECT channel, count(*) FROM entries GROUP BY channel")
        self._counts = {Channel(channel): int(count) for channel, count in rows}
        self.restored = Restored(int(time.time() * 1000), kept, max(0, waited - kept))
        log.error("%s was deleted while the dashboard runs: %s", self.path, self.restored)

    def _rescue(self) -> list[tuple[Any, ...]]:
        query = "SELECT id, channel, record_key, flag_id, body FROM entries ORDER BY seq"
        try:
            return self._db.execute(query).fetchall()
        except sqlite3.Error:
            log.exception("the deleted outbox cannot be read")
            return []

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock:
            self._write_again_if_deleted()
            counts = dict(self._counts)
            try:
                with self._db:
                    yield
            except OutboxFull:
                self._counts = counts
                raise
            except sqlite3.Error as error:
                self._counts = counts
                raise DeskUnavailable(f"the outbox cannot be written: {error}") from error
