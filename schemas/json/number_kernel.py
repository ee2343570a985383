"""The compiled reader of one JSON number, for :mod:`schemas.json.kernel`.

A number with at most 2**53 in its digits and at most 22 in its decimal exponent is exact: digits
and power of ten are exact doubles, so one multiplication or division rounds correctly (Clinger,
"How to Read Floating Point Numbers Accurately", 1990). The caller parses all other numbers itself.

After a change here, put this file's new digest into ``kernel.py`` (a test prints it).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from schemas.compiled import compiled, inlined

MAX_EXACT: Final = np.uint64(2**53)
MAX_POWER: Final = 22

_MINUS, _PLUS, _POINT, _ZERO, _NINE = 0x2D, 0x2B, 0x2E, 0x30, 0x39
_TEN: Final = np.uint64(10)
_MAX_DIGITS: Final = 18  # any number with this many digits fits 64 bits, with its sign
_MAX_EXPONENT: Final = 9999

# Eight bytes at once, as one word. The sum sets the high bit of each byte that is not a digit.
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


@inlined
def word_at(buf: Any, p: Any) -> Any:
    """Eight bytes from ``p`` on as one little-endian word."""
    word = _U0
    for k in range(8):  # compiles to one load
        word |= np.uint64(buf[p + np.uint64(k)]) << np.uint64(8 * k)
    return word


@inlined
def _short_digits(word: Any) -> Any:
    """The number of leading digits in a word, and their value; 0 and 0 if all eight are digits."""
    digits = word ^ _ZEROS
    others = (((digits & _LOW_BITS) + _BEYOND_NINE) | digits) & _HIGH_BITS
    if others == _U0:
        return _U0, _U0
    below = (others & (_U0 - others)) - _U1  # ones up to the first byte that is not a digit
    count = (((below & _EACH_BYTE) * _EACH_BYTE) >> np.uint64(56)) - _U1
    if count == _U0:
        return _U0, _U0
    digits <<= np.uint64(64) - _U8 * count  # shifts zeros in at the low end
    digits = (digits * _TEN + (digits >> _U8)) & _PAIRS
    digits = (digits * np.uint64(100) + (digits >> np.uint64(16))) & _FOURS
    digits = (digits * np.uint64(10000) + (digits >> np.uint64(32))) & _LAST
    return count, digits


@compiled
def read_short_number(buf: Any, p: Any) -> Any:
    """Like :func:`read_number`, for up to seven digits on each side of the point; else (0, …)."""
    count, value = _short_digits(word_at(buf, p))
    begin = p
    p += count
    if count == _U0 or (count > _U1 and buf[begin] == _ZERO) or buf[p] | 0x20 == 0x65:
        return _U0, _U0, np.int64(0), False
    if buf[p] != _POINT:
        return p, value, np.int64(0), True
    count, decimals = _short_digits(word_at(buf, p + _U1))
    p += _U1 + count
    if count == _U0 or buf[p] | 0x20 == 0x65:
        return _U0, _U0, np.int64(0), False
    return p, value * _WHOLE_POWERS[count] + decimals, -np.int64(count), False


@inlined
def is_digit(byte: Any) -> Any:
    """Whether a byte is an ASCII digit."""
    return byte >= _ZERO and byte <= _NINE


@compiled
def read_number(buf: Any, p: Any) -> Any:
    """JSON number at ``p``: (next position or 0, digits, decimal exponent, is it an integer)."""
    nothing = (_U0, _U0, np.int64(0), False)
    digits = np.int64(0)
    value = _U0
    exponent = np.int64(0)
    is_whole = True
    begin = p
    while is_digit(buf[p]):
        value = value * _TEN + np.uint64(buf[p] - _ZERO)
        digits += 1
        p += _U1
    if digits == 0 or (digits > 1 and buf[begin] == _ZERO):
        return nothing
    if buf[p] == _POINT:
        is_whole = False
        p += _U1
        point = p
        while is_digit(buf[p]):
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
        while is_digit(buf[p]) and power <= _MAX_EXPONENT:
            power = power * 10 + np.int64(buf[p] - _ZERO)
            p += _U1
        if p == begin or power > _MAX_EXPONENT:
            return nothing
        exponent += -power if is_negative else power
    if digits > _MAX_DIGITS:
        if is_whole:
            return nothing
        value = MAX_EXACT + _U1  # it may have overflowed: do not use it
    return p, value, exponent, is_whole
