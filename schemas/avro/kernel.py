"""The compiled loop: Avro bodies straight into columns.

Avro specification, "Binary Encoding". One pass, without an object per field. An invalid record
gets an error code, and the other records are still decoded.

Runs of the common fields (nullable doubles, nullable strings) have their own short loop. It gives
up on any unusual value; then, and for all other fields, the full loop decides.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled, inlined

# Copies of schemas.body_faults and of contracts.MAX_TIME_SECONDS: machine code is cached by this
# file's time alone.
TRUNCATED, TRAILING, BAD_BRANCH, BAD_VARINT, BAD_LENGTH, BAD_BOOLEAN = 1, 2, 3, 4, 5, 6
INCOMPATIBLE, MISSING, INFINITE, BAD_TIME, BAD_SYMBOL = 7, 8, 9, 10, 11
MAX_TIME_SECONDS: Final = 3_155_760_000

# Copies of plan.FieldKind, Target and Run: the compiler needs plain integers.
_NULL, _BOOLEAN, _VARINT, _FLOAT, _DOUBLE, _BYTES = 0, 1, 2, 3, 4, 5
_SKIP, _ID, _TIME, _EVENT_TIME, _NUMBER, _TEXT = 0, 1, 2, 3, 4, 5
_DOUBLES, _STRINGS = 1, 2
_NO_TIME = np.iinfo(np.int64).min

# Positions in the short loops are unsigned: a signed position is checked for being negative at
# each access (Python's indexing rule), which costs more than the access itself.
_U0, _U1, _U2, _U8 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(8)
_NAN = np.float64(np.nan).view(np.uint64)
_INFINITY_SHIFTED = np.uint64(0xFFE0000000000000)  # both infinities without the sign
_HIGH_BITS = np.uint64(0x8080808080808080)
_ODD: Final = -1  # a short loop gave up


@inlined
def _varint(buf: Any, p: int, end: int) -> Any:
    """Zig-zag varint at ``p``: (value, next position, error)."""
    value = np.uint64(0)
    shift = np.uint64(0)
    for _ in range(10):  # a 64-bit varint has at most ten bytes
        if p >= end:
            return np.int64(0), p, TRUNCATED
        byte = buf[p]
        p += 1
        value |= np.uint64(byte & 0x7F) << shift
        if byte < 0x80:
            if shift == np.uint64(63) and byte > 1:  # more than 64 bits
                return np.int64(0), p, BAD_VARINT
            return np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1)), p, 0
        shift += np.uint64(7)
    return np.int64(0), p, BAD_VARINT


@inlined
def _little_endian(buf: Any, p: Any, size: int) -> Any:
    word = np.uint64(0)
    for k in range(size):
        word |= np.uint64(buf[p + np.uint64(k)]) << np.uint64(8 * k)
    return word


@compiled
def _doubles(
    buf: Any, p: Any, slot: Any, first: int, last: int, null: Any, numbers: Any, at: Any
) -> Any:
    """Read fields of [null, double] (null index 0) or [double, null] (2) from ``p`` on.

    Writes the doubles' bits from ``numbers[at]`` on. Returns the position after the last field,
    or ``_ODD`` if a union index or a value is unusual.
    """
    present = _U2 - null
    infinite = False
    for f in range(first, last):
        index = np.uint64(buf[p])
        if index == null:
            numbers[at + slot[f]] = _NAN
            p += _U1
        elif index == present:
            word = _little_endian(buf, p + _U1, 8)
            numbers[at + slot[f]] = word
            infinite |= (word << _U1) == _INFINITY_SHIFTED
            p += _U1 + _U8
        else:
            return _ODD
    return _ODD if infinite else np.int64(p)


@compiled
def _strings(
    buf: Any,
    p: Any,
    slot: Any,
    first: int,
    last: int,
    null: Any,
    starts: Any,
    lengths: Any,
    at: Any,
) -> Any:
    """The same for nullable strings; 64 bytes or more, or not ASCII, gives ``_ODD``."""
    begin = p
    present = _U2 - null
    for f in range(first, last):
        index = np.uint64(buf[p])
        if index == null:
            starts[at + slot[f]] = 0
            lengths[at + slot[f]] = -1
            p += _U1
        elif index == present:
            twice = np.uint64(buf[p + _U1])  # zig-zag of a length that fits one byte
            if twice & np.uint64(0x81):
                return _ODD
            starts[at + slot[f]] = np.int64(p + _U2)
            lengths[at + slot[f]] = np.int32(twice >> _U1)
            p += _U2 + (twice >> _U1)
        else:
            return _ODD
    high = _U0
    while begin + _U8 <= p:
        high |= _little_endian(buf, begin, 8)
        begin += _U8
    while begin < p:
        high |= np.uint64(buf[begin])
        begin += _U1
    return _ODD if high & _HIGH_BITS else np.int64(p)


@compiled
def decode_avro(  # noqa: C901 - one compiled loop: a call for each field would cost more
    buf: NDArray[np.uint8],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    rows: NDArray[np.int64],
    target: NDArray[np.int8],
    slot: NDArray[np.uint32],
    is_union: NDArray[np.bool_],
    first: NDArray[np.int32],
    kind: NDArray[np.int8],
    size: NDArray[np.int64],
    usable: NDArray[np.bool_],
    run_first: NDArray[np.int64],
    run_kind: NDArray[np.int8],
    run_null: NDArray[np.uint64],
    run_room: NDArray[np.int64],
    absent_numbers: NDArray[np.int64],
    absent_texts: NDArray[np.int64],
    amount: int,
    ids: NDArray[np.int64],
    times: NDArray[np.int64],
    event_times: NDArray[np.int64],
    numbers: NDArray[np.float64],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    error: NDArray[np.int8],
    where: NDArray[np.int32],
    not_ascii: NDArray[np.bool_],
) -> None:
    """Decode the bodies ``buf[begin[i]:end[i]]`` into row ``rows[i]`` of the columns.

    Every cell of a row without an error is written. ``error[row]`` gets a code (0: none) and
    ``where[row]`` the writer's field index (-1: the record as a whole). ``not_ascii[row]`` is set
    if a string has bytes beyond ASCII; the caller must then check that it is UTF-8. ``amount`` is
    the number slot that must not be missing. ``buf`` should have a few kilobytes of padding: runs
    too close to its end are read field by field.
    """
    one = np.empty(1, np.uint64)
    as_double = one.view(np.float64)
    half = np.empty(1, np.uint32)
    as_float = half.view(np.float32)
    bits = numbers.reshape(-1).view(np.uint64)
    begins = starts.reshape(-1)
    sizes = lengths.reshape(-1)
    for i in range(begin.shape[0]):
        row = rows[i]
        p = begin[i]
        stop = end[i]
        code = 0
        at = -1
        event_times[row] = _NO_TIME
        for k in range(absent_numbers.shape[0]):
            numbers[row, absent_numbers[k]] = np.nan
        for k in range(absent_texts.shape[0]):
            lengths[row, absent_texts[k]] = -1
            starts[row, absent_texts[k]] = 0
        for run in range(run_kind.shape[0]):
            begun = run_first[run]
            ended = run_first[run + 1]
            after = np.int64(_ODD)
            if p + run_room[run] <= buf.shape[0]:
                start = np.uint64(p)
                null = run_null[run]
                if run_kind[run] == _DOUBLES:
                    cell = np.uint64(row) * np.uint64(numbers.shape[1])
                    after = _doubles(buf, start, slot, begun, ended, null, bits, cell)
                elif run_kind[run] == _STRINGS:
                    cell = np.uint64(row) * np.uint64(lengths.shape[1])
                    after = _strings(buf, start, slot, begun, ended, null, begins, sizes, cell)
            if after != _ODD and after <= stop:
                p = after
                continue
            for f in range(begun, ended):
                b = first[f]
                if is_union[f]:
                    if p < stop and buf[p] < 0x80 and (buf[p] & 1) == 0:
                        index = np.int64(buf[p] >> 1)
                        p += 1
                    else:
                        index, p, code = _varint(buf, p, stop)
                    if code == 0 and (index < 0 or index >= first[f + 1] - b):
                        code = BAD_BRANCH
                    if code != 0:
                        at = f
                        break
                    b += index
                what = kind[b]
                to = target[f]
                if what == _NULL:
                    if to == _NUMBER:
                        numbers[row, slot[f]] = np.nan
                    elif to == _TEXT:
                        starts[row, slot[f]] = 0
                        lengths[row, slot[f]] = -1
                    elif to in (_ID, _TIME):
                        code = MISSING
                        at = f
                        break
                    continue
                if not usable[b]:
                    code = INCOMPATIBLE
                    at = f
                    break
                if what == _DOUBLE:
                    if p + 8 > stop:
                        code = TRUNCATED
                        at = f
                        break
                    if to == _NUMBER:
                        one[0] = _little_endian(buf, np.uint64(p), 8)
                        value = as_double[0]
                        numbers[row, slot[f]] = value
                        if np.isinf(value):
                            code = INFINITE
                            at = f
                            break
                    p += 8
                elif what == _BYTES:
                    length, p, code = _varint(buf, p, stop)
                    if code == 0 and (length < 0 or length > stop - p):
                        code = BAD_LENGTH
                    if code != 0:
                        at = f
                        break
                    if to == _TEXT:
                        starts[row, slot[f]] = p
                        lengths[row, slot[f]] = length
                        high = np.uint8(0)
                        for k in range(p, p + length):
                            high |= buf[k]
                        if high >= 0x80:
                            not_ascii[row] = True
                    p += length
                elif what == _VARINT:
                    whole, p, code = _varint(buf, p, stop)
                    if code == 0 and size[b] > 0 and (whole < 0 or whole >= size[b]):
                        code = BAD_SYMBOL
                    if code != 0:
                        at = f
                        break
                    if to == _ID:
                        ids[row] = whole
                    elif to == _TIME:
                        times[row] = whole
                    elif to == _EVENT_TIME:
                        event_times[row] = whole
                    elif to == _NUMBER:
                        numbers[row, slot[f]] = np.float64(whole)
                elif what == _FLOAT:
                    if p + 4 > stop:
                        code = TRUNCATED
                        at = f
                        break
                    if to == _NUMBER:
                        half[0] = np.uint32(_little_endian(buf, np.uint64(p), 4))
                        value = np.float64(as_float[0])
                        numbers[row, slot[f]] = value
                        if np.isinf(value):
                            code = INFINITE
                            at = f
                            break
                    p += 4
                elif what == _BOOLEAN:
                    if p >= stop or buf[p] > 1:
                        code = TRUNCATED if p >= stop else BAD_BOOLEAN
                        at = f
                        break
                    p += 1
                else:
                    if p + size[b] > stop:
                        code = TRUNCATED
                        at = f
                        break
                    p += size[b]
            if code != 0:
                break
        if code == 0 and p != stop:
            code = TRAILING
        if code == 0 and np.isnan(numbers[row, amount]):
            code = MISSING
            at = -2
        if code == 0 and (times[row] < 0 or times[row] > MAX_TIME_SECONDS):
            code = BAD_TIME
        error[row] = code
        where[row] = at
