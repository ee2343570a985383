"""A CSV in the IEEE-CIS format as a stream of Arrow record batches; errors give the line."""

from __future__ import annotations

import csv as text_csv
import difflib
import gzip
import io
import logging
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import pyarrow as pa
from pyarrow import csv

from schemas.contracts import (
    EVENT_TIME,
    ID,
    NUMBER_INDEX,
    TEXT_INDEX,
    TIME,
    TRANSACTION_COLUMNS,
    column_name,
)
from schemas.csv.cells import NULL_VALUES, clean_text, first_unreadable, to_wholes
from schemas.csv.lines import LineCounter
from schemas.errors import UnusableFileError

log = logging.getLogger(__name__)

LABEL: Final = "isFraud"

BLOCK_BYTES: Final = 4 * 1024 * 1024
"""Parsed at once, about 3,000 wide rows; the longest row must fit in one block."""

HEADER_MAX_BYTES: Final = 1024 * 1024
HEADER_LINES: Final = 1
GZIP_MAGIC: Final = b"\x1f\x8b"
_SHOWN_CHARS: Final = 60
_SHOWN_UNKNOWN: Final = 20  # columns, in a warning
_MAX_COMPARED: Final = 1_000  # columns, with each missing one
_ALIKE: Final = 0.85  # difflib's ratio: "transactionid" and "transaction_id" have 0.96
_BOM: Final = "\ufeff"
_FAULT = re.compile(
    r"CSV column #(\d+): (?:Row #(\d+): )?CSV conversion error to (\w+): (.*)", re.DOTALL
)
_RAGGED = re.compile(r"CSV parse error: (?:Row #(\d+): )?Expected (\d+) columns, got (\d+)")
_WANTED = {"int64": "an integer", "double": "a number", "string": "text"}

Input = str | Path | BinaryIO


@dataclass(frozen=True, slots=True)
class CsvRows:
    """A record batch with the contract's column names, and where its rows are in the file.

    ``first_row`` is 0 for the row after the header. ``line_of`` gives a row's line number; for a
    table in memory, it counts the rows.
    """

    batch: Any
    first_row: int = 0
    line_of: Callable[[int], int] = lambda row: row + HEADER_LINES + 1

    def line(self, row: int) -> int:
        """The number of the line that a row of the batch begins at."""
        return self.line_of(self.first_row + row)

    def slice(self, start: int, size: int) -> CsvRows:
        """At most ``size`` rows from ``start`` on."""
        return CsvRows(self.batch.slice(start, size), self.first_row + start, self.line_of)


def read_rows(
    source: Input,
    required: Sequence[str],
    block_bytes: int = BLOCK_BYTES,
    *,
    without: Sequence[str] = (),
) -> Iterator[CsvRows]:
    """Rows of a CSV with typed columns; unknown columns are ignored and logged once.

    Columns in ``without`` are not read. A stream is read from its current position, then closed.

    Raises:
        UnusableFileError: the file cannot be opened, is empty, binary, not UTF-8 or ragged, lacks
            a required column, or has a value that does not fit its column. The message gives file
            and line.
    """
    name = source_name(source)
    with ExitStack() as opened:
        try:
            stream = _open(source, name, opened)
            yield from _read(stream, name, required, without, block_bytes)
        except (OSError, EOFError, zlib.error) as error:
            raise UnusableFileError(f"{name}: cannot read: {error}") from error


def source_name(source: Input) -> str:
    """A source's name for messages."""
    if isinstance(source, str | Path):
        return str(source)
    return str(getattr(source, "name", "the CSV"))


def _open(source: Input, name: str, opened: ExitStack) -> BinaryIO:
    if isinstance(source, str | Path):
        try:
            raw: BinaryIO = opened.enter_context(Path(source).open("rb"))  # noqa: SIM115 - closed with the stack
        except OSError as error:
            raise UnusableFileError(f"{name}: cannot read: {error.strerror}") from error
    else:
        raw = opened.enter_context(source)
    if not isinstance(raw, io.BufferedReader):
        raw = opened.enter_context(io.BufferedReader(cast("io.RawIOBase", raw)))
    if raw.peek(len(GZIP_MAGIC))[: len(GZIP_MAGIC)] != GZIP_MAGIC:
        return raw
    plain = opened.enter_context(gzip.GzipFile(fileobj=raw))
    return opened.enter_context(io.BufferedReader(cast("io.RawIOBase", plain)))


def _read(
    stream: BinaryIO,
    name: str,
    required: Sequence[str],
    without: Sequence[str],
    block_bytes: int,
) -> Iterator[CsvRows]:
    columns = _read_header(stream, name)
    plain = [column_name(column) for column in columns]
    _check_header(plain, columns, name, required)
    types = {
        c: _arrow_type(p)
        for c, p in zip(columns, plain, strict=True)
        if _type(p) and p not in without
    }
    lines = LineCounter(stream, HEADER_LINES)
    seen = 0
    try:
        reader = csv.open_csv(
            pa.PythonFile(lines, mode="r"),
            # One thread: with more, Arrow's errors have no row numbers.
            read_options=csv.ReadOptions(
                column_names=columns, block_size=block_bytes, use_threads=False
            ),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=NULL_VALUES,
                strings_can_be_null=True,
            ),
        )
        for batch in reader:
            if len(batch):
                rows = CsvRows(batch, seen, lines.line)
                yield CsvRows(_convert(rows, name), seen, lines.line)
                seen += len(batch)
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return
        raise UnusableFileError(_explain(str(error), name, columns, lines)) from error


