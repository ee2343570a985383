"""Reads files of transactions as batches, chunk by chunk, joined with their identities.

Doubles are rounded correctly, so a row read from CSV, JSON or Avro is the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.contracts import (
    MAX_TIME_SECONDS,
    NUMBER_COLUMNS,
    TIME,
    time_fault,
)
from schemas.csv.columns import numbers, to_batch
from schemas.csv.identity import IdentityTable, read_identity, refuse_null
from schemas.csv.layout import LABEL, TRANSACTIONS, UNLABELLED, FileFacts
from schemas.csv.packed import Input, source_name
from schemas.csv.rows import FileRows
from schemas.csv.source import read_rows
from schemas.errors import UnusableFileError

CHUNK_ROWS: Final = 8192
IN_MEMORY: Final = "the table"


@dataclass(frozen=True, slots=True)
class CsvChunk:
    """Consecutive rows of a file.

    Attributes:
        batch: the transactions.
        labels: ``isFraud``, int8 ``[n]``; None if the file has no such column.
        first_line: the line number of the first row, or its row number where there are no lines.
        place: a row of the chunk as people find it: ``line 7`` or ``row 7``.
    """

    batch: TransactionBatch
    labels: NDArray[np.int8] | None
    first_line: int
    place: Callable[[int], str]


@dataclass(slots=True)
class ReadFacts:
    """What was found while transactions were read; complete at their end.

    Attributes:
        transactions: of the file of transactions.
        identity: of the identity file.
        table: the identity table, with the rows that were matched; None without one.
    """

    transactions: FileFacts = field(default_factory=FileFacts)
    identity: FileFacts = field(default_factory=FileFacts)
    table: IdentityTable | None = None


def read_transactions(
    transactions: Input,
    identity: Input | None = None,
    chunk_rows: int = CHUNK_ROWS,
    *,
    has_labels: bool = True,
    facts: ReadFacts | None = None,
) -> Iterator[CsvChunk]:
    """Read transactions, at most ``chunk_rows`` at a time, left-joined with their identities.

    Sources are paths or binary streams: CSV, plain or packed with gzip or zip, or Parquet. Columns
    may come in any order, and ``id-01`` means ``id_01``. What a cell means:
    :mod:`schemas.csv.cells`. The identity table is held in memory; the transactions are not.
    Without ``has_labels``, ``isFraud`` is ignored. ``facts`` is filled on the way.

    Raises:
        UnusableFileError: the file is invalid; the message gives file, line and fault.
    """
    name = source_name(transactions)
    facts = ReadFacts() if facts is None else facts
    if identity is not None:
        facts.table = read_identity(identity, facts.identity)
    is_empty = True
    layout = TRANSACTIONS if has_labels else UNLABELLED
    for rows in read_rows(transactions, layout, facts.transactions):
        is_empty = False
        yield from _chunks(rows, facts.table, chunk_rows)
    if is_empty:
        raise UnusableFileError(f"{name}: the file has a header but no rows")


def table_chunks(
    transactions: Any, identity: Any = None, chunk_rows: int = CHUNK_ROWS
) -> Iterator[CsvChunk]:
    """The same chunks from Arrow tables in memory.

    Raises:
        UnusableFileError: as :func:`read_transactions`.
    """
    joined = None if identity is None else IdentityTable(*_in_memory(identity))
    row = 0
    for batch in transactions.to_batches(max_chunksize=chunk_rows):
        yield from _chunks(
            FileRows(batch, IN_MEMORY, row, _count_from_one, "row"), joined, chunk_rows
        )
        row += len(batch)


def _in_memory(identity: Any) -> tuple[list[FileRows], str]:
    name = "the identity table"
    return [FileRows(identity, name, 0, _count_from_one, "row")], name


def _count_from_one(row: int) -> int:
    return row + 1


def _chunks(rows: FileRows, joined: IdentityTable | None, chunk_rows: int) -> Iterator[CsvChunk]:
    for start in range(0, len(rows.batch), chunk_rows):
        piece = rows.slice(start, chunk_rows)
        for column in TRANSACTIONS.required:
            refuse_null(piece, column)
        labels = _labels(piece)
        batch = piece.batch if joined is None else joined.join(piece.batch, piece.name)
        out = to_batch(batch)
        _refuse_implausible_times(out.times, piece)
        _refuse_infinite(out.numbers, piece)
        yield CsvChunk(out, labels, piece.number(0), _places(piece))


def _places(rows: FileRows) -> Callable[[int], str]:
    """Where rows are; it holds on to the numbers alone, not to the rows."""
    first, number_of, unit = rows.first_row, rows.number_of, rows.unit
    return lambda row: f"{unit} {number_of(first + row)}"


def _labels(rows: FileRows) -> NDArray[np.int8] | None:
    if LABEL not in rows.batch.schema.names:
        return None
    refuse_null(rows, LABEL)
    values = numbers(rows.batch.column(LABEL))
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UnusableFileError(f"{rows.at(row, LABEL)}: {_shown(values[row])} is not 0 or 1")
    return values.astype(np.int8)


def _shown(value: float) -> str:
    return "no value" if np.isnan(value) else f"{value:g}"


def _refuse_implausible_times(times: NDArray[np.int64], rows: FileRows) -> None:
    wrong = (times < 0) | (times > MAX_TIME_SECONDS)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UnusableFileError(f"{rows.at(row, TIME)}: {time_fault(int(times[row]))}")


def _refuse_infinite(values: NDArray[np.float64], rows: FileRows) -> None:
    infinite = np.isinf(values)
    if infinite.any():
        row, column = (int(i[0]) for i in np.nonzero(infinite))
        raise UnusableFileError(
            f"{rows.at(row, NUMBER_COLUMNS[column])}: {values[row, column]} is not finite"
        )


__all__ = [
    "CHUNK_ROWS",
    "CsvChunk",
    "IdentityTable",
    "ReadFacts",
    "read_identity",
    "read_transactions",
    "table_chunks",
]
