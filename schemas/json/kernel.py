"""The compiled loop: JSON objects as producers write them, straight into columns.

It reads flat objects of plain ASCII whose values are numbers, strings and null, and leaves every
record with anything else, and every faulty one, to the reader in :mod:`schemas.json.codec`, which
alone decides and explains. What it reads, it reads to the same bits.

Numbers: of at most 2**53 in their digits and at most 22 in their decimal exponent, digits and
power of ten are exact doubles, so that one multiplication or division rounds correctly (Clinger,
"How to Read Floating Point Numbers Accurately", 1990); longer ones are handed back as spans.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled, inlined

MAX_NAME_BYTES: Final = 16
_WORD_BYTES: Final = 8
_SLOTS: Final = 2048
_SLOT_SHIFT: Final = np.uint64(53)  # leaves the 11 bits of a slot
_HASH_FIRST: Final = np.uint64(0x9E3779B97F4A7C15)
_HASH_SECOND: Final = np.uint64(0xC2B2AE3D27D4EB4F)

_QUOTE, _BACKSLASH, _COLON, _COMMA, _OPEN, _CLOSE = 0x22, 0x5C, 0x3A, 0x2C, 0x7B, 0x7D
_MINUS, _PLUS, _POINT, _ZERO, _NINE = 0x2D, 0x2B, 0x2E, 0x30, 0x39
_SPACE, _BEYOND_ASCII = 0x20, 0x80
_NULL: Final = np.uint64(int.from_bytes(b"null", "little"))
_TEN: Final = np.uint64(10)
_MAX_EXACT: Final = np.uint64(2**53)
_MAX_POWER: Final = 22
_MAX_DIGITS: Final = 18  # any so many fit 64 bits, with the sign
_MAX_EXPONENT: Final = 9999
_POWERS: Final = np.array([float(f"1e{k}") for k in range(_MAX_POWER + 1)])

# Eight bytes at once, as one word. A byte that is no digit gets its high bit set by the sum.
_EACH_BYTE: Final = np.uint64(0x0101010101010101)
_ZEROS: Final = np.uint64(0x30) * _EACH_BYTE
_LOW_BITS: Final = np.uint64(0x7F) * _EACH_BYTE
_HIGH_BITS: Final = np.uint64(0x80) * _EACH_BYTE
_BEYOND_NINE: Final = np.uint64(0x76) * _EACH_BYTE
_PAIRS: Final = np.uint64(0x00FF00FF00FF00FF)
_FOURS: Final = np.uint64(0x0000FFFF0000FFFF)
_LAST: Final = np.uint64(0x00000000FFFFFFFF)
_WHOLE_POWERS: Final = np.array([10**k for k in range(8)], np.uint64)

# Unsigned: a signed position is checked for being negative at each access.
_U0, _U1, _U8 = np.uint64(0), np.uint64(1), np.uint64(8)
_GIVE_UP: Final = -1
_NO_WHOLE: Final = np.iinfo(np.int64).min  # no 18 digits give this


class NameTable(NamedTuple):
    """Field names to columns: open addressing, a name as two words, -1 in ``column`` if empty.

    By column, for names of less than eight bytes: ``quoted`` is the name with its closing quote
    as a word, ``mask`` covers it, ``size`` is the name's length. No word is the others' ``quoted``.
    """

    first: NDArray[np.uint64]
    second: NDArray[np.uint64]
    column: NDArray[np.int64]
    quoted: NDArray[np.uint64]
    mask: NDArray[np.uint64]
    size: NDArray[np.uint64]


def build_names(columns: dict[str, int]) -> NameTable:
    """The table of these names; each has at most ``MAX_NAME_BYTES`` bytes."""
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
            raise ValueError(f"a field's name of {len(data)} bytes: {name}")
        padded = np.frombuffer(data.ljust(MAX_NAME_BYTES, b"\0"), np.uint8)
        put_name(table, padded, len(data), column)
        if len(data) < _WORD_BYTES and table.size[column] == 0:  # the first of its names
            table.quoted[column] = int.from_bytes(data + b'"', "little")
            table.mask[column] = (1 << 8 * (len(data) + 1)) - 1
            table.size[column] = len(data)
    return table


@inlined
def _word(buf: Any, p: Any) -> Any:
    word = _U0
    for k in range(8):  # the compiler makes one load of it
        word |= np.uint64(buf[p + np.uint64(k)]) << np.uint64(8 * k)
    return word


@inlined
def _first_bytes(word: Any, length: Any) -> Any:
    return word if length >= _U8 else word & ((_U1 << (_U8 * length)) - _U1)


@inlined
def _slot(first: Any, second: Any) -> Any:
    return ((first ^ (second * _HASH_SECOND)) * _HASH_FIRST) >> _SLOT_SHIFT


@compiled
def put_name(names: Any, buf: Any, length: int, column: int) -> None:
    """Put the name at the beginning of 16 bytes into a table that has room."""
    size = np.uint64(length)
    first = _first_bytes(_word(buf, _U0), size)
    second = _first_bytes(_word(buf, _U8), size - _U8) if size > _U8 else _U0
    slot = _slot(first, second)
    while names.column[slot] >= 0:
        slot = (slot + _U1) & np.uint64(_SLOTS - 1)
    names.first[slot] = first
    names.second[slot] = second
    names.column[slot] = column


@inlined
def _find_name(names: Any, buf: Any, p: Any, size: Any) -> Any:
    """Column of the name at ``p``, -1 if there is none such."""
    first = _first_bytes(_word(buf, p), size)
    second = _first_bytes(_word(buf, p + _U8), size - _U8) if size > _U8 else _U0
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
    # The records of a batch lie one behind the other: beyond this one's end are others' blanks,
    # and a record of blanks would be read through all of them, again for each.
    while _is_blank(buf[p]) and p < stop:
        p += _U1
    return p


@inlined
def _string_end(buf: Any, p: Any) -> Any:
    """Place of the closing quote, or of a byte that is none of a plain string."""
    while True:
        byte = buf[p]
        if byte in (_QUOTE, _BACKSLASH) or byte < _SPACE or byte >= _BEYOND_ASCII:
            return p
        p += _U1


@inlined
def _short_digits(word: Any) -> Any:
    """How many of a word's first bytes are digits, and their value; 0 and 0 if all eight are."""
    digits = word ^ _ZEROS
    others = (((digits & _LOW_BITS) + _BEYOND_NINE) | digits) & _HIGH_BITS
    if others == _U0:
        return _U0, _U0
    below = (others & (_U0 - others)) - _U1  # ones up to the first other byte
    count = (((below & _EACH_BYTE) * _EACH_BYTE) >> np.uint64(56)) - _U1
    if count == _U0:
        return _U0, _U0
    digits <<= np.uint64(64) - _U8 * count  # zeros before them, which is the low end
    digits = (digits * _TEN + (digits >> _U8)) & _PAIRS
    digits = (digits * np.uint64(100) + (digits >> np.uint64(16))) & _FOURS
    digits = (digits * np.uint64(10000) + (digits >> np.uint64(32))) & _LAST
    return count, digits


