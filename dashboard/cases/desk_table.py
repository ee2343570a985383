"""What was read from the topics of the desk, in SQLite: a cache that can be deleted.

One thread writes (:class:`DeskWriter`). Offsets are stored in the same SQLite transaction as what
was read up to them, so a restart neither loses nor repeats a record.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from dashboard.cache.connection import CacheWriter
from dashboard.cases.events import VIEW_DELETED, VIEW_SAVED, Event
from dashboard.cases.labels import WITHDRAW, Label, target_of
from dashboard.cases.log import Channel, Place, Positions
from dashboard.cases.rules import NO_HOLD, Hold, apply_event
from stream_scorer.labels.order import stands_over

_FORMAT: Final = 4  # of the tables below; a file with another format is rebuilt
HOLD: Final = (
    "flag_id, holder, claimed_at, lease_until, claim_id, snoozed_by, snoozed_until, changes"
)
"""The columns of a hold, after the flag that it is about."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS origin (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS offsets (
    channel TEXT, partition INTEGER, next INTEGER NOT NULL,
    PRIMARY KEY (channel, partition)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    event_id TEXT, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
    time INTEGER NOT NULL, kind TEXT NOT NULL, by TEXT NOT NULL, flag_id TEXT,
    is_effective INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE (event_id, partition));
