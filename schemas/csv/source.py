"""A CSV in the IEEE-CIS format as a stream of Arrow record batches; errors give the line."""

from __future__ import annotations

import csv as text_csv
import gzip
import io
import logging
import re
import zlib
from collections.abc import Iterator, Sequence
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
    column_name,
)
from schemas.errors import UnusableFileError

log = logging.getLogger(__name__)

LABEL: Final = "isFraud"
MISSING_WORDS: Final = ("", "NaN", "nan")

BLOCK_BYTES: Final = 4 * 1024 * 1024
"""Parsed at once, about 3,000 wide rows; the longest row must fit in one block."""

HEADER_MAX_BYTES: Final = 1024 * 1024
HEADER_LINES: Final = 1
GZIP_MAGIC: Final = b"\x1f\x8b"
_SHOWN_CHARS: Final = 60
_FAULT = re.compile(
    r"CSV column #(\d+): (?:Row #(\d+): )?CSV conversion error to (\w+): (.*)", re.DOTALL
)
_RAGGED = re.compile(r"CSV parse error: (?:Row #(\d+): )?Expected (\d+) columns, got (\d+)")
_WANTED = {"int64": "an integer", "double": "a number", "string": "text"}

Input = str | Path | BinaryIO


@dataclass(frozen=True, slots=True)
class CsvRows:
    """A record batch with the contract's column names, and the line number of its first row."""

    batch: Any
    first_line: int

    def line(self, row: int) -> int:
        """The line number that a row begins at."""
        return self.first_line + row


def read_rows(
    source: Input, required: Sequence[str], block_bytes: int = BLOCK_BYTES
) -> Iterator[CsvRows]:
    """Rows of a CSV with typed columns; unknown columns are ignored and logged once.

    Line numbers do not count blank lines. A stream is read from its current position, then closed.

    Raises:
        UnusableFileError: the file cannot be opened, is empty, binary, not UTF-8 or ragged, lacks
            a required column, or has a value that does not fit its column. The message gives file
            and line.
    """
    name = source_name(source)
    with ExitStack() as opened:
        try:
            yield from _read(_open(source, name, opened), name, required, block_bytes)
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
    stream: BinaryIO, name: str, required: Sequence[str], block_bytes: int
) -> Iterator[CsvRows]:
    columns = _read_header(stream, name)
    plain = [column_name(column) for column in columns]
    _check_header(plain, columns, name, required)
    kept = [column for column, known in zip(columns, plain, strict=True) if _type(known)]
    seen = 0
    try:
        reader = csv.open_csv(
            stream,
            # One thread: with more, Arrow's errors have no row numbers.
            read_options=csv.ReadOptions(
                column_names=columns, block_size=block_bytes, use_threads=False
            ),
            convert_options=csv.ConvertOptions(
                column_types={c: _type(p) for c, p in zip(columns, plain, strict=True) if _type(p)},
                include_columns=kept,
                null_values=list(MISSING_WORDS),
                strings_can_be_null=True,
            ),
        )
        for batch in reader:
            if len(batch):
                renamed = batch.rename_columns([column_name(c) for c in batch.schema.names])
                yield CsvRows(renamed, seen + HEADER_LINES + 1)
                seen += len(batch)
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return
        raise UnusableFileError(_explain(str(error), name, columns)) from error


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
        return next(text_csv.reader([header]))
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
            f"(found {len(columns)}: {shown}{'…' if len(columns) > 5 else ''}){hint}"
        )
    unknown = [column for column in columns if not _type(column_name(column))]
    if unknown:
        log.warning("%s: ignoring unknown columns: %s", name, ", ".join(unknown)[:500])


def _type(column: str) -> Any:
    """The Arrow type a column is read as; None for an unknown column."""
    if column in NUMBER_INDEX or column == LABEL:
        return pa.float64()
    if column in TEXT_INDEX:
        return pa.string()
    return pa.int64() if column in (ID, TIME, EVENT_TIME) else None


def _explain(message: str, name: str, columns: Sequence[str]) -> str:
    """Arrow's error message with the file, line and column."""
    if ragged := _RAGGED.match(message):
        row, wanted, cells = ragged.groups()
        line = f", line {int(row) + HEADER_LINES}" if row else ""
        return f"{name}{line}: {cells} cells where the header has {wanted}"
    found = _FAULT.search(message)
    if not found:
        return f"{name}: not a readable CSV file: {message}"
    column, row, kind, reason = found.groups()
    line = f", line {int(row) + HEADER_LINES}" if row else ""
    where = f"{name}{line}, column {columns[int(column)]}"
    if "UTF8" in reason:
        return f"{where}: not UTF-8 text"
    value = reason.partition("invalid value ")[2][: _SHOWN_CHARS + 2] or reason
    return f"{where}: {value} is not {_WANTED.get(kind, kind)}"
