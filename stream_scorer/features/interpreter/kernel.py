"""The compiled loops: a program of instructions, row by row, and its table look-ups.

They are in one file because numba recompiles a function only when the function's own file changed,
not when a function it calls in another file changed.

They use only additions, divisions and comparisons of IEEE-754 doubles, in a fixed order and
without fast-math: every machine and every batch size gives the same bits.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled, inlined
from stream_scorer.features.interpreter import instructions as kinds

_CENT_TOLERANCE: Final = 1e-4  # above the rounding of amount * 100, below a tenth of a cent
_SECONDS_AN_HOUR: Final = 3600
_SECONDS_A_DAY: Final = 86400
_PRIME: Final = np.uint64(1099511628211)
_MIX_FIRST: Final = np.uint64(0xFF51AFD7ED558CCD)
_MIX_SECOND: Final = np.uint64(0xC4CEB9FE1A85EC53)
_MIX_SHIFT: Final = np.uint64(33)

# Positions are unsigned: a signed position is checked for being negative at each access (Python's
# indexing rule), which costs more than the access itself.
_U0, _U1, _U2, _U3, _U8 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(8)
_LOW_HALF: Final = np.uint64(0xFFFFFFFF)
_HALF_BITS: Final = np.uint64(32)
_WORD_BITS: Final = 64
_SPACE: Final = 0x20
_ASCII: Final = 0x80


@compiled
def word_at(data: Any, start: Any, length: Any) -> Any:
    """Up to eight bytes from ``start`` on as a little-endian word, padded with zeros."""
    word = _U0
    if start + _U8 <= np.uint64(data.shape[0]):
        for k in range(8):  # compiles to one load
            word |= np.uint64(data[start + np.uint64(k)]) << np.uint64(8 * k)
        if length < _U8:
            word &= (_U1 << (_U8 * length)) - _U1
        return word
    for k in range(min(length, _U8)):
        word |= np.uint64(data[start + np.uint64(k)]) << np.uint64(8 * k)
    return word


@compiled
def hash_text(data: Any, start: Any, length: Any, word: Any) -> Any:
    """Hash of a string whose first eight bytes are ``word``."""
    h = word ^ length
    done = _U8
    while done < length:
        h = hash_bits(h, word_at(data, start + done, length - done))
        done += _U8
    return hash_bits(h, _U0)


@compiled
def hash_bits(first: Any, second: Any) -> Any:
    """One or two words (second 0 when there is one) through MurmurHash3's 64-bit finalizer.

    Small integers differ only in a double's high bits, and a slot is the hash's low bits. Without
    the shifts before and between the multiplications they would share a few slots.
    """
    h = first ^ (second * _PRIME)
    h = (h ^ (h >> _MIX_SHIFT)) * _MIX_FIRST
    h = (h ^ (h >> _MIX_SHIFT)) * _MIX_SECOND
    return h ^ (h >> _MIX_SHIFT)


@compiled
def find_text(tables: Any, table: int, data: Any, start: Any, length: Any) -> Any:
    """Row of a string in one of the tables; the row of an empty slot if it is not there."""
    word = word_at(data, start, length)
    mask = tables.mask[table]
    slot = hash_text(data, start, length, word) & mask
    while True:
        s = tables.base[table] + slot
        meta = tables.words[s, 1]
        if meta == _U0:
            return s
        if tables.words[s, 0] == word and (meta & _LOW_HALF) == length + _U1:
            at = meta >> _HALF_BITS
            done = _U8
            while done < length and word_at(data, start + done, length - done) == word_at(
                tables.keys, at + done, length - done
            ):
                done += _U8
            if done >= length:
                return s
        slot = (slot + _U1) & mask


@compiled
def find_number(tables: Any, table: Any, first: Any, second: Any) -> Any:
    """Row of a number (or pair) in one of the tables; the row of an empty slot if not there."""
    mask = tables.mask[table]
    slot = hash_bits(first, second) & mask
    while True:
        s = tables.base[table] + slot
        if tables.words[s, 2] == _U0:
            return s
        if tables.words[s, 0] == first and tables.words[s, 1] == second:
            return s
        slot = (slot + _U1) & mask


@compiled
def hash_numbers(first: Any, second: Any, out: Any) -> None:
    """The hash of each pair of words."""
    for i in range(out.shape[0]):
        out[i] = hash_bits(first[i], second[i])


@compiled
def hash_texts(data: Any, starts: Any, lengths: Any, out: Any) -> None:
    """The hash of each string ``data[start : start + length]``."""
    for i in range(out.shape[0]):
        out[i] = hash_text(data, starts[i], lengths[i], word_at(data, starts[i], lengths[i]))


@compiled
def build_features(  # noqa: C901 -- a call for each instruction would be slower
    times: NDArray[np.int64],
    numbers: NDArray[np.float64],
    text: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    code: Any,
    texts: Any,
    keyed: Any,
    saved: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Fill ``out`` ``[n, features]`` by the instructions of ``code``, row by row.

    ``texts`` and ``keyed`` are the tables of strings and of numbers. ``saved`` is room for one
    double for each table of strings.
    """
    n_numbers, n_texts = np.uint64(numbers.shape[1]), np.uint64(lengths.shape[1])
    cells, values = out.reshape(-1), numbers.reshape(-1)
    begin, size = starts.reshape(-1), lengths.reshape(-1)
    at, op = code.operands, code.instructions
    for r in range(out.shape[0]):
        row = np.uint64(r) * np.uint64(out.shape[1])
        number, string = np.uint64(r) * n_numbers, np.uint64(r) * n_texts
        missing = _U0
        for i in range(op.shape[0]):
            kind = op[i, 0]
            p = row + op[i, 1]
            n = np.int64(op[i, 2])
            a = op[i, 3]
            extra = op[i, 4]
            if kind == kinds.COPY_RUN:
                c = number + at[a]
                if extra == _U0:
                    for j in range(n):
                        cells[p + np.uint64(j)] = values[c + np.uint64(j)]
                else:
                    for j in range(n):
                        value = values[c + np.uint64(j)]
                        cells[p + np.uint64(j)] = value
                        missing += np.uint64(value != value)
            elif kind == kinds.COPY_LIST:
                for j in range(n):
                    value = values[number + at[a + np.uint64(j)]]
                    cells[p + np.uint64(j)] = value
                    missing += extra * np.uint64(value != value)
            elif kind == kinds.CODE:
                tables = a + np.uint64(n)
                for j in range(n):
                    c = string + at[a + np.uint64(j)]
                    table = at[tables + np.uint64(j)]
                    found = np.nan
                    other = np.nan
                    length = size[c]
                    if length < 0:
                        missing += extra
                    else:
                        s = find_text(texts, table, text, np.uint64(begin[c]), np.uint64(length))
                        found = texts.values[s, 2]
                        other = texts.values[s, 3]
                    cells[p + np.uint64(j)] = found
                    saved[table] = other
            elif kind == kinds.SAVED_SHARE:
                for j in range(n):
                    cells[p + np.uint64(j)] = saved[at[a + np.uint64(j)]]
            elif kind == kinds.TEXT_SHARE:
                c = string + at[a]
                cells[p] = np.nan
                if size[c] >= 0:
                    start, length = np.uint64(begin[c]), np.uint64(size[c])
                    s = find_text(texts, at[a + _U1], text, start, length)
                    cells[p] = texts.values[s, 3]
            elif kind == kinds.NUMBER_SHARE:
                tables = a + np.uint64(n)
                for j in range(n):
                    value = values[number + at[a + np.uint64(j)]]
                    cells[p + np.uint64(j)] = _share(keyed, at[tables + np.uint64(j)], value, 0.0)
            elif kind == kinds.PAIR_SHARE:
                first, second = values[number + at[a]], values[number + at[a + _U1]]
                cells[p] = _share(keyed, at[a + _U2], first, second)
            elif kind == kinds.RATIO:
                amount = values[number + at[a]]
                key = values[number + at[a + _U1]]
                mean = np.nan
                if key == key:
                    mean = keyed.values[find_number(keyed, at[a + _U2], _bits(key), _U0), 3]
                cells[p] = amount / mean
            elif kind == kinds.CENTS:
                amount = values[number + at[a]]
                cells[p] = np.floor(amount * 100.0 + 0.5) - np.floor(amount) * 100.0
            elif kind == kinds.CENT_FRACTION:
                hundred = values[number + at[a]] * 100.0
                away = abs(hundred - np.floor(hundred + 0.5))
                cells[p] = 1.0 if away > _CENT_TOLERANCE else 0.0
            elif kind == kinds.HOUR:
                cells[p] = np.float64((times[r] // _SECONDS_AN_HOUR) % 24)
            elif kind == kinds.WEEKDAY:
                cells[p] = np.float64((times[r] // _SECONDS_A_DAY) % 7)
            elif kind == kinds.EQUAL:
                x, y = string + at[a], string + at[a + _U1]
                cells[p] = _equal(text, begin[x], size[x], begin[y], size[y])
            elif kind == kinds.MISSING_COUNT:
                total = _U0
                if extra & _U1 != _U0:
                    total = missing
                middle = a + (extra >> _U1)
                for j in range(a, middle):
                    value = values[number + at[j]]
                    total += np.uint64(value != value)
                for j in range(middle, a + np.uint64(n)):
                    total += np.uint64(size[string + at[j]] < 0)
                cells[p] = np.float64(total)
            elif kind == kinds.DIFFERENCE:
                cells[p] = values[number + at[a]] - values[number + at[a + _U1]]
            elif kind == kinds.MINUS_DAY:
                day = np.float64(times[r] // _SECONDS_A_DAY)
                for j in range(n):
                    cells[p + np.uint64(j)] = values[number + at[a + np.uint64(j)]] - day
            elif kind == kinds.MISSING_PATTERN:
                first_bits, second_bits = _U0, _U0
                for j in range(n):
                    c = at[a + np.uint64(j)]
                    if np.uint64(j) < extra:
                        value = values[number + c]
                        is_missing = value != value
                    else:
                        is_missing = size[string + c] < 0
                    if j < _WORD_BITS:
                        first_bits |= np.uint64(is_missing) << np.uint64(j)
                    else:
                        second_bits |= np.uint64(is_missing) << np.uint64(j - _WORD_BITS)
                s = find_number(keyed, at[a + np.uint64(n)], first_bits, second_bits)
                cells[p] = keyed.values[s, 3]
            elif kind == kinds.TEXT_PART:
                tables = a + np.uint64(n)
                low, high = at[tables + np.uint64(n)], at[tables + np.uint64(n) + _U1]
                for j in range(n):
                    c = string + at[a + np.uint64(j)]
                    found = np.nan
                    if size[c] >= 0:
                        start, length = part_of(text, begin[c], size[c], low, high, extra != _U0)
                        table = at[tables + np.uint64(j)]
                        s = find_text(texts, table, text, np.uint64(start), np.uint64(length))
                        found = texts.values[s, 2]
                    cells[p + np.uint64(j)] = found


@inlined
def _bits(value: Any) -> Any:
    return np.float64(value + 0.0).view(np.uint64)  # -0.0 becomes 0.0: equal numbers, equal bits


@compiled
def _share(tables: Any, table: int, first: float, second: float) -> float:
    if np.isnan(first) or np.isnan(second):
        return float(np.nan)
    return float(tables.values[find_number(tables, table, _bits(first), _bits(second)), 3])


@compiled
def _equal(text: Any, first: int, first_length: int, second: int, second_length: int) -> float:
    if first_length < 0 or second_length < 0:
        return float(np.nan)
    if first_length != second_length:
        return 0.0
    one, other = np.uint64(first), np.uint64(second)
    left = np.uint64(first_length)
    while left > _U0:
        if word_at(text, one, left) != word_at(text, other, left):
            return 0.0
        step = min(left, _U8)
        one += step
        other += step
        left -= step
    return 1.0


@compiled
def parts_of(
    text: Any, begin: Any, size: Any, low: Any, high: Any, is_last: Any, starts: Any, lengths: Any
) -> None:
    """The part of each string as ``starts`` and ``lengths``; a missing one stays missing."""
    for r in range(size.shape[0]):
        starts[r], lengths[r] = begin[r], size[r]
        if size[r] >= 0:
            starts[r], lengths[r] = part_of(text, begin[r], size[r], low, high, is_last)


@compiled
def part_of(text: Any, start: Any, length: Any, low: Any, high: Any, is_last: Any) -> Any:
    """Start and length of a string's part before its first separator, or after its last one.

    The separators are the ASCII characters whose bits are set in ``low`` (0 to 63) and ``high``.
    Without any the part is the whole string. Spaces at its ends are left out.
    """
    first, end = np.int64(start), np.int64(start) + np.int64(length)
    if is_last:
        i = end
        while i > first and not _is_separator(text[np.uint64(i - 1)], low, high):
            i -= 1
        first = i
    else:
        i = first
        while i < end and not _is_separator(text[np.uint64(i)], low, high):
            i += 1
        end = i
    while first < end and text[np.uint64(first)] == _SPACE:
        first += 1
    while first < end and text[np.uint64(end - 1)] == _SPACE:
        end -= 1
    return first, end - first


@compiled
def _is_separator(byte: Any, low: Any, high: Any) -> bool:
    if byte >= _ASCII:
        return False
    bits = low if byte < _WORD_BITS else high
    return bool((bits >> np.uint64(byte & (_WORD_BITS - 1))) & _U1 != _U0)
