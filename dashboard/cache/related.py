"""Flagged transactions with the same card, email domain, device or region, around a time.

Each query walks the index of its field, which is in the order of time, and stops at its limit. So
it costs the same whether the value is rare or most transactions have it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dashboard.cache.connection import reading

_MOST_TIME: Final = 2**63 - 1  # SQLite's largest number

_FIELDS: Final = {
    "card1": ("by_card", "card1 = :value"),
    "addr1": ("by_addr", "addr1 = :value"),
    # These indexes know no case. Values are compared exactly.
    "email": ("by_email", "email = :value COLLATE NOCASE AND email = :value"),
    "device": ("by_device", "device = :value COLLATE NOCASE AND device = :value"),
}
"""Parameters of the filter: their index, and their condition."""


class RelatedFlags:
    """Reads on one connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def ids(self, name: str, value: float | str, span: tuple[int, int], limit: int) -> list[str]:
        """The ids of flags with this value, the newest first.

        Args:
            name: the parameter of the filter, such as ``card1``.
            value: of its field.
            span: first and last time of scoring, epoch milliseconds.
            limit: at most this many.
        """
        index, condition = _FIELDS[name]
        since, until = (max(-_MOST_TIME, min(one, _MOST_TIME)) for one in span)
        # The query contains only our own names and placeholders.
        rows = self._db.execute(
            f"SELECT id FROM flags INDEXED BY {index} "  # noqa: S608
            f"WHERE {condition} AND scored_at BETWEEN :since AND :until "
            "ORDER BY scored_at DESC, partition DESC, offset DESC, topic DESC LIMIT :limit",
            {"value": value, "since": since, "until": until, "limit": limit},
        )
        return [row[0] for row in rows]

    def bodies(self, ids: Collection[str]) -> dict[str, bytes]:
        """The JSON objects of flags by id, without those that were removed meanwhile."""
        marks = ", ".join("?" * len(ids))
        query = f"SELECT id, body FROM flags WHERE id IN ({marks})"  # noqa: S608 - placeholders
        return dict(self._db.execute(query, list(ids)).fetchall())


@contextmanager
def reading_related(table: Path) -> Iterator[RelatedFlags]:
    """Read what is related to one flag, with one connection.

    Raises:
        CacheUnavailable: the file is gone, or is not complete yet.
    """
    with reading(table) as db:
        yield RelatedFlags(db)
