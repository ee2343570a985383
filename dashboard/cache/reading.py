"""Reads flagged transactions from the cache: pages, single ones, counts.

A page is read along the index of its order. That is fast while matching rows are not rare. So a
condition that few rows meet is resolved first, by its own index, and only those rows are sorted.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from dashboard.cache.connection import reading
from dashboard.cache.flag import SAMPLE, Position
from dashboard.cache.selection import Search, Selection

_FEW: Final = 2500  # rows that are fetched and sorted in a few milliseconds


class Sort(StrEnum):
    """The orders of the list."""

    NEWEST = "newest"
    OLDEST = "oldest"
    EXPECTED_LOSS = "expected_loss"


class _Order(NamedTuple):
    walked: str  # an index of SQLite
    columns: tuple[str, ...]
    is_descending: bool


_BY_TIME: Final = ("scored_at", "partition", "offset", "topic")
_ORDERS: Final = {
    Sort.NEWEST: _Order("by_time", _BY_TIME, is_descending=True),
    Sort.OLDEST: _Order("by_time", _BY_TIME, is_descending=False),
    Sort.EXPECTED_LOSS: _Order("by_loss", ("expected_loss", *_BY_TIME), is_descending=True),
}


_INDEXED: Final = (
    ("transaction_id", "by_transaction", "transaction_id = :transaction_id"),
    ("card1", "by_card", "card1 = :card1"),
    ("device", "by_device", "device = :device COLLATE NOCASE"),
    ("addr1", "by_addr", "addr1 = :addr1"),
    ("email", "by_email", "email = :email COLLATE NOCASE"),
    ("product", "by_product", "product = :product"),
    ("model", "by_model", "model_version = :model"),
    ("reason", "reasons", "feature = :reason"),
)
"""Parameters whose rows an index finds: name, index and condition."""


class StatusFilter(Protocol):
    """Selects by the status of cases. Its file is attached as ``desk``."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    def parameters(self, now: int) -> dict[str, object]:
        """The parameters of the conditions."""
        ...

    def condition(self, status: str) -> str:
        """The SQL condition that a row of ``flags`` has a status."""
        ...

    def rows(self, status: str) -> list[str]:
        """Queries that together find the rows with a status; for open cases, all others."""
        ...


@dataclass(frozen=True, slots=True)
class Listing:
    """Which flagged transactions, and in which order.

    Attributes:
        selection: the filters.
        now: for relative times and leases that end.
        sort: the order.
        statuses: selects by status. Without it all cases are open.
    """

    selection: Selection
    now: int
    sort: Sort = Sort.NEWEST
    statuses: StatusFilter | None = None

    def conditions(self) -> tuple[list[str], dict[str, object]]:
        """The filters as SQL conditions, and their parameters."""
        conditions, parameters = self.selection.conditions(self.now)
        status = self.selection.status
        if status is not None and self.statuses is not None:
            conditions.append(self.statuses.condition(status))
            parameters |= self.statuses.parameters(self.now)
        elif status is not None:
            conditions.append("1" if status == "open" else "0")
        return conditions, parameters

    @property
    def attached(self) -> Path | None:
        """The file that the conditions need besides the table."""
        if self.statuses is None or self.selection.status is None:
            return None
        return self.statuses.path


class StoredFlag(NamedTuple):
    """One row: its place in every order, its id and its encoded JSON object."""

    position: Position
    id: str
    body: bytes


def read_page(path: Path, listing: Listing, after: Position | None, limit: int) -> list[StoredFlag]:
    """Up to ``limit`` flags that follow ``after`` in the order of the listing."""
    order = _ORDERS[listing.sort]
    conditions, parameters = listing.conditions()
    if after is not None:
        conditions.append(_beyond(order, "after"))
        parameters |= {f"after_{name}": value for name, value in after._asdict().items()}
    direction = "DESC" if order.is_descending else "ASC"
    ordering = ", ".join(f"{column} {direction}" for column in order.columns)
    with reading(path, listing.attached) as db:
        source = _source(db, listing, order, parameters)
        # The inner query reads an index alone. Only its result needs the rows themselves.
        found = db.execute(
            "SELECT expected_loss, scored_at, partition, offset, topic, id, body FROM flags "  # noqa: S608
            f"WHERE rowid IN (SELECT rowid FROM {source} WHERE {_all(conditions)} "
            f"ORDER BY {ordering} LIMIT :limit) ORDER BY {ordering}",
            {**parameters, "limit": limit},
        ).fetchall()
    return [StoredFlag(Position(*row[:5]), row[5], row[6]) for row in found]


def read_flag(path: Path, flag_id: str) -> bytes | None:
    """The JSON object of the flag with this id. None if there is none."""
    with reading(path) as db:
        row = db.execute("SELECT body FROM flags WHERE id = ?", (flag_id,)).fetchone()
    return None if row is None else row[0]


def read_position(path: Path, flag_id: str) -> Position | None:
    """The place of a flag in every order. None if there is no such flag."""
    with reading(path) as db:
        row = db.execute(
            "SELECT expected_loss, scored_at, partition, offset, topic FROM flags WHERE id = ?",
            (flag_id,),
        ).fetchone()
    return None if row is None else Position(*row)


