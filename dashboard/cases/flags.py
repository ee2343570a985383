"""What the desk asks the cache of flagged transactions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import orjson

from dashboard.cache.connection import reading
from dashboard.cache.flag import Position, format_flag_id, parse_flag_id
from dashboard.cache.listed import read_decided_scores
from dashboard.cache.reading import Listing, Sort, read_flag, read_page
from dashboard.cache.selection import Selection
from dashboard.cases.case import Status
from dashboard.cases.statuses import CaseStatuses

_CHUNK: Final = 100


class Flags:
    """Read access to the table of flagged transactions."""

    def __init__(self, table: Path, input_topic: str) -> None:
        self._table = table
        self._input_topic = input_topic

    def find(self, flag_id: str) -> dict[str, Any] | None:
        """The JSON object of a flag. Its member ``id`` is the id as it is stored."""
        where = parse_flag_id(flag_id, self._input_topic)
        if where is None:
            return None
        body = read_flag(self._table, format_flag_id(*where, self._input_topic))
        return None if body is None else dict(orjson.loads(body))

    def transaction_ids(self, flag_ids: Iterable[str]) -> dict[str, int]:
        """The transaction ids of those flags that are in the table."""
        return self._select("transaction_id", flag_ids)

    def scores(self, flag_ids: Iterable[str]) -> dict[str, float]:
        """The scores of those flags that are in the table."""
        return self._select("score", flag_ids)

    def decided_scores(self, desk: Path) -> dict[str, float]:
        """Flag id → score of all flags in the table that the desk's cache says are decided."""
        return read_decided_scores(self._table, desk)

    def _select(self, column: str, flag_ids: Iterable[str]) -> dict[str, Any]:
        ids, found = list(flag_ids), dict[str, Any]()
        with reading(self._table) as db:
            for start in range(0, len(ids), _CHUNK):
                chunk = ids[start : start + _CHUNK]
                # The query contains only column names and placeholders.
                query = (
                    f"SELECT id, {column} FROM flags "  # noqa: S608
                    f"WHERE id IN ({', '.join('?' * len(chunk))})"
                )
                found.update(db.execute(query, chunk).fetchall())
        return found

    def of_transaction(self, transaction_id: int, limit: int = 20) -> list[str]:
        """The ids of the flags of a transaction."""
        with reading(self._table) as db:
            rows = db.execute(
                "SELECT id FROM flags WHERE transaction_id = ? LIMIT ?", (transaction_id, limit)
            ).fetchall()
        return [row[0] for row in rows]

    def open_by_loss(
        self, selection: Selection, now: int, statuses: CaseStatuses
    ) -> Iterator[Sequence[str]]:
        """The ids of a selection's open cases, the highest expected loss first, in chunks.

        What waits in the outbox is not left out: it is known to the desk alone.
        """
        wanted = replace(selection, status=Status.OPEN.value)
        listing = Listing(wanted, now, Sort.EXPECTED_LOSS, statuses)
        after: Position | None = None
        while page := read_page(self._table, listing, after, _CHUNK):
            yield [row.id for row in page]
            after = page[-1].position
