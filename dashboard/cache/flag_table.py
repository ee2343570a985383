"""The flagged transactions in SQLite: a cache of the scores topic that can be deleted.

One thread writes (:class:`FlagWriter`). Any thread reads, with the functions of
:mod:`dashboard.cache.reading`, which open their own connections. Offsets are stored in the same
SQLite transaction as the rows read up to them, so a restart neither loses nor repeats a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

from dashboard.cache.connection import CacheWriter
from dashboard.cache.flag import Flag
from dashboard.cache.listed import HISTOGRAM_BINS, Listed, ListedCounter
from dashboard.cache.score_counts import SCORE_SCHEMA, SCORE_TABLES, ScoreCounter, ScoreKey, Tally

_FORMAT: Final = 2  # of the tables below; a file with another format is rebuilt

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS origin (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS offsets (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS counts (
    scored INTEGER NOT NULL, flagged INTEGER NOT NULL, unreadable INTEGER NOT NULL,
    histogram BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS flags (
    id TEXT NOT NULL UNIQUE, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    offset INTEGER NOT NULL, scored_at INTEGER NOT NULL, transaction_id INTEGER NOT NULL,
    score REAL NOT NULL, amount REAL, expected_loss REAL NOT NULL, product TEXT, card1 REAL,
    addr1 REAL, email TEXT, device TEXT, decision TEXT NOT NULL, model_version TEXT NOT NULL,
    body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS flag_reasons (
    feature TEXT, flag INTEGER, PRIMARY KEY (feature, flag)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_time ON flags (scored_at, partition, offset, topic,
    expected_loss, transaction_id, score, amount, product, card1, addr1, email, device, decision,
    model_version, id);
CREATE INDEX IF NOT EXISTS by_loss ON flags (expected_loss, scored_at, partition, offset, topic,
    transaction_id, score, amount, product, card1, addr1, email, device, decision, model_version,
    id);
CREATE INDEX IF NOT EXISTS by_transaction ON flags (transaction_id);
CREATE INDEX IF NOT EXISTS by_score ON flags (score);
CREATE INDEX IF NOT EXISTS by_amount ON flags (amount);
CREATE INDEX IF NOT EXISTS by_product ON flags (product);
CREATE INDEX IF NOT EXISTS by_model ON flags (model_version);
CREATE INDEX IF NOT EXISTS by_card ON flags (card1, scored_at);
CREATE INDEX IF NOT EXISTS by_addr ON flags (addr1, scored_at);
CREATE INDEX IF NOT EXISTS by_email ON flags (email COLLATE NOCASE, scored_at);
CREATE INDEX IF NOT EXISTS by_device ON flags (device COLLATE NOCASE, scored_at);
"""

_COLUMNS: Final = (
    "id, topic, partition, offset, scored_at, transaction_id, score, amount, expected_loss, "
    "product, card1, addr1, email, device, decision, model_version, body"
)
_INSERT: Final = f"INSERT INTO flags (rowid, {_COLUMNS}) VALUES ({', '.join('?' * 18)})"  # noqa: S608
_EMPTIED: Final = ("origin", "offsets", "counts", "flags", "flag_reasons", *SCORE_TABLES)


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


