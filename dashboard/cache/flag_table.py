"""The flagged transactions in SQLite: a cache of the scores topic that can be deleted.

One thread writes (:class:`FlagWriter`). Any thread reads, with :func:`read_page` and
:func:`read_flag`, which open their own connections. Offsets are stored in the same SQLite
transaction as the rows read up to them, so a restart neither loses nor repeats a row.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dashboard.cache.flag import Flag, FlagKey
from dashboard.cache.selection import Selection

HISTOGRAM_BINS: Final = 50
_FORMAT: Final = 1  # of the tables below; a file with another format is rebuilt
_BUSY_SECONDS: Final = 5.0  # readers never wait in WAL mode, except while a file is set up

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS origin (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS offsets (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS histogram (bin INTEGER PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS flags (
    partition INTEGER NOT NULL, offset INTEGER NOT NULL, scored_at INTEGER NOT NULL,
    transaction_id INTEGER NOT NULL, score REAL NOT NULL, amount REAL, product TEXT,
    body BLOB NOT NULL, UNIQUE (partition, offset));
CREATE INDEX IF NOT EXISTS newest ON flags (scored_at, partition, offset, score, product);
CREATE INDEX IF NOT EXISTS by_transaction ON flags (transaction_id, scored_at);
"""


@dataclass(slots=True)
class Counts:
    """Totals of everything read from the topic so far.

    ``histogram`` counts all scores in bins of equal width from 0 to 1.
    """

    scored: int = 0
    flagged: int = 0
    unreadable: int = 0
    histogram: list[int] = field(default_factory=lambda: [0] * HISTOGRAM_BINS)

    def copy(self) -> Counts:
        """A snapshot that no longer changes."""
        return Counts(self.scored, self.flagged, self.unreadable, list(self.histogram))


class FlagWriter:
    """The only writer. Opens the file, or recreates it if it cannot be read.

    Used by one thread after construction.
    """

    def __init__(self, path: Path, keep: int) -> None:
        self.path = path
        self._keep = keep
        try:
            self._db = _open(path)
        except sqlite3.DatabaseError:
            # The file is a cache, so a damaged file costs one replay and no data.
            _delete(path)
            self._db = _open(path)
        self._rows: int = self._db.execute("SELECT count(*) FROM flags").fetchone()[0]

    def close(self) -> None:
        """Close the file. Records that were not saved are read from the topic again."""
        self._db.close()

    def resume(self, cluster: str, topic: str) -> dict[int, int]:
        """The stored offsets. Clears all tables if they belong to another cluster or topic."""
        origin = {"cluster": cluster, "topic": topic}
        stored = dict(self._db.execute("SELECT name, value FROM origin"))
        if stored != origin:
            if stored:
                self.clear()
            with self._db:
                self._db.executemany("INSERT OR REPLACE INTO origin VALUES (?, ?)", origin.items())
        return dict(self._db.execute("SELECT partition, next FROM offsets"))

    def clear(self) -> None:
        """Delete all rows, offsets and totals."""
        with self._db:
            for table in ("origin", "offsets", "counts", "histogram", "flags"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own table names
        self._rows = 0

    def load_counts(self) -> Counts:
        """The totals that belong to the stored offsets."""
        found = dict(self._db.execute("SELECT name, value FROM counts"))
        counts = Counts(*(found.get(n, 0) for n in ("scored", "flagged", "unreadable")))
        for number, count in self._db.execute("SELECT bin, count FROM histogram"):
            if 0 <= number < HISTOGRAM_BINS:
                counts.histogram[number] = count
        return counts

    def save(self, flags: Sequence[Flag], offsets: Mapping[int, int], counts: Counts) -> None:
        """Save rows, offsets and totals in one SQLite transaction."""
        with self._db:
            before = self._db.total_changes
            self._db.executemany(
                "INSERT OR IGNORE INTO flags VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (f.key.partition, f.key.offset, f.key.scored_at, f.transaction_id, f.score,
                     f.amount, f.product, f.body)
                    for f in flags
                ],
            )  # fmt: skip
            self._rows += self._db.total_changes - before
            self._db.executemany("INSERT OR REPLACE INTO offsets VALUES (?, ?)", offsets.items())
            self._db.executemany(
                "INSERT OR REPLACE INTO counts VALUES (?, ?)",
                [
                    ("scored", counts.scored),
                    ("flagged", counts.flagged),
                    ("unreadable", counts.unreadable),
                ],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO histogram VALUES (?, ?)", enumerate(counts.histogram)
            )
            # 10 % slack, so that trimming is rare and removes many rows at once.
            if self._rows > self._keep * 1.1:
                self._trim()

    def _trim(self) -> None:
        self._db.execute(
            "DELETE FROM flags WHERE rowid IN (SELECT rowid FROM flags "
            "ORDER BY scored_at, partition, offset LIMIT ?)",
            (self._rows - self._keep,),
        )
        self._rows = self._keep


def read_page(
    path: Path, selection: Selection, after: FlagKey | None, limit: int
) -> list[tuple[FlagKey, bytes]]:
    """Up to ``limit`` flags of a selection, newest first, that follow ``after`` in the list."""
    condition, parameters = selection.sql()
    if after is not None:
        condition += " AND (scored_at, partition, offset) < (:scored_at, :partition, :offset)"
        parameters |= after._asdict()
    # The condition contains only column names and placeholders.
    query = (
        "SELECT scored_at, partition, offset, body FROM flags "  # noqa: S608
        f"WHERE {condition} ORDER BY scored_at DESC, partition DESC, offset DESC LIMIT :limit"
    )
    with _reading(path) as db:
        rows = db.execute(query, {**parameters, "limit": limit}).fetchall()
    return [(FlagKey(*row[:3]), row[3]) for row in rows]


def read_flag(path: Path, partition: int, offset: int) -> bytes | None:
    """The JSON object of the flag with these source coordinates. None if there is none."""
    with _reading(path) as db:
        row = db.execute(
            "SELECT body FROM flags WHERE partition = ? AND offset = ?", (partition, offset)
        ).fetchone()
    return None if row is None else row[0]


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)
    try:
        yield db
    finally:
        db.close()


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    db = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False)
    try:
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, _FORMAT):
            raise sqlite3.DatabaseError(f"format {found}, not {_FORMAT}")
        db.execute("PRAGMA journal_mode = WAL")
        # A power failure may lose the last commits; they are read from the topic again.
        db.execute("PRAGMA synchronous = NORMAL")
        db.executescript(_TABLES)
        db.execute(f"PRAGMA user_version = {_FORMAT}")
        db.execute("SELECT count(*) FROM flags, origin").fetchone()
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db


def _delete(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
