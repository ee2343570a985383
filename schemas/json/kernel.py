"""The compiled loop: JSON objects as producers write them, straight into columns.

It reads flat objects of plain ASCII whose values are numbers, strings and null. Any other record,
and every invalid one, goes to the reader in :mod:`schemas.json.codec`, which alone rejects records
and names the faults. What both can read, both read to the same bits.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled, inlined
from schemas.json.number_kernel import (
    MAX_EXACT,
    MAX_POWER,
    is_digit,
    read_number,
    read_short_number,
    word_at,
)

NUMBER_KERNEL_SHA256: Final = "d28b8eb6057c0bf7b58b5d593414ca7872c1de35ef667561110bbe3f5426fedb"
"""Of ``number_kernel.py``, which is compiled into these loops. numba's cache on disk is valid while
this file is unchanged, so a change over there must change this one."""

MAX_NAME_BYTES: Final = 16
_WORD_BYTES: Final = 8
_SLOTS: Final = 2048
_SLOT_SHIFT: Final = np.uint64(53)  # leaves the 11 bits of a slot
_HASH_FIRST: Final = np.uint64(0x9E3779B97F4A7C15)
_HASH_SECOND: Final = np.uint64(0xC2B2AE3D27D4EB4F)

_QUOTE, _BACKSLASH, _COLON, _COMMA, _OPEN, _CLOSE = 0x22, 0x5C, 0x3A, 0x2C, 0x7B, 0x7D
_MINUS = 0x2D
_SPACE, _BEYOND_ASCII = 0x20, 0x80
_NULL: Final = np.uint64(int.from_bytes(b"null", "little"))
_POWERS: Final = np.array([float(f"1e{k}") for k in range(MAX_POWER + 1)])

# Unsigned: a signed position is checked for being negative at each access.
_U0, _U1, _U8 = np.uint64(0), np.uint64(1), np.uint64(8)
_GIVE_UP: Final = -1
_NO_WHOLE: Final = np.iinfo(np.int64).min  # no 18 digits give this


class NameTable(NamedTuple):
    """Field names to columns: open addressing, a name as two words, -1 in ``column`` if empty.

    Three arrays are indexed by column, for names shorter than eight bytes: ``quoted`` is the name
    with its closing quote as a word, ``mask`` covers these bytes, ``size`` is the name's length.
    For the other columns, no word in the input matches ``quoted``.
    """

    first: NDArray[np.uint64]
    second: NDArray[np.uint64]
    column: NDArray[np.int64]
    quoted: NDArray[np.uint64]
    mask: NDArray[np.uint64]
    size: NDArray[np.uint64]


def build_names(columns: dict[str, int]) -> NameTable:
    """The table of the given names; each may have at most ``MAX_NAME_BYTES`` bytes."""
    n = len(set(columns.values()))
    table = NameTable(
        np.zeros(_SLOTS, np.uint64),
        np.zeros(_SLOTS, np.uint64),
        np.full(_SLOTS, -1, np.int64),
        np.ones(n, np.uint64),
        np.zeros(n, np.uint64),
        np.zeros(n, np.uint64),
    )
    for name, column in columns.items():
        data = name.encode("ascii")
        if not 0 < len(data) <= MAX_NAME_BYTES:
            raise ValueError(
                f"field name {name!r} has {len(data)} bytes, not 1 to {MAX_NAME_BYTES}"
            )
        padded = np.frombuffer(data.ljust(MAX_NAME_BYTES, b"\0"), np.uint8)
        put_name(table, padded, len(data), column)
        if len(data) < _WORD_BYTES and table.size[column] == 0:  # the column's first name
            table.quoted[column] = int.from_bytes(data + b'"', "little")
            table.mask[column] = (1 << 8 * (len(data) + 1)) - 1
            table.size[column] = len(data)
    return table


@inlined
def _first_bytes(word: Any, length: Any) -> Any:
    return word if length >= _U8 else word & ((_U1 << (_U8 * length)) - _U1)


@inlined
def _slot(first: Any, second: Any) -> Any:
    return ((first ^ (second * _HASH_SECOND)) * _HASH_FIRST) >> _SLOT_SHIFT


@compiled
def put_name(names: Any, buf: Any, length: int, column: int) -> None:
    """Insert the name in the first ``length`` of 16 bytes into a table that has room."""
    size = np.uint64(length)
    first = _first_bytes(word_at(buf, _U0), size)
    second = _first_bytes(word_at(buf, _U8), size - _U8) if size > _U8 else _U0
    slot = _slot(first, second)
    while names.column[slot] >= 0:
        slot = (slot + _U1) & np.uint64(_SLOTS - 1)
    names.first[slot] = first
    names.second[slot] = second
    names.column[slot] = column


@inlined
def _find_name(names: Any, buf: Any, p: Any, size: Any) -> Any:
    """Column of the name at ``p``, or -1 if it is not in the table."""
    first = _first_bytes(word_at(buf, p), size)
    second = _first_bytes(word_at(buf, p + _U8), size - _U8) if size > _U8 else _U0
    slot = _slot(first, second)
    column = names.column[slot]
    while column >= 0 and (names.first[slot] != first or names.second[slot] != second):
        slot = (slot + _U1) & np.uint64(_SLOTS - 1)
        column = names.column[slot]
    return column if size <= np.uint64(MAX_NAME_BYTES) else np.int64(-1)


@inlined
def _is_blank(byte: Any) -> Any:
    return byte <= _SPACE and byte in (_SPACE, 0x09, 0x0A, 0x0D)


@inlined
def _past_blanks(buf: Any, p: Any, stop: Any) -> Any:
    # The records of a batch are contiguous. Without the check of `stop`, a record of blanks would
    # read through all blank records after it, and so would each of those.
    while _is_blank(buf[p]) and p < stop:
        p += _U1
    return p


@inlined
def _string_end(buf: Any, p: Any) -> Any:
    """Position of the closing quote, or of the first byte that a plain string cannot have."""
    while True:
        byte = buf[p]
        if byte in (_QUOTE, _BACKSLASH) or byte < _SPACE or byte >= _BEYOND_ASCII:
            return p
        p += _U1


@compiled
def _read_object(  # noqa: C901 - one compiled loop
    buf: Any,
    p: Any,
    stop: Any,
    names: Any,
    amount: int,
    row: int,
    seen: Any,
    usual: Any,
    wholes: Any,
    numbers: Any,
    starts: Any,
    lengths: Any,
    odd: Any,
    n_odd: Any,
) -> Any:
    """Read one record into its row; returns the new count of odd numbers, or ``_GIVE_UP``.

    ``seen[column]`` is ``row`` once the column was read; a repeated column is left to the codec.
    ``usual[column]`` is the column that followed it the last time, which is usually right.
    """
    before = np.int64(0)
    n_numbers = numbers.shape[1]
    n_columns = n_numbers + lengths.shape[1]
    p = _past_blanks(buf, p, stop)
    if buf[p] != _OPEN:
        return _GIVE_UP
    while True:
        p = _past_blanks(buf, p + _U1, stop)
        if buf[p] != _QUOTE:
            return _GIVE_UP
        begin = p + _U1
        column = usual[before]
        if word_at(buf, begin) & names.mask[column] == names.quoted[column]:
            p = begin + names.size[column]
        else:
            p = _string_end(buf, begin)
            if buf[p] != _QUOTE:
                return _GIVE_UP
            column = _find_name(names, buf, begin, p - begin)
            if column >= 0:
                usual[before] = column
        if column >= 0:
            before = column
        p = _past_blanks(buf, p + _U1, stop)
        if buf[p] != _COLON:
            return _GIVE_UP
        p = _past_blanks(buf, p + _U1, stop)
        if column >= 0:
            if seen[column] == row:
                return _GIVE_UP
            seen[column] = row
        byte = buf[p]
        if byte == _MINUS or is_digit(byte):
            begin = p
            is_negative = byte == _MINUS
            digits = p + _U1 if is_negative else p
            p, value, exponent, is_whole = read_short_number(buf, digits)
            if p == _U0:
                p, value, exponent, is_whole = read_number(buf, digits)
            if p == _U0 or (is_negative and is_whole and value == _U0):
                return _GIVE_UP
            is_exact = value <= MAX_EXACT and abs(exponent) <= MAX_POWER
            if 0 <= column < n_numbers:
                if is_exact:
                    number = np.float64(value)
                    if exponent < 0:
                        number /= _POWERS[-exponent]
                    else:
                        number *= _POWERS[exponent]
                    numbers[row, column] = -number if is_negative else number
                else:
                    if n_odd == odd.shape[0]:
                        return _GIVE_UP
                    numbers[row, column] = 0.0  # not missing
                    odd[n_odd, 0] = row
                    odd[n_odd, 1] = column
                    odd[n_odd, 2] = np.int64(begin)
                    odd[n_odd, 3] = np.int64(p)
                    n_odd += 1
            elif column >= n_columns:
                if not is_whole:
                    return _GIVE_UP
                whole = np.int64(value)
                wholes[column - n_columns, row] = -whole if is_negative else whole
            elif column >= 0 or not is_exact:
                return _GIVE_UP
        elif byte == _QUOTE:
            begin = p + _U1
            p = _string_end(buf, begin)
            if buf[p] != _QUOTE:
                return _GIVE_UP
            if n_numbers <= column < n_columns:
                starts[row, column - n_numbers] = np.int64(begin)
                lengths[row, column - n_numbers] = np.int32(p - begin)
            elif column >= 0:
                return _GIVE_UP
            p += _U1
        elif _first_bytes(word_at(buf, p), np.uint64(4)) == _NULL:
            p += np.uint64(4)
        else:
            return _GIVE_UP
        p = _past_blanks(buf, p, stop)
        if buf[p] != _COMMA:
            break
    if buf[p] != _CLOSE:
        return _GIVE_UP
    p = _past_blanks(buf, p + _U1, stop)
    if p != stop or np.isnan(numbers[row, amount]):
        return _GIVE_UP
    return n_odd


@compiled
def decode_json(
    buf: NDArray[np.uint8],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    rows: NDArray[np.int64],
    names: Any,
    amount: int,
    wholes: NDArray[np.int64],
    numbers: NDArray[np.float64],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    odd: NDArray[np.int64],
    is_read: NDArray[np.bool_],
) -> int:
    """Read the records ``buf[begin[i]:end[i]]`` into rows ``rows[i]`` of columns that are missing.

    ``buf`` must have at least 16 zeros after the last record. ``names`` numbers the number columns,
    then the text columns, then the rows of ``wholes`` (id, time, event time); the cells of
    ``wholes`` must be initialised to the lowest integer. ``is_read[i]`` is set if the record was
    read; if not, its row may be partly written. ``odd`` ``[room, 4]`` gets row, column, begin and
    end of each number that the caller must parse. Returns how many there are.
    """
    seen = np.full(numbers.shape[1] + lengths.shape[1] + wholes.shape[0], -1, np.int64)
    usual = np.zeros(seen.shape[0], np.int64)
    n_odd = np.int64(0)
    for i in range(begin.shape[0]):
        row = rows[i]
        found = _read_object(
            buf,
            np.uint64(begin[i]),
            np.uint64(end[i]),
            names,
            amount,
            row,
            seen,
            usual,
            wholes,
            numbers,
            starts,
            lengths,
            odd,
            n_odd,
        )
        is_read[i] = (
            found != _GIVE_UP and wholes[0, row] != _NO_WHOLE and wholes[1, row] != _NO_WHOLE
        )
        if is_read[i]:
            n_odd = np.int64(found)
    return int(n_odd)