@compiled
def _short_number(buf: Any, p: Any) -> Any:
    """What :func:`_number` gives for up to seven digits before and after the point, or (0, …)."""
    count, value = _short_digits(_word(buf, p))
    begin = p
    p += count
    if count == _U0 or (count > _U1 and buf[begin] == _ZERO) or buf[p] | 0x20 == 0x65:
        return _U0, _U0, np.int64(0), False
    if buf[p] != _POINT:
        return p, value, np.int64(0), True
    count, decimals = _short_digits(_word(buf, p + _U1))
    p += _U1 + count
    if count == _U0 or buf[p] | 0x20 == 0x65:
        return _U0, _U0, np.int64(0), False
    return p, value * _WHOLE_POWERS[count] + decimals, -np.int64(count), False


@inlined
def _is_digit(byte: Any) -> Any:
    return byte >= _ZERO and byte <= _NINE


@compiled
def _number(buf: Any, p: Any) -> Any:
    """JSON number at ``p``: (position after it or 0, digits, decimal exponent, is it whole)."""
    nothing = (_U0, _U0, np.int64(0), False)
    digits = np.int64(0)
    value = _U0
    exponent = np.int64(0)
    is_whole = True
    begin = p
    while _is_digit(buf[p]):
        value = value * _TEN + np.uint64(buf[p] - _ZERO)
        digits += 1
        p += _U1
    if digits == 0 or (digits > 1 and buf[begin] == _ZERO):
        return nothing
    if buf[p] == _POINT:
        is_whole = False
        p += _U1
        point = p
        while _is_digit(buf[p]):
            value = value * _TEN + np.uint64(buf[p] - _ZERO)
            p += _U1
        if p == point:
            return nothing
        exponent = -np.int64(p - point)
        digits -= exponent
    if buf[p] | 0x20 == 0x65:  # e or E
        is_whole = False
        p += _U1
        is_negative = buf[p] == _MINUS
        if is_negative or buf[p] == _PLUS:
            p += _U1
        power = np.int64(0)
        begin = p
        while _is_digit(buf[p]) and power <= _MAX_EXPONENT:
            power = power * 10 + np.int64(buf[p] - _ZERO)
            p += _U1
        if p == begin or power > _MAX_EXPONENT:
            return nothing
        exponent += -power if is_negative else power
    if digits > _MAX_DIGITS:
        if is_whole:
            return nothing
        value = _MAX_EXACT + _U1  # it may have run over: not to be used
    return p, value, exponent, is_whole


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
    """One record into its row: the new number of odd numbers, or ``_GIVE_UP``.

    ``seen[column]`` is ``row`` once the column has come; one that comes twice is not for here.
    ``usual[column]`` is the column that came after it the last time, a guess that mostly holds.
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
        if _word(buf, begin) & names.mask[column] == names.quoted[column]:
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
        if byte == _MINUS or _is_digit(byte):
            begin = p
            is_negative = byte == _MINUS
            digits = p + _U1 if is_negative else p
            p, value, exponent, is_whole = _short_number(buf, digits)
            if p == _U0:
                p, value, exponent, is_whole = _number(buf, digits)
            if p == _U0 or (is_negative and is_whole and value == _U0):
                return _GIVE_UP
            is_exact = value <= _MAX_EXACT and abs(exponent) <= _MAX_POWER
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
        elif _first_bytes(_word(buf, p), np.uint64(4)) == _NULL:
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

    ``buf`` has at least 16 zeros after the last record. ``names`` gives number columns, then text
    columns, then the rows of ``wholes`` (id, time, event time), whose cells must be the lowest
    integer before. ``is_read[i]`` says whether the record was read; if not, its row may have been
    written to. ``odd`` ``[room, 4]`` gets row, column, begin and end of each number that is left
    to be parsed; how many there are is returned.
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
