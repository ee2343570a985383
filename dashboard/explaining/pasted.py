"""Transactions as people paste them: JSON, or CSV with a header line; and the cells of a form."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dashboard.predict_request import (
    FIELD_RULE,
    MAX_ROWS,
    InputFault,
    InvalidInput,
    TooManyRows,
    parse_body,
    similar_column,
)
from schemas.contracts import EVENT_TIME, ID, NUMBER_INDEX, TEXT_INDEX, TIME, column_name
from schemas.json.codec import shown_name

_DELIMITERS: Final = (",", ";", "\t", "|")
_LABEL: Final = "isFraud"
_SHOWN_CHARS: Final = 40
_MAX_FAULTS: Final = 100
_WHOLE: Final = (ID, TIME, EVENT_TIME)


def read_pasted(text: str) -> list[object]:
    """The rows of a pasted text, not yet checked: a transaction, a list of them, or a CSV table.

    Raises:
        InvalidInput: it is none of these.
        TooManyRows: it has more than ``MAX_ROWS`` rows.
    """
    text = text.strip().removeprefix("\ufeff")
    if not text:
        why = "nothing was pasted: paste one JSON object, or a CSV header and a line"
        raise InvalidInput([InputFault(None, None, why)])
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        why = "the text has half of a character (a lone surrogate)"
        raise InvalidInput([InputFault(None, None, why)]) from None
    if not text.startswith(("{", "[")):
        return [*_read_csv(text)]
    found = parse_body(data)
    if isinstance(found, dict) and isinstance(found.get("transactions"), list):
        found = found["transactions"]
    rows = found if isinstance(found, list) else [found]
    if not rows:
        raise InvalidInput([InputFault(None, None, "the list has no transactions")])
    if len(rows) > MAX_ROWS:
        raise TooManyRows
    return rows


def read_cells(cells: Mapping[str, str]) -> dict[str, Any]:
    """A transaction from texts by column; blank means missing.

    Raises:
        InvalidInput: a text is not a number where the column has numbers.
    """
    row, faults = _read_cells(cells, None)
    if faults:
        raise InvalidInput(faults)
    return row


def _read_cells(
    cells: Mapping[str, str], number: int | None
) -> tuple[dict[str, Any], list[InputFault]]:
    row: dict[str, Any] = {}
    faults: list[InputFault] = []
    for column, text in cells.items():
        if not text.strip():
            continue
        if column in TEXT_INDEX:
            row[column] = text.strip()
            continue
        value = _read_number(text.strip(), is_whole=column in _WHOLE)
        if isinstance(value, str):
            faults.append(InputFault(number, column, f"{column} {value}"))
        elif value is not None:
            row[column] = value
    return row, faults


def _read_number(text: str, *, is_whole: bool) -> float | int | str | None:
    """The number; None if it is NaN, which means missing; or, as a text, what is wrong."""
    shown = shown_name(text)
    try:
        if is_whole and text.lstrip("+-").isdecimal() and text.isascii() and len(text) < 20:
            return int(text)
        value = float(text) if "_" not in text else None
    except ValueError:
        value = None
    if value is None:
        hint = ": write it with a point, not a comma" if _is_with_comma(text) else ""
        return f"must be a number, not {shown!r}{hint}"
    if math.isnan(value):
        return None
    if is_whole:
        is_exact = math.isfinite(value) and value.is_integer() and abs(value) < 2**53
        return int(value) if is_exact else f"must be a whole number, not {shown!r}"
    return value


def _is_with_comma(text: str) -> bool:
    return text.count(",") == 1 and text.replace(",", "").lstrip("+-").isdecimal()


def _read_csv(text: str) -> Sequence[dict[str, Any]]:
    try:
        lines = [line for line in _parse_csv(text) if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise InvalidInput([InputFault(None, None, f"the text is not CSV: {error}")]) from None
    names = [column_name(name.strip()) for name in lines[0]] if lines else []
    _check_header(names, len(lines))
    if len(lines) - 1 > MAX_ROWS:
        raise TooManyRows
    rows: list[dict[str, Any]] = []
    faults: list[InputFault] = []
    for number, line in enumerate(lines[1:]):
        if len(line) != len(names):
            why = f"the line has {len(line)} values, and the header names {len(names)} columns"
            faults.append(InputFault(number, None, why))
            continue
        cells = {name: cell for name, cell in zip(names, line, strict=True) if name != _LABEL}
        row, found = _read_cells(cells, number)
        rows.append(row)
        faults += found
        if len(faults) >= _MAX_FAULTS:
            break
    if faults:
        raise InvalidInput(faults)
    return rows


def _parse_csv(text: str) -> list[list[str]]:
    first = text.splitlines()[0]
    delimiter = max(_DELIMITERS, key=first.count)
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))


def _check_header(names: Sequence[str], lines: int) -> None:
    known = {*NUMBER_INDEX, *TEXT_INDEX, *_WHOLE, _LABEL}
    if not any(name in known for name in names):
        why = "the text is neither JSON nor CSV: the first line of CSV must name the columns"
        raise InvalidInput([InputFault(None, None, why)])
    faults = []
    for name in names:
        if name in known and names.count(name) == 1:
            continue
        shown = name[:_SHOWN_CHARS]
        if name in known:
            faults.append(InputFault(None, shown, f"the header names {shown} twice"))
        else:
            similar = similar_column(shown)
            hint = f": did you mean {similar}?" if similar else f"; {FIELD_RULE}"
            faults.append(InputFault(None, shown, f"unknown column {shown!r}{hint}"))
        if len(faults) >= _MAX_FAULTS:
            break
    if faults:
        raise InvalidInput(faults)
    if lines == 1:
        why = "the CSV has a header and no line below it"
        raise InvalidInput([InputFault(None, None, why)])