class FlagWriter(CacheWriter):
    """The writer of the flagged transactions. It keeps the last ``keep`` of them."""

    def __init__(self, path: Path, keep: int) -> None:
        self._keep = keep
        self._removals = 0  # with the whole file
        probe = "SELECT count(*) FROM flags, origin"
        super().__init__(path, _TABLES + SCORE_SCHEMA, _FORMAT, probe)

    def _open(self) -> None:
        super()._open()
        self._rows: int = self._db.execute("SELECT count(*) FROM flags").fetchone()[0]
        self._next: int = self._db.execute(
            "SELECT ifnull(max(rowid), 0) + 1 FROM flags"
        ).fetchone()[0]
        self._scores = ScoreCounter(self._db)
        self._listed = ListedCounter(self._db, self._removals)

    @property
    def listed(self) -> Listed:
        """The stored rows by score."""
        return self._listed.listed

    def reopen(self) -> None:
        """Make the file again. What it listed counts as removed."""
        self._removals = self.listed.removals + 1
        super().reopen()

    def resume(
        self, cluster: str, topic: str, input_topic: str, topic_id: str | None = None
    ) -> dict[int, int]:
        """The stored offsets. Clears all tables if they belong to another cluster or topic.

        The ids of the rows depend on the input topic. An unknown ``topic_id`` is not compared.
        """
        origin = {"cluster": cluster, "topic": topic, "input": input_topic}
        if topic_id is not None:
            origin["topic id"] = topic_id
        stored = self.origin()
        if any(stored.get(name, value) != value for name, value in origin.items()):
            self.clear()
            stored = {}
        if any(name not in stored for name in origin):
            with self._db:
                self._db.executemany("INSERT OR REPLACE INTO origin VALUES (?, ?)", origin.items())
        return dict(self._db.execute("SELECT partition, next FROM offsets"))

    def origin(self) -> dict[str, str]:
        """What the tables belong to, as far as they are filled."""
        return dict(self._db.execute("SELECT name, value FROM origin"))

    def clear(self) -> None:
        """Delete all rows, offsets and totals."""
        with self._db:
            for table in _EMPTIED:
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own table names
        self._rows = 0
        self._scores = ScoreCounter(self._db)
        self._listed = ListedCounter(self._db, self.listed.removals + 1)

    def load_counts(self) -> Counts:
        """The totals that belong to the stored offsets."""
        row = self._db.execute("SELECT * FROM counts").fetchone()
        return Counts() if row is None else Counts(row[0], row[1], row[2], orjson.loads(row[3]))

    def save(
        self,
        flags: Sequence[Flag],
        offsets: Mapping[int, int],
        counts: Counts,
        scores: Mapping[ScoreKey, Tally] | None = None,
    ) -> None:
        """Save rows, offsets and totals in one SQLite transaction.

        ``scores`` counts what was read since the last save, by version and minute.
        """
        with self._db:
            added = self._add(flags)
            self._db.executemany("INSERT OR REPLACE INTO offsets VALUES (?, ?)", offsets.items())
            self._db.execute(
                "INSERT OR REPLACE INTO counts (rowid, scored, flagged, unreadable, histogram) "
                "VALUES (1, ?, ?, ?, ?)",
                (counts.scored, counts.flagged, counts.unreadable, orjson.dumps(counts.histogram)),
            )
            if scores:
                self._scores.add(scores)
            # 10 % slack, so that trimming is rare and removes many rows at once.
            removed = self._trim() if self._rows > self._keep * 1.1 else []
        self._listed.add(added)
        if removed:
            self._listed.remove(removed)

    def _add(self, flags: Sequence[Flag]) -> list[float]:
        """Add rows, without those that are there. Returns the scores of what was added."""
        fresh = {flag.id: flag for flag in flags}
        for flag_id in list(fresh):
            if self._db.execute("SELECT 1 FROM flags WHERE id = ?", (flag_id,)).fetchone():
                del fresh[flag_id]
        numbered = list(enumerate(fresh.values(), self._next))
        self._db.executemany(_INSERT, [(row, *_columns(flag)) for row, flag in numbered])
        self._db.executemany(
            "INSERT OR IGNORE INTO flag_reasons VALUES (?, ?)",
            [(feature, row) for row, flag in numbered for feature in flag.reasons],
        )
        self._rows += len(numbered)
        self._next += len(numbered)
        return [flag.score for flag in fresh.values()]

    def _trim(self) -> list[float]:
        """Delete the oldest rows. Returns their scores."""
        self._db.execute("CREATE TEMP TABLE oldest (flag INTEGER PRIMARY KEY)")
        self._db.execute(
            "INSERT INTO oldest SELECT rowid FROM flags "
            "ORDER BY scored_at, partition, offset, topic LIMIT ?",
            (self._rows - self._keep,),
        )
        scores = self._db.execute(
            "SELECT score FROM flags WHERE rowid IN (SELECT flag FROM oldest)"
        ).fetchall()
        for table, column in (("flags", "rowid"), ("flag_reasons", "flag")):
            self._db.execute(
                f"DELETE FROM {table} WHERE {column} IN (SELECT flag FROM oldest)"  # noqa: S608
            )
        self._db.execute("DROP TABLE oldest")
        self._rows = self._keep
        return [score for (score,) in scores]


def _columns(flag: Flag) -> tuple[object, ...]:
    key = flag.key
    return (
        flag.id, key.topic, key.partition, key.offset, key.scored_at, flag.transaction_id,
        flag.score, flag.amount, flag.expected_loss, flag.product, flag.card1, flag.addr1,
        flag.email, flag.device, flag.decision, flag.model_version, flag.body,
    )  # fmt: skip
