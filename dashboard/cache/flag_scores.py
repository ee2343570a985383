"""Reads the scores of flagged transactions, to compare them with labels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from dashboard.cache.connection import reading
from dashboard.cache.flag import SAMPLE

_T = TypeVar("_T")
_CHUNK: Final = 500  # placeholders in one query


def read_flag_scores(
    path: Path, version: str, since: int, until: int
) -> list[tuple[str, int, int, float, float | None, bool]]:
    """Id, transaction id, time, score and amount of the kept transactions of one version.

    The last value is whether it was sampled, and not flagged.
    ``since`` and ``until`` are epoch milliseconds, both inclusive. Read from an index alone.
    """
    with reading(path) as db:
        rows = db.execute(
            "SELECT id, transaction_id, scored_at, score, amount, decision = ? FROM flags "
            "INDEXED BY by_time WHERE scored_at BETWEEN ? AND ? AND model_version = ?",
            (SAMPLE, since, until, version),
        )
        return [(*row[:5], bool(row[5])) for row in rows]


def read_oldest_flag(path: Path) -> int | None:
    """When the oldest flagged transaction of the cache was scored. None if it has none."""
    with reading(path) as db:
        oldest: int | None = db.execute("SELECT min(scored_at) FROM flags").fetchone()[0]
    return oldest


def read_known_targets(
    path: Path, flag_ids: Collection[str], transaction_ids: Collection[int]
) -> tuple[set[str], set[int]]:
    """Those of some flag ids and transaction ids that are in the cache."""
    flags, transactions = set[str](), set[int]()
    with reading(path) as db:
        for some in _chunks(flag_ids):
            places = ",".join("?" * len(some))
            query = f"SELECT id FROM flags WHERE id IN ({places})"  # noqa: S608 - placeholders
            flags.update(row[0] for row in db.execute(query, some))
        for numbers in _chunks(transaction_ids):
            places = ",".join("?" * len(numbers))
            query = f"SELECT transaction_id FROM flags WHERE transaction_id IN ({places})"  # noqa: S608
            transactions.update(row[0] for row in db.execute(query, numbers))
    return flags, transactions


def _chunks(items: Collection[_T]) -> Iterator[Sequence[_T]]:
    rest = iter(items)
    while some := tuple(islice(rest, _CHUNK)):
        yield some
