"""A file of the scores in a window, so that the next run reads only new ones.

Labels come in weeks after a score, and every one of them may be about any score. So the columns of
all scores are kept, compressed, about 11 bytes a score. The file is an SQLite database: a segment
of scores and how far each partition was read are written in one transaction, so that an interrupted
run continues where it was.
"""

from __future__ import annotations

import io
import json
import sqlite3
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from stream_scorer.errors import UsageError
from stream_scorer.quality.rows import ScoreRows

FORMAT: Final = 1
SEGMENT_ROWS: Final = 100_000
"""Scores written at once: 8 MB of memory, and well below a second of work to do again."""

_BUSY_SECONDS: Final = 1.0
_TABLES: Final = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE reached (partition INTEGER PRIMARY KEY, offset INTEGER NOT NULL);
CREATE TABLE segments (id INTEGER PRIMARY KEY, last_ms INTEGER NOT NULL, data BLOB NOT NULL);
"""
_DAMAGE: Final = (
    sqlite3.Error, zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, OSError,
)  # fmt: skip
_WAYS_OUT: Final = {
    sqlite3.SQLITE_BUSY: "another run uses it: wait until that has ended",
    sqlite3.SQLITE_FULL: "free some space, and run the same command again",
    sqlite3.SQLITE_CANTOPEN: "name a file in a folder that exists and that you may write to",
    sqlite3.SQLITE_READONLY: "name a file that you may write to",
}
_COLUMNS: Final = ScoreRows._fields[:11]


class ScoreFile:
    """Scores on disk. One thread uses it.

    Args:
        path: the file.
        identity: what the scores are of; a file of another topic is refused.
        since: earlier scores are not needed, epoch milliseconds.

    Raises:
        UsageError: the file cannot be used, is of something else, or begins later than ``since``.
    """

    def __init__(self, path: Path, identity: Mapping[str, str], since: int) -> None:
        self._path = path
        self._parts: list[ScoreRows] = []
        self._pending: dict[int, int] = {}
        with self._errors_named():
            self._db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            try:
                self._open(identity, since)
            except BaseException:
                self._db.close()
                raise

    def reached(self) -> dict[int, int]:
        """Partition → the offset to continue at."""
        with self._errors_named():
            return dict(self._db.execute("SELECT partition, offset FROM reached"))

    def add(self, rows: ScoreRows, partition: int, next_offset: int) -> None:
        """Add scores of one partition, in offset order."""
        self._parts.append(rows)
        self._pending[partition] = next_offset
        if sum(len(part.times) for part in self._parts) >= SEGMENT_ROWS:
            self.flush()

    def move(self, partition: int, next_offset: int) -> None:
        """Continue at this offset, although there were no scores up to it."""
        self._pending[partition] = next_offset

    def flush(self) -> None:
        """Write what was added."""
        parts = [part for part in self._parts if len(part.times)]
        with self._errors_named():
            self._db.execute("BEGIN IMMEDIATE")
            if parts:
                rows = join_rows(parts)
                self._db.execute(
                    "INSERT INTO segments (last_ms, data) VALUES (?, ?)",
                    (int(rows.times.max()), _pack(rows)),
                )
            self._db.executemany(
                "INSERT OR REPLACE INTO reached VALUES (?, ?)", list(self._pending.items())
            )
            self._db.execute("COMMIT")
        self._parts, self._pending = [], {}

    def batches(self) -> Iterator[ScoreRows]:
        """All scores that were flushed."""
        with self._errors_named():
            for (data,) in self._db.execute("SELECT data FROM segments ORDER BY id"):
                yield _unpack(data)

    def close(self) -> None:
        """Close the file. What was added and not flushed is read again next time."""
        self._db.close()

    def _open(self, identity: Mapping[str, str], since: int) -> None:
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")  # two runs would add scores twice
        self._db.execute("PRAGMA journal_mode=DELETE")
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("COMMIT")
        if not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            self._db.execute("BEGIN IMMEDIATE")
            for statement in filter(str.strip, _TABLES.split(";")):
                self._db.execute(statement)
            about = {"format": str(FORMAT), "since": str(since), **identity}
            self._db.executemany("INSERT INTO about VALUES (?, ?)", list(about.items()))
            self._db.execute("COMMIT")
            return
        about = dict(self._db.execute("SELECT name, value FROM about"))
        if about.get("format") != str(FORMAT):
            raise UsageError(
                f"the state file {self._path} has format {about.get('format')}, but this version "
                f"reads format {FORMAT}: start a new state file"
            )
        for name, value in identity.items():
            if about.get(name) != value:
                raise UsageError(
                    f"the state file {self._path} is of {name} {about.get(name)}, not of {value}: "
                    "start a new state file"
                )
        if int(about["since"]) > since:
            raise UsageError(
                f"the scores in the state file {self._path} begin later than --since: start a "
                "new state file, or choose a later --since"
            )
        self._db.execute("DELETE FROM segments WHERE last_ms < ?", (since,))
        self._db.execute("UPDATE about SET value = ? WHERE name = 'since'", (str(since),))

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as error:
            code = getattr(error, "sqlite_errorcode", 0)
            way_out = _WAYS_OUT.get(code, "start a new state file")
            raise UsageError(
                f"cannot use the state file {self._path}: {error}: {way_out}"
            ) from error


def join_rows(parts: list[ScoreRows]) -> ScoreRows:
    """The rows of several batches under common names; there is at least one batch."""
    versions: dict[str, int] = {}
    products: dict[str, int] = {}
    columns: list[tuple[Any, ...]] = []
    for part in parts:
        of_versions = [versions.setdefault(name, len(versions)) for name in part.version_names]
        of_products = [products.setdefault(name, len(products)) for name in part.product_names]
        renamed = part._replace(
            versions=np.array(of_versions, np.int32)[part.versions],
            products=np.array([*of_products, -1], np.int16)[part.products],
        )
        columns.append(renamed[:11])
    joined: list[Any] = [np.concatenate(column) for column in zip(*columns, strict=True)]
    return ScoreRows._make([*joined, tuple(versions), tuple(products)])


def _pack(rows: ScoreRows) -> bytes:
    out = io.BytesIO()
    names = json.dumps([rows.version_names, rows.product_names])
    np.savez_compressed(
        out, names=np.array(names), **{name: getattr(rows, name) for name in _COLUMNS}
    )
    return out.getvalue()


def _unpack(data: bytes) -> ScoreRows:
    with np.load(io.BytesIO(data), allow_pickle=False) as found:
        versions, products = json.loads(str(found["names"]))
        return ScoreRows._make(
            [*(found[name] for name in _COLUMNS), tuple(versions), tuple(products)]
        )
