"""The identity table, and its left join to transactions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.contracts import ID, NUMBER_INDEX
from schemas.csv.columns import numbers
from schemas.csv.layout import IDENTITY, FileFacts
from schemas.csv.packed import Input, source_name
from schemas.csv.rows import FileRows
from schemas.csv.source import read_rows
from schemas.errors import UnusableFileError


def read_identity(source: Input, facts: FileFacts | None = None) -> IdentityTable:
    """Read an identity file.

    Raises:
        UnusableFileError: as :func:`schemas.csv.codec.read_transactions`; also if a TransactionID
            occurs twice.
    """
    name = source_name(source)  # before the source is closed
    return IdentityTable(read_rows(source, IDENTITY, facts), name)


class IdentityTable:
    """The identity table, by transaction.

    Attributes:
        joined: transactions that were joined with a row so far.
        is_matched: the rows that were joined with a transaction so far, bool ``[n]``, in the order
            of their ids.
    """

    def __init__(self, parts: Iterable[FileRows], name: str) -> None:
        tables, places = [], []
        for rows in parts:
            refuse_null(rows, ID)
            _refuse_infinite(rows)
            tables.append(_as_table(rows.batch))
            places.append(rows)
        self._name = name
        self._table = pa.concat_tables(tables).combine_chunks() if tables else None
        ids = self._table.column(ID).to_numpy() if self._table else np.empty(0, np.int64)
        self._order = np.argsort(ids, kind="stable")
        self._sorted = ids[self._order]
        again = np.flatnonzero(self._sorted[1:] == self._sorted[:-1])
        if len(again):
            first, second = (_place(places, int(self._order[again[0] + i])) for i in (0, 1))
            raise UnusableFileError(
                f"{name}: TransactionID {self._sorted[again[0]]} occurs more than once, in {first} "
                f"and {second}: keep one of them"
            )
        self.joined = 0
        self.is_matched = np.zeros(len(self._sorted), np.bool_)

    def __len__(self) -> int:
        return len(self._sorted)

    @property
    def first_id(self) -> int:
        """The smallest TransactionID of a table that is not empty."""
        return int(self._sorted[0])

    def join(self, batch: Any, name: str) -> Any:
        """``batch`` with this table's columns added; null where this table has no row."""
        if self._table is None or not len(self):
            return batch
        both = set(self._table.column_names) & set(batch.schema.names) - {ID}
        if both:
            raise UnusableFileError(f"column {min(both)} is both in {name} and in {self._name}")
        wanted = batch.column(ID).to_numpy(zero_copy_only=False)
        at = np.searchsorted(self._sorted, wanted).clip(0, len(self) - 1)
        unknown = self._sorted[at] != wanted
        self.joined += len(at) - int(unknown.sum())
        self.is_matched[at[~unknown]] = True
        rows = pa.array(self._order[at], mask=unknown)
        columns = {n: batch.column(n) for n in batch.schema.names}
        for n in self._table.column_names:
            if n != ID:
                columns[n] = self._table.column(n).chunk(0).take(rows)
        return pa.RecordBatch.from_pydict(columns)


def refuse_null(rows: FileRows, column: str) -> None:
    """Refuse rows without a value in ``column``.

    Raises:
        UnusableFileError: with the first of them.
    """
    cells = rows.batch.column(column)
    if cells.null_count:
        row = int(np.argmax(cells.is_null().to_numpy(zero_copy_only=False)))
        raise UnusableFileError(f"{rows.at(row, column)}: no value")


def _refuse_infinite(rows: FileRows) -> None:
    for column in rows.batch.schema.names:
        if column in NUMBER_INDEX:
            infinite = np.isinf(numbers(rows.batch.column(column)))
            if infinite.any():
                where = rows.at(int(np.argmax(infinite)), column)
                raise UnusableFileError(f"{where}: infinity is not a finite number")


def _place(parts: list[FileRows], row: int) -> str:
    part = next(p for p in reversed(parts) if p.first_row <= row)
    return f"{part.unit} {part.number(row - part.first_row)}"


def _as_table(rows: Any) -> Any:
    return rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
