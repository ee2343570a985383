"""Connections to the SQLite files of the cache: one writer for each, and readers."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

BUSY_SECONDS: Final = 5.0  # readers never wait in WAL mode, except while a file is set up


@contextlib.contextmanager
def reading(path: Path, desk: Path | None = None) -> Iterator[sqlite3.Connection]:
    """A connection that only reads, for one request. ``desk`` is another file to attach."""
    db = sqlite3.connect(_read_only(path), uri=True, timeout=BUSY_SECONDS)
    try:
        if desk is not None:
            db.execute("ATTACH ? AS desk", (_read_only(desk),))
        yield db
    finally:
        db.close()


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
        for suffix in ("", "-wal", "-shm"):
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
        db.executescript(tables)
        db.execute(f"PRAGMA user_version = {version}")
        db.execute(probe).fetchone()
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db


def _read_only(path: Path) -> str:
    return f"{path.absolute().as_uri()}?mode=ro"