def _convert(rows: CsvRows, name: str) -> Any:
    """The batch under the contract's names, with clean text, and with integers as such."""
    found = {}
    for column in rows.batch.schema.names:
        known, cells = column_name(column), rows.batch.column(column)
        wanted = _type(known)
        if wanted == pa.int64():
            try:
                cells = to_wholes(cells)
            except pa.ArrowInvalid:
                row, text = first_unreadable(cells, to_wholes)
                raise UnusableFileError(
                    f"{name}, line {rows.line(row)}, column {column}: "
                    f"{text[:_SHOWN_CHARS]!r} is not an integer"
                ) from None
        elif wanted == pa.string():
            cells = clean_text(cells)
        found[known] = cells
    return pa.RecordBatch.from_pydict(found)


def _read_header(stream: BinaryIO, name: str) -> list[str]:
    line = stream.readline(HEADER_MAX_BYTES)
    if not line.strip():
        what = "line 1 is blank" if line else "the file is empty"
        raise UnusableFileError(f"{name}: {what}")
    if b"\x00" in line or (len(line) == HEADER_MAX_BYTES and not line.endswith(b"\n")):
        raise UnusableFileError(f"{name}: not a CSV file (its first line is binary or too long)")
    try:
        header = line.decode("utf-8-sig").strip("\r\n")
    except UnicodeDecodeError as error:
        raise UnusableFileError(f"{name}, line 1: not UTF-8 text, so not a CSV file") from error
    try:
        return [name.strip().strip(_BOM).strip() for name in next(text_csv.reader([header]))]
    except text_csv.Error as error:  # a name that is too long
        raise UnusableFileError(f"{name}, line 1: not a CSV header: {error}") from error


def _check_header(
    plain: Sequence[str], columns: Sequence[str], name: str, required: Sequence[str]
) -> None:
    seen: set[str] = set()
    for column in plain:
        if column in seen:
            raise UnusableFileError(f"{name}, line 1: column {column} occurs twice")
        seen.add(column)
    missing = [column for column in required if column not in seen]
    if missing:
        shown = ", ".join(columns[:5])[:_SHOWN_CHARS]
        hint = "" if len(columns) > 1 else "; are its columns separated by commas?"
        raise UnusableFileError(
            f"{name}, line 1: no column {', '.join(missing)} "
            f"(found {len(columns)}: {shown}{'…' if len(columns) > 5 else ''})"
            f"{hint}{_near_misses(missing, columns)}"
        )
    unknown = [column for column in columns if not _type(column_name(column))]
    if unknown:
        named = [_with_near_miss(column) for column in unknown[:_SHOWN_UNKNOWN]]
        more = f" and {len(unknown) - len(named)} more" if len(unknown) > len(named) else ""
        log.warning("%s: ignoring unknown columns: %s%s", name, ", ".join(named), more)


def _near_misses(missing: Sequence[str], columns: Sequence[str]) -> str:
    """The columns that are spelt almost like missing ones."""
    spelt = {c.casefold(): c for c in columns[:_MAX_COMPARED]}
    found = []
    for name in missing:
        near = difflib.get_close_matches(name.casefold(), spelt, 1, _ALIKE)
        found += [f"{spelt[near[0]][:_SHOWN_CHARS]!r} should be {name!r}"] if near else []
    return f"; {', '.join(found)}" if found else ""


def _with_near_miss(column: str) -> str:
    """An unknown column, with the one that is probably meant."""
    shown = column[:_SHOWN_CHARS]
    known = {c.casefold(): c for c in TRANSACTION_COLUMNS}
    near = difflib.get_close_matches(column_name(shown).casefold(), known, 1, _ALIKE)
    return f"{shown} (did you mean {known[near[0]]}?)" if near else shown


def _type(column: str) -> Any:
    """The Arrow type a column is read as; None for an unknown column."""
    if column in NUMBER_INDEX or column == LABEL:
        return pa.float64()
    if column in TEXT_INDEX:
        return pa.string()
    return pa.int64() if column in (ID, TIME, EVENT_TIME) else None


def _arrow_type(column: str) -> Any:
    """The type Arrow reads a column as: integers are text at first, since they may end in .0."""
    return pa.string() if _type(column) == pa.int64() else _type(column)


def _explain(message: str, name: str, columns: Sequence[str], lines: LineCounter) -> str:
    """Arrow's error message with the file, line and column."""
    if ragged := _RAGGED.match(message):
        row, wanted, cells = ragged.groups()
        line = f", line {lines.line(int(row) - 1)}" if row else ""
        return f"{name}{line}: {cells} cells where the header has {wanted}"
    found = _FAULT.search(message)
    if not found:
        return f"{name}: not a readable CSV file: {message}"
    column, row, kind, reason = found.groups()
    line = f", line {lines.line(int(row) - 1)}" if row else ""
    where = f"{name}{line}, column {columns[int(column)]}"
    if "UTF8" in reason:
        return f"{where}: not UTF-8 text"
    value = reason.partition("invalid value ")[2][: _SHOWN_CHARS + 2] or reason
    return f"{where}: {value} is not {_WANTED.get(kind, kind)}"
