"""The compiled loops: columns to the feature matrix, one row after the other, and look-ups.

All in one file, since numba compiles a function anew when its own file has changed, and never
when only a function it calls from elsewhere has.

Only additions, divisions and comparisons of IEEE-754 doubles, in a fixed order and without
fast-math: every machine and every batch size gives the same bits.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled, inlined

_OTHER: Final = -1.0  # code of a level that was rare or unseen in training
_CENT_TOLERANCE: Final = 1e-4  # above the rounding of amount * 100, below a tenth of a cent
_SECONDS_AN_HOUR: Final = 3600
_SECONDS_A_DAY: Final = 86400
_FNV_START: Final = np.uint64(14695981039346656037)
_FNV_PRIME: Final = np.uint64(1099511628211)
_MIX_FIRST: Final = np.uint64(0xFF51AFD7ED558CCD)
_MIX_SECOND: Final = np.uint64(0xC4CEB9FE1A85EC53)
_MIX_SHIFT: Final = np.uint64(33)


@compiled
def hash_bytes(data: Any, start: int, length: int) -> Any:
    """FNV-1a, 64 bits."""
    h = _FNV_START
    for k in range(start, start + length):
        h = (h ^ np.uint64(data[k])) * _FNV_PRIME
    return h


@compiled
def hash_bits(first: Any, second: Any) -> Any:
    """One or two words (second 0 when there is one) through MurmurHash3's 64-bit finalizer.

    Small whole numbers differ in a double's high bits only, and a slot is the hash's low bits:
    without the shift before and between the multiplications they would all share a few slots.
    """
    h = first ^ (second * _FNV_PRIME)
    h = (h ^ (h >> _MIX_SHIFT)) * _MIX_FIRST
    h = (h ^ (h >> _MIX_SHIFT)) * _MIX_SECOND
    return h ^ (h >> _MIX_SHIFT)


@compiled
def find_text(tables: Any, table: int, data: Any, start: int, length: int) -> int:
    """Slot of a string in one of the tables, -1 if it is not there."""
    base = tables.base[table]
    mask = tables.mask[table]
    slot = np.int64(hash_bytes(data, start, length) & np.uint64(mask))
    while True:
        s = base + slot
        if tables.length[s] < 0:
            return -1
        if tables.length[s] == length:
            same = True
            for k in range(length):
                if tables.keys[tables.at[s] + k] != data[start + k]:
                    same = False
                    break
            if same:
                return int(s)
        slot = (slot + 1) & mask


@compiled
def find_number(tables: Any, table: int, first: Any, second: Any) -> int:
    """Slot of a number (or pair) in one of the tables, -1 if it is not there."""
    base = tables.base[table]
    mask = tables.mask[table]
    slot = np.int64(hash_bits(first, second) & np.uint64(mask))
    while True:
        s = base + slot
        if not tables.used[s]:
            return -1
        if tables.first[s] == first and tables.second[s] == second:
            return int(s)
        slot = (slot + 1) & mask


@compiled
def fill_table(tables: Any, table: int, first: Any, second: Any, values: Any) -> None:
    """Put the values under their words into an empty table that has room for all of them."""
    base = tables.base[table]
    mask = tables.mask[table]
    for i in range(values.shape[0]):
        slot = np.int64(hash_bits(first[i], second[i]) & np.uint64(mask))
        while tables.used[base + slot]:
            slot = (slot + 1) & mask
        s = base + slot
        tables.used[s] = True
        tables.first[s] = first[i]
        tables.second[s] = second[i]
        tables.values[s] = values[i]


@compiled
def build_features(
    times: NDArray[np.int64],
    numbers: NDArray[np.float64],
    text: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    texts: Any,
    frequency_texts: NDArray[np.int64],
    counts: Any,
    count_first: NDArray[np.int64],
    count_second: NDArray[np.int64],
    means: Any,
    mean_keys: NDArray[np.int64],
    amount_column: int,
    emails: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Fill ``out`` ``[n, features]``.

    ``texts`` are the tables of the text columns; ``frequency_texts`` the text columns that get
    a share. ``counts`` are tables of single numbers and pairs: table ``t`` is keyed by number
    columns ``count_first[t]`` and ``count_second[t]`` (-1: none), those with one key first.
    ``means`` likewise by ``mean_keys``. ``emails`` are the two text columns to compare.
    """
    n_numbers = numbers.shape[1]
    n_texts = lengths.shape[1]
    n_single = np.int64(np.sum(count_second < 0))  # those with one key come first
    word = np.empty(1, np.float64)
    bits = word.view(np.uint64)
    slots = np.empty(n_texts, np.int64)
    for r in range(out.shape[0]):
        missing = 0
        for c in range(n_numbers):
            value = numbers[r, c]
            out[r, c] = value
            if np.isnan(value):
                missing += 1
        p = n_numbers
        for c in range(n_texts):
            if lengths[r, c] < 0:
                slots[c] = -2
                out[r, p] = np.nan
                missing += 1
            else:
                s = find_text(texts, c, text, starts[r, c], lengths[r, c])
                slots[c] = s
                out[r, p] = texts.codes[s] if s >= 0 else _OTHER
            p += 1
        for t in range(n_single):
            p = _put_share(counts, t, numbers[r, count_first[t]], 0.0, word, bits, out, r, p)
        for k in range(frequency_texts.shape[0]):
            s = slots[frequency_texts[k]]
            out[r, p] = np.nan if s == -2 else (texts.shares[s] if s >= 0 else 0.0)
            p += 1
        for t in range(n_single, count_first.shape[0]):
            second = numbers[r, count_second[t]]
            p = _put_share(counts, t, numbers[r, count_first[t]], second, word, bits, out, r, p)
        amount = numbers[r, amount_column]
        for t in range(mean_keys.shape[0]):
            key = numbers[r, mean_keys[t]]
            out[r, p] = np.nan
            if not np.isnan(key):
                word[0] = key + 0.0
                s = find_number(means, t, bits[0], np.uint64(0))
                if s >= 0:
                    out[r, p] = amount / means.values[s]
            p += 1
        cents = np.floor(amount * 100.0 + 0.5)
        out[r, p] = cents - np.floor(amount) * 100.0
        out[r, p + 1] = 1.0 if abs(amount * 100.0 - cents) > _CENT_TOLERANCE else 0.0
        out[r, p + 2] = np.float64((times[r] // _SECONDS_AN_HOUR) % 24)
        out[r, p + 3] = np.float64((times[r] // _SECONDS_A_DAY) % 7)
        out[r, p + 4] = _equal(text, starts, lengths, r, emails[0], emails[1])
        out[r, p + 5] = np.float64(missing)


@inlined
def _put_share(
    counts: Any, t: int, first: float, second: float, word: Any, bits: Any, out: Any, r: int, p: int
) -> int:
    if np.isnan(first) or np.isnan(second):
        out[r, p] = np.nan
        return p + 1
    word[0] = first + 0.0  # -0.0 becomes 0.0: equal numbers have equal bits
    a = bits[0]
    word[0] = second + 0.0
    s = find_number(counts, t, a, bits[0])
    out[r, p] = counts.values[s] if s >= 0 else 0.0
    return p + 1


@inlined
def _equal(text: Any, starts: Any, lengths: Any, r: int, a: int, b: int) -> float:
    length = lengths[r, a]
    if length < 0 or lengths[r, b] < 0:
        return np.nan
    if length != lengths[r, b]:
        return 0.0
    for k in range(length):
        if text[starts[r, a] + k] != text[starts[r, b] + k]:
            return 0.0
    return 1.0
