"""The compiled loops that read rows: their keys, the hashes for the sets, and their clock.

The hashes are part of the state, so their meaning belongs to ``HISTORY_VERSION``.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from schemas.compiled import compiled, inlined
from stream_scorer.features.history import kinds
from stream_scorer.features.history.arrays import KeyPlan, Keys, Source

_SECONDS_A_DAY: Final = 86_400
_CLOCK_STEP: Final = 3_600
_END_OF_TIME: Final = 2**32
_MAX_WHOLE: Final = 9007199254740992.0  # 2^53: doubles up to here are exact whole numbers
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


@inlined
def _word(text: Any, at: Any, length: Any) -> Any:
    """Up to eight bytes as a little-endian word, padded with zeros."""
    word = _U0
    if at + _U8 <= np.uint64(text.shape[0]):
        for i in range(8):  # compiles to one load
            word |= np.uint64(text[at + np.uint64(i)]) << np.uint64(8 * i)
        return word & ((_U1 << (_U8 * length)) - _U1) if length < _U8 else word
    for i in range(length):
        word |= np.uint64(text[at + np.uint64(i)]) << (_U8 * np.uint64(i))
    return word


@compiled
def _text_bits(text: Any, start: Any, length: Any) -> Any:
    """Hash of a text, or of a missing one (length -1)."""
    if length < 0:
        return _MISSING
    at, left = np.uint64(start), np.uint64(length)
    h = _mix(_START, left)
    while left >= _U8:
        h = _mix(h, _word(text, at, _U8))
        at, left = at + _U8, left - _U8
    return _mix(h, _word(text, at, left))


@inlined
def _bits(source: Any, r: Any, cell: Any) -> Any:
    """A number's bits or a text's hash; ``_MISSING`` for a missing value."""
    if cell >= 0:
        return _number_bits(source.numbers[r, cell])
    column = -1 - cell
    return _text_bits(source.text, source.starts[r, column], source.lengths[r, column])


@compiled
def read_keys(
    times: Any, ids: Any, numbers: Any, text: Any, starts: Any, lengths: Any,
    card_cell: Any, amount: Any, spaces: Any, cells: Any, places: Any, width: Any,
    key_rows: Any, key_flags: Any, key_words: Any, rows: Any, advances: Any, as_of: Any,
) -> Any:  # fmt: skip
    """The keys of each row of ``rows``, and 16 bits of each value that goes into a set.

    ``keys.words`` has for each space ``card1``, the hash of the whole key, and for each set 0 for a
    missing value. What a row without a key has there is undefined. Rows up to ``as_of`` do not
    advance. False if one of ``rows`` is not in the batch.
    """
    source = Source(times, ids, numbers, text, starts, lengths)
    plan = KeyPlan(card_cell, amount, spaces, cells, places, width)
    keys = Keys(key_rows, key_flags, key_words)
    values = np.empty(plan.cells.shape[0], np.uint64)
    for q in range(rows.shape[0]):
        r = rows[q]
        if r < 0 or r >= times.shape[0]:
            return False
        keys.rows[q] = r
        keys.flags[q] = 0
        time = source.times[r]
        card = source.numbers[r, plan.card]
        if (
            time < 0
            or time >= _END_OF_TIME
            or not abs(card) <= _MAX_WHOLE
            or card != np.floor(card)
            or not abs(source.numbers[r, plan.amount]) < np.inf
        ):
            continue
        flags = kinds.MOVES_CLOCK if advances[r] and time > as_of else 0
        of_card = _mix(_START, _number_bits(card))
        for k in range(values.shape[0]):
            values[k] = _bits(source, r, plan.cells[k])
        at = 0
        for s in range(plan.spaces.shape[0]):
            first_cell, first_set, end, start_day = plan.spaces[s]
            h = of_card
            for k in range(first_cell, first_set):
                h = _mix(h, values[plan.places[k]])
            if start_day >= 0:
                days = source.numbers[r, start_day]
                if abs(days) <= _MAX_WHOLE:
                    day = np.int64(time // _SECONDS_A_DAY) - np.int64(np.floor(days))
                    h = _mix(h, np.uint64(day))
                    flags |= kinds.HAS_KEY << s
            else:
                flags |= kinds.HAS_KEY << s
            keys.words[q, at] = np.uint64(np.int64(card))
            keys.words[q, at + 1] = h
            at += 2
            for k in range(first_set, end):
                bits = values[plan.places[k]]
                hashed = max(_mix(_START, bits) & _SET_MASK, _U1)
                keys.words[q, at] = _U0 if bits == _MISSING else hashed
                at += 1
        keys.flags[q] = flags
    return True


@compiled
def move_clock(
    times: Any, rows: Any, flags: Any, first: Any, last: Any, clock: Any, future: Any
) -> Any:
    """How far the clock stays in its day: the first row of another day, and the clock before it.

    The clock follows the rows, at most an hour at a time, so that one absurd time cannot age
    everything. ``future`` counts rows more than a day ahead of it.
    """
    for q in range(first, last):
        if not flags[q] & kinds.MOVES_CLOCK:
            continue
        time = times[rows[q]]
        after = time if clock < 0 else min(max(clock, time), clock + _CLOCK_STEP)
        if q > first and after // _SECONDS_A_DAY != clock // _SECONDS_A_DAY:
            return q, clock
        future[0] += np.int64(clock >= 0 and time > clock + _SECONDS_A_DAY)
        clock = after
    return last, clock
