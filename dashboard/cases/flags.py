"""What the desk asks the cache of flagged transactions."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from dashboard.cache.connection import reading
from dashboard.cache.reading import Listing, Sort, read_flag, read_page
from dashboard.cache.selection import Selection

_CHUNK: Final = 100


class Flags:
    """Read access to the table of flagged transactions."""

    def __init__(self, table: Path) -> None:
        self._table = table

    def find(self, flag_id: str) -> dict[str, Any] | None:
        """The JSON object of a flag."""
        body = read_flag(self._table, flag_id)
        return None if body is None else dict(orjson.loads(body))

    def transaction_ids(self, flag_ids: Iterable[str]) -> dict[str, int]:
        """The transaction ids of those flags that are in the table."""
        found: dict[str, int] = {}
        with reading(self._table) as db:
            for flag_id in flag_ids:
                row = db.execute(
                    "SELECT transaction_id FROM flags WHERE id = ?", (flag_id,)
                ).fetchone()
                if row:
                    found[flag_id] = row[0]
        return found

    def of_transaction(self, transaction_id: int, limit: int = 20) -> list[str]:
        """The ids of the flags of a transaction."""
        with reading(self._table) as db:
            rows = db.execute(
                "SELECT id FROM flags WHERE transaction_id = ? LIMIT ?", (transaction_id, limit)
            ).fetchall()
        return [flag_id for (flag_id,) in rows]

    def by_loss(self, selection: Selection) -> Iterator[Sequence[str]]:
        """The ids of a selection's flags, the highest expected loss first, in chunks."""
        listing = Listing(selection, time.time_ns() // 1_000_000, Sort.EXPECTED_LOSS)
        after = None
        while page := read_page(self._table, listing, after, _CHUNK):
            yield [row.id for row in page]
            after = page[-1].position
