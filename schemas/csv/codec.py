"""Reads IEEE-CIS CSVs as batches of transactions, chunk by chunk, joined with their identities.

Doubles are rounded correctly, so a row read from CSV, JSON or Avro is the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.contracts import (
    AMOUNT,
    ID,
    MAX_TIME_SECONDS,
    NUMBER_COLUMNS,
    NUMBER_INDEX,
    TIME,
    time_fault,
)
from schemas.csv.columns import first_null, numbers, to_batch
from schemas.csv.source import LABEL, CsvRows, Input, read_rows, source_name
from schemas.errors import UnusableFileError

REQUIRED: Final = (ID, TIME, AMOUNT)
CHUNK_ROWS: Final = 8192
IN_MEMORY: Final = "the table"


@dataclass(frozen=True, slots=True)
class CsvChunk:
    """Consecutive rows of a CSV.

    Attributes:
        batch: the transactions.
        labels: ``isFraud``, int8 ``[n]``; None if the file has no such column.
        first_line: the line number of the first row.
    """

    batch: TransactionBatch
    labels: NDArray[np.int8] | None
    first_line: int


def read_transactions(
    transactions: Input,
    identity: Input | None = None,
    chunk_rows: int = CHUNK_ROWS,
    *,
    has_labels: bool = True,
) -> Iterator[CsvChunk]:
    """Read transactions, at most ``chunk_rows`` at a time, left-joined with their identities.

    Sources are paths or binary streams, plain or gzipped. Columns may come in any order, and
    ``id-01`` means ``id_01``. What a cell means: :mod:`schemas.csv.cells`. The identity table is
    held in memory; the transactions are not. Without ``has_labels``, ``isFraud`` is ignored.

    Raises:
        UnusableFileError: the file is invalid; the message gives file, line and fault.
    """
    name = source_name(transactions)
    joined = read_identity(identity) if identity is not None else None
    is_empty = True
    for rows in read_rows(transactions, REQUIRED, without=() if has_labels else (LABEL,)):
        is_empty = False
        yield from _chunks(rows, joined, name, chunk_rows)
    if is_empty:
        raise UnusableFileError(f"{name}: the file has a header but no rows")


def table_chunks(
    transactions: Any, identity: Any = None, chunk_rows: int = CHUNK_ROWS
) -> Iterator[CsvChunk]:
    """The same chunks from Arrow tables in memory.

    Raises:
        UnusableFileError: as :func:`read_transactions`.
    """
    joined = None if identity is None else IdentityTable([CsvRows(identity)], "the identity table")
    row = 0
    for batch in transactions.to_batches(max_chunksize=chunk_rows):
        yield from _chunks(CsvRows(batch, row), joined, IN_MEMORY, chunk_rows)
        row += len(batch)


def read_identity(source: Input) -> IdentityTable:
    """Read an identity CSV.

    Raises:
        UnusableFileError: as :func:`read_transactions`; also if a TransactionID occurs twice.
    """
    return IdentityTable(read_rows(source, (ID,)), source_name(source))


class IdentityTable:
    """The identity table, by transaction."""

    def __init__(self, parts: Iterable[CsvRows], name: str) -> None:
        batches = []
        for rows in parts:
            _refuse_null(rows, ID, name)
            _refuse_infinite_identity(rows, name)
            batches.append(_as_table(rows.batch))
        self._name = name
        self._table = pa.concat_tables(batches).combine_chunks() if batches else None
        ids = self._table.column(ID).to_numpy() if self._table else np.empty(0, np.int64)
        self._order = np.argsort(ids, kind="stable")
        self._sorted = ids[self._order]
        repeated = self._sorted[1:][self._sorted[1:] == self._sorted[:-1]]
        if len(repeated):
            raise UnusableFileError(f"{name}: TransactionID {repeated[0]} occurs more than once")

    def __len__(self) -> int:
        return len(self._sorted)

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
        rows = pa.array(self._order[at], mask=unknown)
        columns = {n: batch.column(n) for n in batch.schema.names}
        for n in self._table.column_names:
            if n != ID:
                columns[n] = self._table.column(n).chunk(0).take(rows)
        return pa.RecordBatch.from_pydict(columns)


def _as_table(rows: Any) -> Any:
    return rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])


def _chunks(
    rows: CsvRows, joined: IdentityTable | None, name: str, chunk_rows: int
) -> Iterator[CsvChunk]:
    for start in range(0, len(rows.batch), chunk_rows):
        piece = rows.slice(start, chunk_rows)
        for column in REQUIRED:
            _refuse_null(piece, column, name)
        labels = _labels(piece, name)
        batch = piece.batch if joined is None else joined.join(piece.batch, name)
        out = to_batch(batch)
        _refuse_implausible_times(out.times, piece, name)
        _refuse_infinite(out.numbers, piece, name)
        yield CsvChunk(out, labels, piece.line(0))


def _labels(rows: CsvRows, name: str) -> NDArray[np.int8] | None:
    if LABEL not in rows.batch.schema.names:
        return None
    _refuse_null(rows, LABEL, name)
    values = numbers(rows.batch.column(LABEL))
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UnusableFileError(
            f"{name}, line {rows.line(row)}, column {LABEL}: {values[row]:g} is not 0 or 1"
        )
    return values.astype(np.int8)


def _refuse_null(rows: CsvRows, column: str, name: str) -> None:
    row = first_null(rows.batch.column(column))
    if row is not None:
        raise UnusableFileError(f"{name}, line {rows.line(row)}, column {column}: no value")


def _refuse_implausible_times(times: NDArray[np.int64], rows: CsvRows, name: str) -> None:
    wrong = (times < 0) | (times > MAX_TIME_SECONDS)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UnusableFileError(
            f"{name}, line {rows.line(row)}, column {TIME}: {time_fault(int(times[row]))}"
        )


def _refuse_infinite(values: NDArray[np.float64], rows: CsvRows, name: str) -> None:
    infinite = np.isinf(values)
    if infinite.any():
        row, column = (int(i[0]) for i in np.nonzero(infinite))
        raise UnusableFileError(
            f"{name}, line {rows.line(row)}, column {NUMBER_COLUMNS[column]}: "
            f"{values[row, column]} is not finite"
        )


def _refuse_infinite_identity(rows: CsvRows, name: str) -> None:
    for column in rows.batch.schema.names:
        if column in NUMBER_INDEX:
            infinite = np.isinf(numbers(rows.batch.column(column)))
            if infinite.any():
                raise UnusableFileError(
                    f"{name}, line {rows.line(int(np.argmax(infinite)))}, "
                    f"column {column}: infinity is not a finite number"
                )


__all__ = [
    "CHUNK_ROWS",
    "CsvChunk",
    "IdentityTable",
    "read_identity",
    "read_transactions",
    "table_chunks",
]
