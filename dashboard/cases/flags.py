"""What the desk asks the cache of flagged transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from dashboard.cache.flag import parse_flag_id
from dashboard.cache.flag_table import read_flag
from dashboard.cache.selection import Selection

_CHUNK: Final = 100


class Flags:
    """Read access to the table of flagged transactions."""

    def __init__(self, table: Path) -> None:
        self._table = table

    def find(self, flag_id: str) -> dict[str, Any] | None:
        """The JSON object of a flag."""
        where = parse_flag_id(flag_id)
        body = read_flag(self._table, *where) if where else None
        return None if body is None else dict(orjson.loads(body))

    def transaction_ids(self, flag_ids: Iterable[str]) -> dict[str, int]:
        """The transaction ids of those flags that are in the table."""
        found: dict[str, int] = {}
        with self._open() as db:
            for flag_id in flag_ids:
                if (where := parse_flag_id(flag_id)) is None:
                    continue
                row = db.execute(
                    "SELECT transaction_id FROM flags WHERE partition = ? AND offset = ?", where
                ).fetchone()
                if row:
                    found[flag_id] = row[0]
        return found

    def of_transaction(self, transaction_id: int, limit: int = 20) -> list[str]:
        """The ids of the flags of a transaction."""
        with self._open() as db:
            rows = db.execute(
                "SELECT body FROM flags WHERE transaction_id = ? LIMIT ?", (transaction_id, limit)
            ).fetchall()
        return [str(orjson.loads(body)["id"]) for (body,) in rows]

    def by_loss(self, selection: Selection) -> Iterator[Sequence[str]]:
        """The ids of a selection's flags, the highest expected loss first, in chunks."""
        condition, parameters = selection.sql()
        # The condition contains only column names and placeholders.
        query = (
            f"SELECT body FROM flags WHERE {condition} "  # noqa: S608
            "ORDER BY score * coalesce(amount, 0) DESC, scored_at DESC, partition, offset"
        )
        with self._open() as db:
            cursor = db.execute(query, parameters)
            while rows := cursor.fetchmany(_CHUNK):
                yield [str(orjson.loads(body)["id"]) for (body,) in rows]

    def _open(self) -> Any:
        import contextlib

        uri = f"{self._table.absolute().as_uri()}?mode=ro"
        return contextlib.closing(sqlite3.connect(uri, uri=True, timeout=5.0))