CREATE INDEX IF NOT EXISTS events_by_time ON events (time, partition, offset);
CREATE INDEX IF NOT EXISTS events_by_user ON events (by, time, partition, offset);
CREATE INDEX IF NOT EXISTS events_by_flag ON events (flag_id, time) WHERE flag_id IS NOT NULL;
CREATE TABLE IF NOT EXISTS holds (
    flag_id TEXT PRIMARY KEY, holder TEXT, claimed_at INTEGER, lease_until INTEGER, claim_id TEXT,
    snoozed_by TEXT, snoozed_until INTEGER, changes INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS labels (
    partition INTEGER, offset INTEGER, time INTEGER, target TEXT NOT NULL, transaction_id INTEGER,
    decision_id TEXT, origin TEXT, label TEXT, kind TEXT, by TEXT, decided_at INTEGER,
    note TEXT, reasons TEXT, supersedes TEXT, PRIMARY KEY (partition, offset),
    UNIQUE (decision_id, partition)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS labels_by_target ON labels (target, time);
CREATE TABLE IF NOT EXISTS latest (
    target TEXT, is_external INTEGER, partition INTEGER, offset INTEGER, count INTEGER,
    PRIMARY KEY (target, is_external, partition)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS decided (target TEXT PRIMARY KEY, decided_at INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS views (
    user TEXT, name TEXT, time INTEGER, body BLOB, PRIMARY KEY (user, name)) WITHOUT ROWID;
"""
_NAMES: Final = ("origin", "offsets", "events", "holds", "labels", "latest", "decided", "views")


class DeskWriter(CacheWriter):
    """The writer of the desk's cache."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _TABLES, _FORMAT, "SELECT count(*) FROM holds, origin")

    def resume(self, origin: Mapping[str, str]) -> dict[tuple[Channel, int], int]:
        """The stored offsets. Clears all tables if they belong to another cluster or topic.

        What ``origin`` does not name is not compared: the id of a topic that is missing now.
        """
        stored = self.origin()
        if any(stored.get(name, value) != value for name, value in origin.items()):
            self.clear()
            stored = {}
        if any(name not in stored for name in origin):
            with self._db:
                self._db.executemany("INSERT OR REPLACE INTO origin VALUES (?, ?)", origin.items())
        rows = self._db.execute("SELECT channel, partition, next FROM offsets")
        return {(Channel(channel), partition): at for channel, partition, at in rows}

    def origin(self) -> dict[str, str]:
        """What the tables belong to, as far as they are filled."""
        return dict(self._db.execute("SELECT name, value FROM origin"))

    def clear(self) -> None:
        """Delete everything."""
        with self._db:
            for name in _NAMES:
                self._db.execute(f"DELETE FROM {name}")  # noqa: S608 - our own table names

    def forget_events(self, first: Mapping[int, int]) -> None:
        """Delete events before the first offset of their partition: retention removed them."""
        with self._db:
            self._db.executemany(
                "DELETE FROM events WHERE partition = ? AND offset < ?", first.items()
            )

    def save(
        self,
        labels: Iterable[Label],
        events: Iterable[tuple[Event, Place]],
        positions: Positions,
    ) -> tuple[set[str], set[str]]:
        """Save what was read, in one SQLite transaction.

        Returns:
            The targets whose case changed, and the ids of the decisions and events that were read.
        """
        changed, ids = set[str](), set[str]()
        with self._db:
            for label in labels:
                if label.decision_id:
                    ids.add(label.decision_id)
                if self._add_label(label):
                    changed.add(label.target)
            for event, place in events:
                ids.add(event.event_id)
                if self._add_event(event, place) and event.flag_id:
                    changed.add(event.flag_id)
            self._db.executemany(
                "INSERT OR REPLACE INTO offsets VALUES (?, ?, ?)",
                [(channel.value, p, at) for (channel, p), at in positions.items()],
            )
        return changed, ids

    def _add_label(self, label: Label) -> bool:
        """Add a label. False if a decision with its id came before."""
        added = self._db.execute(
            "INSERT OR IGNORE INTO labels VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *label.place, label.time, label.target, label.transaction_id, label.decision_id,
                label.origin, label.label, label.kind, label.by, label.decided_at, label.note,
                orjson.dumps(label.reasons).decode(), label.supersedes,
            ),
        ).rowcount  # fmt: skip
        if not added:
            return False
        self._db.execute(
            "INSERT INTO latest VALUES (?, ?, ?, ?, 1) "
            "ON CONFLICT DO UPDATE SET offset = excluded.offset, count = count + 1",
            (label.target, label.is_external, label.place.partition, self._standing(label)),
        )
        if not label.is_external:
            self._note_decided(label)
        return True

    def _standing(self, label: Label) -> int:
        """The offset of the label that stands in a partition, now that it has this one too."""
        if label.is_external:
            return label.place.offset
        before = self._db.execute(
            "SELECT l.decided_at, l.offset FROM latest t JOIN labels l "
            "ON l.partition = t.partition AND l.offset = t.offset "
            "WHERE t.target = ? AND t.is_external = ? AND t.partition = ?",
            (label.target, label.is_external, label.place.partition),
        ).fetchone()
        if before is None:
            return label.place.offset
        decided_at, offset = before
        place = str(Place(label.place.partition, offset))
        stands = stands_over(label.decided_at, label.supersedes, decided_at, place)
        return label.place.offset if stands else int(offset)

    def _note_decided(self, label: Label) -> None:
        """Keep the targets with a decision in effect, for queries that select by it."""
        standing = self._db.execute(
            "SELECT l.decided_at, l.kind FROM latest t JOIN labels l "
            "ON l.partition = t.partition AND l.offset = t.offset "
            "WHERE t.target = ? AND NOT t.is_external "
            "ORDER BY l.decided_at DESC, l.partition DESC, l.offset DESC LIMIT 1",
            (label.target,),
        ).fetchone()
        if standing[1] != WITHDRAW:
            row = (label.target, standing[0])
            self._db.execute("INSERT OR REPLACE INTO decided VALUES (?, ?)", row)
            return
        # It also takes back an earlier decision that names the transaction and no source.
        targets = (label.target, target_of(label.transaction_id), standing[0])
        self._db.execute(
            "DELETE FROM decided WHERE target = ? OR (target = ? AND decided_at <= ?)", targets
        )

    def _add_event(self, event: Event, place: Place) -> bool:
        """Apply an event. False if it has no effect, or an event with its id came before."""
        # Ids count within a partition, where all replicas read the records in the same order.
        found = self._db.execute(
            "SELECT 1 FROM events WHERE event_id = ? AND partition = ?",
            (event.event_id, place.partition),
        )
        if found.fetchone():
            return False
        is_effective = True
        if event.flag_id is not None:
            hold = read_hold(self._db, event.flag_id)
            after, is_effective = apply_event(hold, event)
            if after != hold:
                write_hold(self._db, event.flag_id, after)
        elif event.kind in (VIEW_SAVED, VIEW_DELETED):
            self._apply_view(event)
        self._db.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                event.event_id, *place, event.time, event.kind, event.by, event.flag_id,
                is_effective, orjson.dumps(event.as_body()),
            ),
        )  # fmt: skip
        return is_effective

    def _apply_view(self, event: Event) -> None:
        details = event.as_body()["details"]
        name = details.get("name") if isinstance(details, dict) else None
        if not isinstance(name, str):
            return
        if event.kind == VIEW_DELETED:
            self._db.execute("DELETE FROM views WHERE user = ? AND name = ?", (event.by, name))
        else:
            row = (event.by, name, event.time, orjson.dumps(details))
            self._db.execute("INSERT OR REPLACE INTO views VALUES (?, ?, ?, ?)", row)


def read_hold(db: sqlite3.Connection, flag_id: str) -> Hold:
    """Who holds a case."""
    query = f"SELECT {HOLD} FROM holds WHERE flag_id = ?"  # noqa: S608 - our own column names
    row = db.execute(query, (flag_id,)).fetchone()
    return Hold(*row[1:]) if row else NO_HOLD


def write_hold(db: sqlite3.Connection, flag_id: str, hold: Hold) -> None:
    """Replace who holds a case."""
    values: tuple[Any, ...] = (
        hold.holder, hold.claimed_at, hold.lease_until, hold.claim_id, hold.snoozed_by,
        hold.snoozed_until, hold.changes,
    )  # fmt: skip
    db.execute("INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (flag_id, *values))
