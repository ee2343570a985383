"""Read-only connections to the cache."""

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


def _read_only(path: Path) -> str:
    return f"{path.absolute().as_uri()}?mode=ro"
