"""Reads transactions from JSON objects to columns, and reports every fault.

The stream and ``/predict`` use the same function. Their only difference is ``strict``: an unknown
field is ignored on the topic and refused by ``/predict``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from schemas.batch import NO_EVENT_TIME, TransactionBatch, empty_batch, with_text
from schemas.contracts import (
    AMOUNT,
    EVENT_TIME,
    ID,
    MAX_TIME_SECONDS,
    NUMBER_COLUMNS,
    NUMBER_INDEX,
    TEXT_COLUMNS,
    TEXT_INDEX,
    TIME,
    column_name,
    time_fault,
)
from schemas.json.kernel import NameTable, build_names, decode_json
from schemas.rejections import Rejection, Stage

LABEL: Final = "isFraud"
MAX_FAULTS: Final = 100
"""Per request, or per record: reading stops at this many faults. A few megabytes can contain a
million, and nobody reads more than these."""

_ODD_NUMBERS: Final = 128  # per record, left to the full parser; with more, the record is too
_SHOWN_CHARS: Final = 40  # of an unknown field's name, in a message


class Decoded(NamedTuple):
    """A batch of the valid records, their positions in the input, and the rejections."""

    batch: TransactionBatch
    kept: NDArray[np.int64]
    rejections: list[Rejection]


class _Fault(NamedTuple):
    field: str | None
    reason: str
    stage: Stage = Stage.VALIDATE


class RowReader:
    """Writes JSON objects into the rows of a batch, collecting their strings."""

    def __init__(self, batch: TransactionBatch, *, strict: bool, text_start: int = 0) -> None:
        self.text = bytearray()
        self._batch = batch
        self._strict = strict
        self._text_start = text_start

    def read(
        self, row: int, value: object, most: int = MAX_FAULTS
    ) -> list[tuple[str | None, str, Stage]]:
        """Fill ``row`` from one parsed value; returns the faults as (field, reason, stage).

        Reading stops after ``most`` faults: the row is then incomplete, and there may be more
        faults. If a field occurs as both ``id-01`` and ``id_01``, the last value that is not
        missing is used.
        """
        if not isinstance(value, dict):
            return [_Fault(None, f"expected a JSON object, not {_kind(value)}", Stage.DECODE)]
        faults: list[tuple[str | None, str, Stage]] = []
        numbers: list[float] = []
        columns: list[int] = []
        index = NUMBER_INDEX
        for name, cell in value.items():
            column = index.get(name)
            if column is None and name.startswith("id-"):
                name = column_name(name) if _is_known(name) else name
                column = index.get(name)
            if column is not None:
                if type(cell) is float or type(cell) is int:
                    columns.append(column)
                    numbers.append(cell)
                    continue
                fault = None if cell is None else _wrong(name, "a number", cell)
            else:
                fault = self._read_other(row, name, cell)
            if fault is not None:
                faults.append(fault)
                if len(faults) >= most:
                    return faults
        faults += self._store_numbers(row, columns, numbers)
        faults += [_Fault(name, f"{name} is missing") for name in (ID, TIME) if name not in value]
        if math.isnan(self._batch.numbers[row, NUMBER_INDEX[AMOUNT]]) and not any(
            fault[0] == AMOUNT for fault in faults
        ):
            faults.append(_Fault(AMOUNT, f"{AMOUNT} is missing"))
        return faults[:most]

    def _read_other(self, row: int, name: str, cell: Any) -> _Fault | None:
        if (column := TEXT_INDEX.get(name)) is not None:
            return None if _is_missing(cell) else self._read_text(row, name, column, cell)
        if name in (ID, TIME):
            return self._read_whole(row, name, cell)
        if name == EVENT_TIME:
            return None if _is_missing(cell) else self._read_whole(row, name, cell)
        return _unknown(name) if self._strict and name != LABEL else None

    def _read_text(self, row: int, name: str, column: int, cell: Any) -> _Fault | None:
        if not isinstance(cell, str):
            return _wrong(name, "a string", cell)
        try:
            data = cell.encode("utf-8")
        except UnicodeEncodeError:
            return _Fault(name, f"{name} is not valid Unicode: it has a lone surrogate")
        self._batch.starts[row, column] = self._text_start + len(self.text)
        self._batch.lengths[row, column] = len(data)
        self.text += data
        return None

    def _read_whole(self, row: int, name: str, cell: Any) -> _Fault | None:
        if _is_missing(cell):
            return _Fault(name, f"{name} is missing")
        if type(cell) is float and math.isinf(cell):
            return _Fault(name, f"{name} is infinite")
        # An integer beyond 64 bits arrives as a float from orjson and as an int from json.
        if type(cell) in (int, float) and not -(2**63) <= cell < 2**63:
            return _Fault(name, f"{name} does not fit a 64-bit integer")
        if type(cell) is not int:
            return _wrong(name, "an integer", cell)
        if name == TIME and (reason := time_fault(cell)) is not None:
            return _Fault(name, reason)
        columns = {ID: self._batch.ids, TIME: self._batch.times}
        columns.get(name, self._batch.event_times)[row] = cell
        return None

    def _store_numbers(
        self, row: int, columns: list[int], values: list[float]
    ) -> list[tuple[str | None, str, Stage]]:
        try:
            array = np.array(values, np.float64)
        except OverflowError:
            array = np.array([_as_double(value) for value in values])
        infinite = np.isinf(array)
        present = ~np.isnan(array)
        # For a repeated column the last value is kept: numpy assigns in order.
        where = np.asarray(columns, np.intp)
        self._batch.numbers[row, where[present]] = array[present]
        return [
            _Fault(
                NUMBER_COLUMNS[columns[i]],
                f"{NUMBER_COLUMNS[columns[i]]} "
                + ("is infinite" if isinstance(values[i], float) else "does not fit a double"),
            )
            for i in np.flatnonzero(infinite)
        ]


def read_plain(
    joined: bytes,
    rows: NDArray[np.int64],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    batch: TransactionBatch,
) -> NDArray[np.bool_]:
    """Read the ordinary records among ``joined[begin:end]`` into missing rows of a batch.

    Returns which records were read. :class:`RowReader` must read the others, which include every
    invalid record; their rows are still missing. ``joined`` must end in zeros.
    """
    wholes = np.full((3, len(batch)), NO_EVENT_TIME, np.int64)
    odd = np.empty((_ODD_NUMBERS * len(rows), 4), np.int64)
    is_read = np.empty(len(rows), np.bool_)
    found = decode_json(
        np.frombuffer(joined, np.uint8),
        begin,
        end,
        rows,
        _names(),
        NUMBER_INDEX[AMOUNT],
        wholes,
        batch.numbers,
        batch.starts,
        batch.lengths,
        odd,
        is_read,
    )
    odd = odd[:found]
    numbers = np.array([float(joined[a:b]) for a, b in odd[:, 2:].tolist()], np.float64)
    batch.numbers[odd[:, 0], odd[:, 1]] = numbers
    is_read &= ~np.isin(rows, odd[np.isinf(numbers), 0])
    is_read &= (wholes[1, rows] >= 0) & (wholes[1, rows] <= MAX_TIME_SECONDS)
    for column, cells in zip((batch.ids, batch.times, batch.event_times), wholes, strict=True):
        column[rows[is_read]] = cells[rows[is_read]]
    left = rows[~is_read]
    batch.numbers[left], batch.starts[left], batch.lengths[left] = np.nan, 0, -1
    return is_read


@cache
def _names() -> NameTable:
    order = (*NUMBER_COLUMNS, *TEXT_COLUMNS, ID, TIME, EVENT_TIME)
    columns = {name: i for i, name in enumerate(order)}
    hyphenated = {name.replace("_", "-", 1): i for name, i in columns.items() if name[:3] == "id_"}
    return build_names(columns | hyphenated)


def decode_objects(rows: Sequence[object], *, strict: bool) -> Decoded:
    """Convert parsed JSON values to a batch; each fault of a value becomes one rejection.

    ``strict`` is for callers that need all rows or none: reading stops after ``MAX_FAULTS``
    rejections in total, and later rows are left out.
    """
    batch = empty_batch(len(rows))
    reader = RowReader(batch, strict=strict)
    rejections: list[Rejection] = []
    for i, value in enumerate(rows):
        most = MAX_FAULTS - len(rejections) if strict else MAX_FAULTS
        faults = reader.read(i, value, most)
        rejections += [Rejection(i, stage, reason, field) for field, reason, stage in faults]
        if strict and len(rejections) >= MAX_FAULTS:
            batch = batch.take(slice(0, i + 1))
            break
    return finish(with_text(batch, reader.text), rejections)


def parse_json(value: bytes) -> object:
    """Parse one JSON text; accepts ``NaN`` and ``Infinity``, which Python writes.

    Raises:
        ValueError: the text is not JSON, or nests too deeply.
    """
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        _require_utf8(value)  # orjson reports such a byte at the start of the text
        # orjson follows RFC 8259; NaN literals and integers beyond 64 bits take this path.
        if b"NaN" not in value and b"Infinity" not in value and "number" not in str(error):
            raise ValueError(str(error)) from None
        return _parse_leniently(value)


def _require_utf8(value: bytes) -> None:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as error:
        at = error.start
        line = value.count(b"\n", 0, at) + 1
        column = len(value[value.rfind(b"\n", 0, at) + 1 : at].decode("utf-8")) + 1
        raise ValueError(
            f"byte 0x{value[at]:02x} is not valid UTF-8: line {line} column {column} (byte {at})"
        ) from None


def _parse_leniently(value: bytes) -> object:
    try:
        return json.loads(value.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:
        raise ValueError(str(error)) from None


def finish(batch: TransactionBatch, rejections: list[Rejection]) -> Decoded:
    """Remove the rejected rows from a batch."""
    kept = np.arange(len(batch), dtype=np.int64)
    if not rejections:
        return Decoded(batch, kept, [])
    good = np.ones(len(batch), np.bool_)
    good[[r.index for r in rejections]] = False
    return Decoded(batch.take(good), kept[good], rejections)


def encode_json(batch: TransactionBatch) -> list[bytes]:
    """Each transaction as a JSON object, without missing columns."""
    return [
        orjson.dumps({k: v for k, v in batch.row(i).items() if v is not None})
        for i in range(len(batch))
    ]


def _is_known(name: str) -> bool:
    plain = column_name(name)
    return plain in NUMBER_INDEX or plain in TEXT_INDEX or plain in (ID, TIME, EVENT_TIME, LABEL)


def _is_missing(cell: object) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _as_double(value: float) -> float:
    """The nearest double; infinite for an integer that is too large."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def shown_name(name: str) -> str:
    """A field's name for messages: shortened, and without lone surrogates."""
    shown = name if len(name) <= _SHOWN_CHARS else name[:_SHOWN_CHARS] + "…"
    return shown.encode("utf-8", "replace").decode()  # a lone surrogate cannot be encoded


def _unknown(name: str) -> _Fault:
    shown = shown_name(name)
    return _Fault(shown, f"unknown field {shown!r}")


def _wrong(name: str, wanted: str, cell: object) -> _Fault:
    return _Fault(name, f"{name} must be {wanted}, not {_kind(cell)}")


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    kinds = {str: "a string", int: "an integer", float: "a number", list: "an array"}
    return "null" if value is None else kinds.get(type(value), "an object")


__all__ = [
    "MAX_FAULTS",
    "Decoded",
    "RowReader",
    "decode_objects",
    "encode_json",
    "finish",
    "parse_json",
    "read_plain",
    "shown_name",
]
