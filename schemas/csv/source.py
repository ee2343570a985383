"""A table in the IEEE-CIS format as a stream of Arrow record batches; errors give the place."""

from __future__ import annotations

import csv as text_csv
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, BinaryIO, Final

import pyarrow as pa
from pyarrow import csv

from schemas.csv.blocks import LongRowError, OpenQuoteError, row_blocks
from schemas.csv.cells import NULL_VALUES, clean_text, first_unreadable, to_wholes
from schemas.csv.header import SHOWN_CHARS, check_header
from schemas.csv.layout import ANY_AS_TEXT, FileFacts, Layout
from schemas.csv.lines import LineCounter
from schemas.csv.packed import Input, open_content, source_name
from schemas.csv.rows import FileRows
from schemas.errors import UnusableFileError

BLOCK_BYTES: Final = 4 * 1024 * 1024
"""Parsed at once, about 3,000 wide rows; the longest row must fit in one block."""

HEADER_MAX_BYTES: Final = 1024 * 1024
HEADER_LINES: Final = 1
_BOM: Final = "\ufeff"
_FAULT = re.compile(
    r"CSV column #(\d+): (?:Row #(\d+): )?CSV conversion error to (\w+): (.*)", re.DOTALL
)
_RAGGED = re.compile(r"CSV parse error: (?:Row #(\d+): )?Expected (\d+) columns, got (\d+)")
_WANTED = {"int64": "an integer", "double": "a number", "string": "text"}


def read_rows(
    source: Input, layout: Layout, facts: FileFacts | None = None, block_bytes: int = BLOCK_BYTES
) -> Iterator[FileRows]:
    """Rows of a CSV or Parquet file with typed columns; unknown columns are ignored and logged.

    A CSV may be packed with gzip or zip. A stream is read from its current position, then closed.
    ``facts`` is filled while the file is read.

    Raises:
        UnusableFileError: the file cannot be opened, is empty, binary, not UTF-8 or ragged, lacks
            a required column, or has a value that does not fit its column. The message gives file
            and line, or row.
    """
    facts = FileFacts() if facts is None else facts
    name = source_name(source)
    with ExitStack() as opened:
        try:
            content = open_content(source, layout.subject, opened)
            name, facts.format, facts.member = content.name, content.format, content.member
            if content.format == "parquet":
                from schemas.csv.parquet import read_parquet  # it takes a moment to import

                yield from read_parquet(content.stream, content.name, layout, facts)
            else:
                yield from _read(content.stream, content.name, layout, facts, block_bytes)
        except (OSError, EOFError, zlib.error) as error:
            raise UnusableFileError(f"{name}: cannot read: {error}") from error


def _read(
    stream: BinaryIO, name: str, layout: Layout, facts: FileFacts, block_bytes: int
) -> Iterator[FileRows]:
    columns = _read_header(stream, name)
    check_header(columns, f"{name}, line 1", name, layout, facts)
    types = {c: _arrow_type(layout, c) for c in columns if layout.rename(c) in facts.columns}
    lines = LineCounter(HEADER_LINES)
    parse = csv.ParseOptions(newlines_in_values=True)
    convert = csv.ConvertOptions(
        column_types=types,
        include_columns=list(types),
        null_values=NULL_VALUES,
        strings_can_be_null=True,
    )
    seen = 0
    try:
        for block in row_blocks(stream, block_bytes):
            lines.count(block)
            # One thread: with more, Arrow's errors have no row numbers.
            read = csv.ReadOptions(
                column_names=columns, block_size=len(block) + 1, use_threads=False
            )
            table = csv.read_csv(pa.BufferReader(block), read, parse, convert)
            for batch in table.combine_chunks().to_batches():
                rows = FileRows(batch, name, seen, lines.line)
                yield FileRows(_convert(rows, layout), name, seen, lines.line)
                seen += len(batch)
    except LongRowError as error:
        raise UnusableFileError(
            f"{name}, line {lines.line(seen)}: the row is longer than {block_bytes:,} bytes; "
            "is a quote not closed?"
        ) from error
    except OpenQuoteError as error:
        raise UnusableFileError(
            f"{name}, line {lines.line(seen) + error.lines}: a cell begins with a quotation mark "
            "and does not end: close it, or remove it"
        ) from error
    except pa.ArrowInvalid as error:
        raise UnusableFileError(_explain(str(error), name, columns, lines, seen)) from error


def _convert(rows: FileRows, layout: Layout) -> Any:
    """The batch under the known names, with clean text, and with integers as such."""
    found = {}
    for column in rows.batch.schema.names:
        known, cells = layout.rename(column), rows.batch.column(column)
        wanted = layout.type_of(known)
        if wanted == pa.int64():
            try:
                cells = to_wholes(cells)
            except pa.ArrowInvalid:
                row, text = first_unreadable(cells, to_wholes)
                raise UnusableFileError(
                    f"{rows.at(row, column)}: {text[:SHOWN_CHARS]!r} is not an integer"
                ) from None
        elif wanted in (pa.string(), ANY_AS_TEXT):
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


def _arrow_type(layout: Layout, column: str) -> Any:
    """The type Arrow reads a column as: integers are text at first, since they may end in .0."""
    wanted = layout.type_of(layout.rename(column))
    return pa.string() if wanted in (pa.int64(), ANY_AS_TEXT) else wanted


def _explain(message: str, name: str, columns: Sequence[str], lines: LineCounter, seen: int) -> str:
    """Arrow's error message, which counts rows from ``seen`` on, with the file, line and column."""
    if ragged := _RAGGED.match(message):
        row, wanted, cells = ragged.groups()
        line = f", line {lines.line(seen + int(row) - 1)}" if row else ""
        return f"{name}{line}: {cells} cells where the header has {wanted}"
    found = _FAULT.search(message)
    if not found:
        return f"{name}: not a readable CSV file: {message}"
    column, row, kind, reason = found.groups()
    line = f", line {lines.line(seen + int(row) - 1)}" if row else ""
    where = f"{name}{line}, column {columns[int(column)]}"
    if "UTF8" in reason:
        return f"{where}: not UTF-8 text"
    value = reason.partition("invalid value ")[2][: SHOWN_CHARS + 2] or reason
    return f"{where}: {value} is not {_WANTED.get(kind, kind)}"
