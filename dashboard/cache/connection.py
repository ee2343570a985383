"""Connections to the SQLite files of the cache: one writer for each, and readers."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

BUSY_SECONDS: Final = 5.0  # readers never wait in WAL mode, except while a file is set up
_SUFFIXES: Final = ("", "-wal", "-shm")
_GONE: Final = frozenset({
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY,
})  # fmt: skip


class CacheUnavailable(Exception):
    """A file of the cache cannot be read now. Its writer notices that and makes it again."""


class OpenFile:
    """Which file a connection of SQLite has open, to notice that somebody deleted or replaced it.

    The connection of its writer goes on without an error, in files that have no name any more.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found = self._look()

    @property
    def is_lost(self) -> bool:
        """Whether the file, or what SQLite keeps beside it, is not at its path any more."""
        return self._look() != self._found

    @property
    def is_replaced(self) -> bool:
        """Whether another file is at the path, and not what is left of this one."""
        found = _inode(str(self._path))
        return found is not None and found != self._found[0]

    def _look(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_inode(f"{self._path}{suffix}") for suffix in _SUFFIXES)


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - several times a second
    except OSError:
        return None
    return found.st_dev, found.st_ino


class CacheWriter:
    """The only writer of one file. Opens it, or recreates it if it cannot be read.

    Used by one thread after construction.

    Args:
        path: the file.
        tables: SQL that creates the tables and indexes that are missing.
        version: of these tables. A file with another one is made again.
        probe: a query that fails if the file is damaged.
    """

    def __init__(self, path: Path, tables: str, version: int, probe: str) -> None:
        self.path = path
        self._tables = tables, version, probe
        self._open()

    def _open(self) -> None:
        self._db = open_cache(self.path, *self._tables)
        self._file = OpenFile(self.path)

    @property
    def is_lost(self) -> bool:
        """Whether somebody deleted or replaced the file, so that readers do not see what it has."""
        return self._file.is_lost

    def reopen(self) -> None:
        """Make the file again, empty unless another one took its place.

        Raises:
            OSError, sqlite3.Error: it cannot be made.
        """
        # First: a connection that is closed later would delete the new file's journal.
        self._db.close()
        self._open()

    def close(self) -> None:
        """Close the file. What was not saved is read from the topics again."""
        self._db.close()


@contextlib.contextmanager
def reading(path: Path, desk: Path | None = None) -> Iterator[sqlite3.Connection]:
    """A connection that only reads, for one request. ``desk`` is another file to attach.

    Raises:
        CacheUnavailable: a file is gone, or is not complete yet.
    """
    try:
        with contextlib.closing(
            sqlite3.connect(_read_only(path), uri=True, timeout=BUSY_SECONDS)
        ) as db:
            if desk is not None:
                db.execute("ATTACH ? AS desk", (_read_only(desk),))
            yield db
    except sqlite3.DatabaseError as error:
        if _is_gone(error):
            raise CacheUnavailable(f"the cache {path.name} cannot be read: {error}") from error
        raise


def _is_gone(error: sqlite3.DatabaseError) -> bool:
    """Whether the file is the cause, and not a query."""
    code = getattr(error, "sqlite_errorcode", None) or 0
    return code & 0xFF in _GONE or str(error).startswith(("no such table", "no such index"))


def open_cache(path: Path, tables: str, version: int, probe: str) -> sqlite3.Connection:
    """The writer's connection. A file that cannot be read is deleted and made again.

    It is a cache of topics, so a damaged file costs one replay and no data.

    Args:
        path: the file.
        tables: SQL that creates the tables and indexes that are missing.
        version: of these tables. A file with another one is made again.
        probe: a query that fails if the file is damaged.
    """
    try:
        return _open(path, tables, version, probe)
    except sqlite3.DatabaseError:
        for suffix in _SUFFIXES:
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return _open(path, tables, version, probe)


def _open(path: Path, tables: str, version: int, probe: str) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
    try:
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, version):
            raise sqlite3.DatabaseError(f"format {found}, not {version}")
        db.execute("PRAGMA journal_mode = WAL")
        # A power failure may lose the last commits; they are read from the topics again.
        db.execute("PRAGMA synchronous = NORMAL")
        # At once, so that readers find all of it or nothing.
        db.executescript(f"BEGIN; {tables} PRAGMA user_version = {version}; COMMIT;")
        db.execute(probe).fetchone()
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db


def _read_only(path: Path) -> str:
    return f"{path.absolute().as_uri()}?mode=ro"
