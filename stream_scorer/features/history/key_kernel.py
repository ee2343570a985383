"""The compiled loop that reads keys: ``card1``, a hash of the whole key, and hashes for the sets.

The hashes are part of the state, so their meaning belongs to ``HISTORY_VERSION``.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from schemas.compiled import compiled, inlined

_SECONDS_A_DAY: Final = 86_400
_END_OF_TIME: Final = 2**32
_MAX_WHOLE: Final = 9007199254740992.0  # 2^53: doubles up to here are exact whole numbers
_WORD_END: Final = 7
_U0, _U1, _U8 = np.uint64(0), np.uint64(1), np.uint64(8)
_PRIME: Final = np.uint64(1099511628211)
_FIRST: Final = np.uint64(0xFF51AFD7ED558CCD)
_SECOND: Final = np.uint64(0xC4CEB9FE1A85EC53)
_START: Final = np.uint64(0x9E3779B97F4A7C15)
_MISSING: Final = np.uint64(0x7FF8000000000001)  # no number has these bits
_SHIFT: Final = np.uint64(33)
_SET_MASK: Final = np.uint64(0xFFFF)


@inlined
def _mix(first: Any, second: Any) -> Any:
    """Two words through MurmurHash3's 64-bit finalizer."""
    h = first ^ (second * _PRIME)
    h = (h ^ (h >> _SHIFT)) * _FIRST
    h = (h ^ (h >> _SHIFT)) * _SECOND
    return h ^ (h >> _SHIFT)


@inlined
def _number_bits(value: Any) -> Any:
    return _MISSING if value != value else np.float64(value + 0.0).view(np.uint64)


@compiled
def _text_bits(text: Any, start: Any, length: Any) -> Any:
    """Hash of a text, or of a missing one (length -1)."""
    if length < 0:
        return _MISSING
    h = _mix(_START, np.uint64(length))
    word = _U0
    for i in range(length):
        word |= np.uint64(text[np.uint64(start + i)]) << (_U8 * np.uint64(i & 7))
        if (i & 7) == _WORD_END:
            h = _mix(h, word)
            word = _U0
    return _mix(h, word)


@compiled
def _bits(source: Any, r: Any, cell: Any) -> Any:
    """A number's bits or a text's hash; ``_MISSING`` for a missing value."""
    if cell >= 0:
        return _number_bits(source.numbers[r, cell])
    column = -1 - cell
    return _text_bits(source.text, source.starts[r, column], source.lengths[r, column])


@compiled
def read_keys(source: Any, key: Any, rows: Any, keys: Any) -> None:
    """The key of each row of ``rows``, and 16 bits of each value that goes into a set.

    ``key.cells`` are the cells of the key's columns: of a number, or of a text (``-1 - column``);
    ``key.sets`` likewise. ``keys.sets`` has 0 for a missing value.
    """
    for q in range(rows.shape[0]):
        r = rows[q]
        keys.has_history[q] = False
        time = source.times[r]
        card = source.numbers[r, key.cells[0]]
        if (
            time < 0
            or time >= _END_OF_TIME
            or not abs(card) <= _MAX_WHOLE
            or card != np.floor(card)
        ):
            continue
        h = _mix(_START, _number_bits(card))
        for k in range(1, key.cells.shape[0]):
            h = _mix(h, _bits(source, r, key.cells[k]))
        if key.start_day >= 0:
            days = source.numbers[r, key.start_day]
            if not abs(days) <= _MAX_WHOLE:
                continue
            day = np.int64(time // _SECONDS_A_DAY) - np.int64(np.floor(days))
            h = _mix(h, np.uint64(day))
        keys.cards[q] = np.uint64(np.int64(card))
        keys.hashes[q] = h
        keys.has_history[q] = True
        for k in range(key.sets.shape[0]):
            bits = _bits(source, r, key.sets[k])
            keys.sets[q, k] = _U0 if bits == _MISSING else max(_mix(_START, bits) & _SET_MASK, _U1)