def count_flags(
    path: Path,
    listing: Listing,
    after: Position | None = None,
    before: Position | None = None,
) -> int:
    """How many flags there are strictly between two places in the order of the listing."""
    if listing.selection.status != "open" or listing.statuses is None:
        return int(_aggregate(path, listing, "count(*)", after, before)[0])
    # Most cases are open: those that are not are faster to count.
    every = replace(listing, selection=replace(listing.selection, status=None))
    closed = f"rowid IN ({' UNION '.join(listing.statuses.rows('open'))})"
    is_closed = f"{closed} AND NOT ({listing.statuses.condition('open')})"
    some = _aggregate(path, every, "count(*)", after, before, (is_closed, listing.attached))
    return int(_aggregate(path, every, "count(*)", after, before)[0]) - int(some[0])


class Summary(NamedTuple):
    """What is known of all flags of a selection. Times are epoch milliseconds."""

    flagged: int
    blocked: int
    amount: float
    expected_loss: float
    first_at: int | None
    last_at: int | None


def summarize_flags(path: Path, listing: Listing) -> Summary:
    """The number of flags of a listing, their sums, and their first and last time of scoring.

    Sampled transactions are not among them: they were not flagged.
    """
    flagged = f"FILTER (WHERE decision <> '{SAMPLE}')"
    columns = ", ".join(
        f"{column} {flagged}"
        for column in (
            "count(*)",
            "total(decision = 'BLOCK')",
            "total(amount)",
            "total(expected_loss)",
            "min(scored_at)",
            "max(scored_at)",
        )
    )
    found = _aggregate(path, listing, columns)
    return Summary(found[0], int(found[1]), *found[2:])


def _aggregate(
    path: Path,
    listing: Listing,
    columns: str,
    after: Position | None = None,
    before: Position | None = None,
    more: tuple[str, Path | None] | None = None,
) -> tuple[Any, ...]:
    """Columns over all rows. ``more`` is a condition on the status, and the file it needs."""
    order = _ORDERS[listing.sort]
    conditions, parameters = listing.conditions()
    attached = listing.attached
    if more is not None and listing.statuses is not None:
        conditions.append(more[0])
        parameters |= listing.statuses.parameters(listing.now)
        attached = more[1]
    if after is not None:
        conditions.append(_beyond(order, "after"))
        parameters |= {f"after_{name}": value for name, value in after._asdict().items()}
    if before is not None:
        conditions.append(_beyond(order, "before", is_reversed=True))
        parameters |= {f"before_{name}": value for name, value in before._asdict().items()}
    with reading(path, attached) as db:
        source = "flags" if more else _source(db, listing, order, parameters)
        row: tuple[Any, ...] = db.execute(
            f"SELECT {columns} FROM {source} WHERE {_all(conditions)}",  # noqa: S608
            parameters,
        ).fetchone()
    return row


def _beyond(order: _Order, prefix: str, *, is_reversed: bool = False) -> str:
    """The condition that a row follows a place, or with ``is_reversed`` that it precedes it."""
    sign = "<" if order.is_descending != is_reversed else ">"
    places = ", ".join(f":{prefix}_{column}" for column in order.columns)
    return f"({', '.join(order.columns)}) {sign} ({places})"


def _all(conditions: list[str]) -> str:
    return " AND ".join(conditions) or "1"


def _source(
    db: sqlite3.Connection, listing: Listing, order: _Order, parameters: dict[str, object]
) -> str:
    """What to read: the few rows that meet a rare condition, or the index of the order."""
    for union in _indexed(listing, parameters):
        rows = _find_few(db, union, parameters)
        if rows is not None:
            # Our own integers. There is no index hint, because SQLite looks rows up by rowid.
            numbers = ",".join(map(str, rows))
            return f"(SELECT rowid, * FROM flags WHERE rowid IN ({numbers})) AS flags"  # noqa: S608
    return f"flags INDEXED BY {order.walked}"


def _indexed(listing: Listing, parameters: dict[str, object]) -> list[list[str]]:
    """The conditions that an index of their own answers, each as a union of queries."""
    selection = listing.selection
    found: list[list[str]] = []
    for name, walked, condition in _INDEXED:
        if getattr(selection, name) is not None:
            found.append([_query(walked, condition)])
    if selection.q is not None:
        found.append([_query(*part) for part in Search(selection.q, selection.q_without).indexed()])
    if selection.status not in (None, "open") and listing.statuses is not None:
        found.append(listing.statuses.rows(str(selection.status)))
    ranges = (("scored_at", "by_time", "since", "until"),
              ("score", "by_score", "min_score", "max_score"),
              ("amount", "by_amount", "min_amount", "max_amount"))  # fmt: skip
    for column, walked, low, high in ranges:
        bounds = [(f"{column} >= :{low}", low), (f"{column} <= :{high}", high)]
        given = [condition for condition, name in bounds if parameters[name] is not None]
        if given:
            found.append([_query(walked, " AND ".join(given))])
    return found


def _query(walked: str, condition: str) -> str:
    """The rows that meet a condition, from the index that answers it."""
    if walked == "reasons":
        return f"SELECT flag FROM flag_reasons WHERE {condition}"  # noqa: S608 - our own text
    return f"SELECT rowid FROM flags INDEXED BY {walked} WHERE {condition}"  # noqa: S608


def _find_few(
    db: sqlite3.Connection, union: list[str], parameters: dict[str, object]
) -> set[int] | None:
    """The rows of a union. None if they are not few."""
    rows: set[int] = set()
    for query in union:
        found = db.execute(f"{query} LIMIT :few", {**parameters, "few": _FEW})
        rows.update(row for (row,) in found)
        if len(rows) >= _FEW:
            return None
    return rows
