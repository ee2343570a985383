"""The compiled loops of fitting: one pass over the rows in the order of time.

What a row gets depends only on the rows before it. A key of -1 means missing, and of -2 a value
that is in no table.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from schemas.compiled import compiled

MISSING: Final = -1
NO_LEVEL: Final = -2

_OTHER: Final = -1.0
_FNV_START: Final = np.uint64(0xCBF29CE484222325)
_FNV_PRIME: Final = np.uint64(1099511628211)
_MIX: Final = np.uint64(0xFF51AFD7ED558CCD)
_HALF: Final = np.uint64(33)


@compiled
def earlier_shares(keys: Any, counts: Any, out: Any) -> None:
    """The share of earlier rows with the same key; ``counts`` starts at 0 and ends as the counts.

    The first row's is 0: no row came before it.
    """
    for r in range(keys.shape[0]):
        key = keys[r]
        if key == MISSING:
            out[r] = np.nan
        elif key < 0 or r == 0:
            out[r] = 0.0
        else:
            out[r] = counts[key] / r
        if key >= 0:
            counts[key] += 1


@compiled
def earlier_codes(keys: Any, min_count: int, counts: Any, codes: Any, out: Any) -> int:
    """The codes that earlier rows gave out; ``codes`` starts at -1. Returns how many there are.

    A key gets the next code when it has been seen ``min_count`` times; later rows use it.
    """
    given = 0
    for r in range(keys.shape[0]):
        key = keys[r]
        if key < 0:
            out[r] = np.nan if key == MISSING else _OTHER
            continue
        out[r] = codes[key]
        counts[key] += 1
        if counts[key] == min_count:
            codes[key] = given
            given += 1
    return given


@compiled
def earlier_ratios(
    keys: Any, values: Any, min_count: int, counts: Any, totals: Any, out: Any
) -> None:
    """Each value divided by the mean of earlier values with the same key.

    NaN while the key has fewer than ``min_count`` of them, or their sum is not positive and finite.
    ``counts`` and ``totals`` start at 0, and end as the sums over all rows.
    """
    for r in range(keys.shape[0]):
        key, value = keys[r], values[r]
        out[r] = np.nan
        if key < 0:
            continue
        if counts[key] >= min_count and 0.0 < totals[key] < np.inf:
            out[r] = value / (totals[key] / counts[key])
        if value == value:
            counts[key] += 1
            totals[key] += value


@compiled
def number_texts(
    text: Any, starts: Any, lengths: Any, longest: int, slots: Any, keys: Any, rows: Any
) -> int:
    """Number the distinct strings in the order in which they occur; returns how many there are.

    ``keys`` receives each row's number, ``rows`` the first row of each. ``slots`` has room for
    twice as many entries as there are rows, a power of two, all -1.
    """
    mask = np.uint64(slots.shape[0] - 1)
    found = 0
    for r in range(keys.shape[0]):
        length, start = lengths[r], starts[r]
        if length < 0 or length > longest:
            keys[r] = MISSING if length < 0 else NO_LEVEL
            continue
        h = _FNV_START
        for i in range(length):
            h = (h ^ np.uint64(text[start + i])) * _FNV_PRIME
        h = (h ^ (h >> _HALF)) * _MIX
        slot = (h ^ (h >> _HALF)) & mask
        while slots[slot] >= 0 and not _is_same(text, starts, lengths, rows[slots[slot]], r):
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] < 0:
            slots[slot] = found
            rows[found] = r
            found += 1
        keys[r] = slots[slot]
    return found


@compiled
def _is_same(text: Any, starts: Any, lengths: Any, a: int, b: int) -> bool:
    if lengths[a] != lengths[b]:
        return False
    i = 0
    while i < lengths[a] and text[starts[a] + i] == text[starts[b] + i]:
        i += 1
    return bool(i == lengths[a])
