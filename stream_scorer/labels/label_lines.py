"""Labels from a CSV file for the labels topic: all lines are checked before any is written."""

from __future__ import annotations

import csv
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import numpy as np

from schemas.csv.packed import open_content
from schemas.errors import UnusableFileError
from stream_scorer.labels.labels import VALUES

MAX_NOTE_CHARS: Final = 2_000  # as much as the desk shows

_REQUIRED: Final = ("transaction_id", "label", "decided_at")
_COLUMNS: Final = (*_REQUIRED, "note")
_WORDS: Final = {name: name for name in VALUES}
_NUMBERS: Final = {"1": "FRAUD", "0": "LEGITIMATE"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
CLOCK_SKEW_MS: Final = 5 * 60_000  # the clock of whoever wrote the file may be ahead of ours
_LEAST_MS: Final = 10**11  # as epoch milliseconds: 1973; as seconds: the year 5138
_MAX_LINE_BYTES: Final = 1 << 20
_SHOWN_CHARS: Final = 60
_MOST_FAULTS: Final = 20  # that are named; all are counted
_REPORT_EVERY: Final = 10_000  # lines
_INT64: Final = np.iinfo(np.int64)


class LineFault(NamedTuple):
    """What is wrong with a line; ``column`` is None if it is the whole line."""

    line: int
    column: str | None
    reason: str

    def __str__(self) -> str:
        where = f"line {self.line}" + (f", column {self.column}" if self.column else "")
        return f"{where}: {self.reason}"


class LabelLine(NamedTuple):
    """One label of the file. ``decided_at`` is in epoch milliseconds."""

    transaction_id: int
    label: str
    decided_at: int
    note: str | None


@dataclass(slots=True)
class LabelLines:
    """The checked lines of a file, column by column, one for each transaction.

    Attributes:
        ids: transaction ids.
        values: ``FRAUD``, ``LEGITIMATE`` or ``UNSURE``.
        times: epoch milliseconds.
        lines: line numbers.
        notes: the few that have one, by row.
        bad: number of bad lines.
        faults: the first of them.
        repeated: lines that say the same as an earlier one.
    """

    ids: array[int] = field(default_factory=lambda: array("q"))
    values: array[int] = field(default_factory=lambda: array("b"))
    times: array[int] = field(default_factory=lambda: array("q"))
    lines: array[int] = field(default_factory=lambda: array("q"))
    notes: dict[int, str] = field(default_factory=dict)
    bad: int = 0
    faults: list[LineFault] = field(default_factory=list)
    repeated: int = 0
    _left_out: set[int] = field(default_factory=set)

    def __len__(self) -> int:
        """Number of labels."""
        return len(self.ids) - len(self._left_out)

    def __iter__(self) -> Iterator[LabelLine]:
        """The labels, in the order of the file."""
        words = {value: name for name, value in VALUES.items()}
        for row in range(len(self.ids)):
            if row not in self._left_out:
                yield LabelLine(
                    self.ids[row], words[self.values[row]], self.times[row], self.notes.get(row)
                )

    def add(self, line: int, label: LabelLine) -> None:
        """Add a good line."""
        if label.note is not None:
            self.notes[len(self.ids)] = label.note
        self.ids.append(label.transaction_id)
        self.values.append(VALUES[label.label])
        self.times.append(label.decided_at)
        self.lines.append(line)

    def refuse(self, fault: LineFault) -> None:
        """Count a bad line."""
        self.bad += 1
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(fault)

    def settle(self) -> None:
        """Leave out repeated lines, and all lines of a transaction that contradict each other."""
        ids = np.frombuffer(self.ids, np.int64)
        order = np.argsort(ids, kind="stable")
        ordered = ids[order]
        starts = np.flatnonzero(np.r_[len(ids) > 0, ordered[1:] != ordered[:-1]])
        for rows in np.split(order, starts[1:]) if len(starts) < len(ids) else ():
            if len(rows) > 1:
                self._settle(rows.tolist())
        self.faults.sort()

    def _settle(self, rows: Sequence[int]) -> None:
        first, *others = rows
        contents = {(self.values[row], self.times[row], self.notes.get(row)) for row in rows}
        if len(contents) == 1:
            self.repeated += len(others)
            self._left_out.update(others)
            return
        self._left_out.update(rows)
        for row in rows:
            other = others[0] if row == first else first
            self.refuse(
                LineFault(
                    self.lines[row],
                    None,
                    f"line {self.lines[other]} has another label, time or note for transaction "
                    f"{self.ids[row]}: keep one of them",
                )
            )


def read_label_lines(
    path: Path, now_ms: int, on_lines: Callable[[int], None] = lambda _: None
) -> LabelLines:
    """Read and check a file: CSV in UTF-8, plain or packed with gzip or zip.

    Columns: ``transaction_id``, ``label`` (FRAUD, LEGITIMATE or UNSURE; 1 and 0), ``decided_at``
    (ISO 8601, UTC if there is no offset, or epoch milliseconds) and optionally ``note``.
    ``on_lines`` is called with the number of lines read, now and then.

    Raises:
        UnusableFileError: it is not such a file. Bad lines are in the result.
    """
    found = LabelLines()
    try:
        with ExitStack() as opened:
            content = open_content(path, "label", opened)
            if content.format == "parquet":
                raise UnusableFileError(f"{content.name}: a Parquet file: save it as CSV in UTF-8")
            _read_lines(content.stream, content.name, now_ms, on_lines, found)
    except (OSError, EOFError, zlib.error) as error:
        raise UnusableFileError(f"{path}: damaged or cut off: {error}") from error
    found.settle()
    return found


def _read_lines(
    stream: BinaryIO, name: str, now_ms: int, on_lines: Callable[[int], None], found: LabelLines
) -> None:
    rows = csv.reader(_text_lines(stream, name), strict=True)
    begin = 1  # of the cells that are read: a quoted cell may have several lines
    try:
        columns = _read_header(rows, name)
        begin = rows.line_num + 1
        for count, cells in enumerate(rows, 1):
            if cells:  # not a blank line
                _read_line(begin, cells, columns, now_ms, found)
            if count % _REPORT_EVERY == 0:
                on_lines(rows.line_num)
            begin = rows.line_num + 1
    except csv.Error as error:
        reason = _fault_of_csv(str(error), rows.line_num > begin)
        raise UnusableFileError(f"{name}, line {begin}: {reason}") from error
    on_lines(rows.line_num)


def _fault_of_csv(reason: str, has_several_lines: bool) -> str:
    """What is wrong with a line, from the words of the csv module."""
    if "new-line" in reason:
        return "a carriage return within the line: save the file with ordinary ends of lines"
    if "end of data" in reason or has_several_lines:
        return "a quotation mark is not closed: close it, or remove it"
    if "field limit" in reason:
        return f"a cell has more than {csv.field_size_limit():,} characters"
    return f"{reason}: within quotation marks, write each quotation mark twice"


def _text_lines(stream: BinaryIO, name: str) -> Iterator[str]:
    number = 0
    while line := stream.readline(_MAX_LINE_BYTES):
        number += 1
        if len(line) == _MAX_LINE_BYTES:
            raise UnusableFileError(
                f"{name}, line {number}: longer than {_MAX_LINE_BYTES:,} bytes: is this a CSV file?"
            )
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UnusableFileError(
                f"{name}, line {number}: not UTF-8 text (byte {error.start + 1} is "
                f"0x{line[error.start]:02x}): save the file as CSV in UTF-8"
            ) from error
        if "\0" in text:
            raise UnusableFileError(f"{name}, line {number}: binary data, not a CSV file")
        yield text


def _read_header(rows: Iterator[list[str]], name: str) -> list[str]:
    header = [cell.strip() for cell in next(rows, [])]
    if not header:
        raise UnusableFileError(f"{name}: the file is empty, or line 1 is blank")
    columns = [cell.lower() for cell in header]
    needed = f"the columns are {', '.join(_REQUIRED)} and optionally note"
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t|"):
        raise UnusableFileError(
            f"{name}, line 1: the columns are not separated by commas: save the file as CSV with "
            f"commas; {needed}"
        )
    for column, shown in zip(columns, header, strict=True):
        if column not in _COLUMNS:
            raise UnusableFileError(
                f"{name}, line 1: unknown column {shown[:_SHOWN_CHARS]!r}; {needed}"
            )
        if columns.count(column) > 1:
            raise UnusableFileError(f"{name}, line 1: column {column} occurs twice")
    if missing := [column for column in _REQUIRED if column not in columns]:
        raise UnusableFileError(f"{name}, line 1: no column {', '.join(missing)}; {needed}")
    return columns


def _read_line(
    number: int, cells: Sequence[str], columns: Sequence[str], now_ms: int, found: LabelLines
) -> None:
    if len(cells) != len(columns):
        reason = f"{len(cells)} cells where the header has {len(columns)}"
        found.refuse(LineFault(number, None, reason))
        return
    row = {column: cell.strip() for column, cell in zip(columns, cells, strict=True)}
    parsers: dict[str, Callable[[str], object]] = {
        "transaction_id": _read_id,
        "label": _read_label,
        "decided_at": lambda text: _read_time(text, now_ms),
        "note": _read_note,
    }
    values: dict[str, object] = {"note": None}
    for column in columns:
        try:
            values[column] = parsers[column](row[column])
        except ValueError as error:
            found.refuse(LineFault(number, column, str(error)))
            return
    found.add(number, LabelLine(*(values[name] for name in _COLUMNS)))  # type: ignore[arg-type]  # as the parsers return them


def _shown(text: str) -> str:
    return repr(text[:_SHOWN_CHARS] + ("…" if len(text) > _SHOWN_CHARS else ""))


def _read_id(text: str) -> int:
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdecimal() and len(digits) <= len(str(_INT64.max)):
        number = int(text)
        if _INT64.min <= number <= _INT64.max:
            return number
    raise ValueError(f"{_shown(text)} is not a whole number of 64 bits")


def _read_label(text: str) -> str:
    word = text.upper()
    if (known := _WORDS.get(word) or _NUMBERS.get(word)) is None:
        raise ValueError(f"{_shown(text)} is not FRAUD, LEGITIMATE or UNSURE")
    return known


def _read_time(text: str, now_ms: int) -> int:
    if text.isascii() and text.isdecimal() and len(text) > 8:  # not a date as 20260131
        time_ms = int(text) if len(text) <= 18 else -1
        if time_ms < _LEAST_MS:
            raise ValueError(f"{_shown(text)} is not a time in milliseconds since 1970")
    else:
        try:
            time = datetime.fromisoformat(text)
            time_ms = ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH) // _MILLISECOND
        except (ValueError, OverflowError):
            raise ValueError(
                f"{_shown(text)} is not a time: write ISO 8601, such as 2026-01-31T12:30:00Z"
            ) from None
    if time_ms < 0:
        raise ValueError(f"{_shown(text)} is before 1970")
    if time_ms > now_ms + CLOCK_SKEW_MS:
        raise ValueError(f"{_shown(text)} is in the future")
    return time_ms


_MILLISECOND: Final = timedelta(milliseconds=1)


def _read_note(text: str) -> str | None:
    if len(text) > MAX_NOTE_CHARS:
        raise ValueError(f"has {len(text):,} characters, more than {MAX_NOTE_CHARS:,}")
    return text or None
