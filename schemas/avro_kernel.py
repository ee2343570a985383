"""The compiled loop: Avro bodies straight into columns.

Avro specification, "Binary Encoding". One pass, no object for a field; a record that breaks
the rules gets an error code and its neighbours go on.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled, inlined

# Error codes of a row; 0 is none.
TRUNCATED: Final = 1
TRAILING: Final = 2
BAD_BRANCH: Final = 3
BAD_VARINT: Final = 4
BAD_LENGTH: Final = 5
BAD_BOOLEAN: Final = 6
INCOMPATIBLE: Final = 7
MISSING: Final = 8
INFINITE: Final = 9

# Mirrors of avro_plan.Kind and Target: the compiler wants plain integers.
_NULL, _BOOLEAN, _VARINT, _FLOAT, _DOUBLE, _BYTES = 0, 1, 2, 3, 4, 5
_SKIP, _ID, _TIME, _EVENT_TIME, _NUMBER, _TEXT = 0, 1, 2, 3, 4, 5
_NO_TIME = np.iinfo(np.int64).min


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
def _little_endian(buf: Any, p: int, size: int) -> Any:
    word = np.uint64(0)
    for k in range(size):
        word |= np.uint64(buf[p + k]) << np.uint64(8 * k)
    return word


@compiled
def decode_avro(  # noqa: C901 - one compiled loop: a call for each field would cost more
    buf: NDArray[np.uint8],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    rows: NDArray[np.int64],
    target: NDArray[np.int8],
    slot: NDArray[np.int32],
    is_union: NDArray[np.bool_],
    first: NDArray[np.int32],
    kind: NDArray[np.int8],
    size: NDArray[np.int64],
    usable: NDArray[np.bool_],
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

    ``error[row]`` gets a code (0: none) and ``where[row]`` the writer's field index (-1: the
    record as a whole). ``not_ascii[row]`` says that a string has bytes beyond ASCII, which the
    caller must check to be UTF-8. ``amount`` is the number slot that must not be missing.
    """
    one = np.empty(1, np.uint64)
    as_double = one.view(np.float64)
    half = np.empty(1, np.uint32)
    as_float = half.view(np.float32)
    fields = target.shape[0]
    for i in range(begin.shape[0]):
        row = rows[i]
        p = begin[i]
        stop = end[i]
        code = 0
        at = -1
        ids[row] = 0
        times[row] = 0
        event_times[row] = _NO_TIME
        for k in range(numbers.shape[1]):
            numbers[row, k] = np.nan
        for k in range(lengths.shape[1]):
            lengths[row, k] = -1
            starts[row, k] = 0
        for f in range(fields):
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
                if to in (_ID, _TIME):
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
                    one[0] = _little_endian(buf, p, 8)
                    value = as_double[0]
                    numbers[row, slot[f]] = value
                    if np.isinf(value) and code == 0:
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
                    half[0] = np.uint32(_little_endian(buf, p, 4))
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
        if code == 0 and p != stop:
            code = TRAILING
        if code == 0 and np.isnan(numbers[row, amount]):
            code = MISSING
            at = -2
        error[row] = code
        where[row] = at
