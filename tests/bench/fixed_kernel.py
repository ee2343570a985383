"""The fixed loop that the interpreter replaced: the features of ``ieee-cis/1`` as code.

``python -m tests.bench.features`` compares the two. It reads the product's tables, and has its own
copy of the look-ups, which were in the same file.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled, inlined

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
def find_number(tables: Any, table: int, first: Any, second: Any) -> Any:
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

    ``texts`` are the tables of the text columns; ``frequency_texts`` are the text columns that
    also get their share. ``counts`` are tables of single numbers and pairs: table ``t`` is keyed
    by number columns ``count_first[t]`` and ``count_second[t]`` (-1: none); tables with one key
    come first. ``means`` are keyed by ``mean_keys``. ``emails`` are the two text columns to
    compare.
    """
    n_numbers = numbers.shape[1]
    n_texts = lengths.shape[1]
    n_single = np.int64(np.sum(count_second < 0))  # tables with one key come first
    shares = np.empty(n_texts)
    cells = out.reshape(-1)
    for r in range(out.shape[0]):
        missing = np.int64(0)
        p = np.uint64(r) * np.uint64(out.shape[1])
        for c in range(n_numbers):
            value = numbers[r, c]
            cells[p + np.uint64(c)] = value
            missing += np.int64(value != value)
        p += np.uint64(n_numbers)
        for c in range(n_texts):
            code = np.nan
            share = np.nan
            length = lengths[r, c]
            if length < 0:
                missing += 1
            else:
                s = find_text(texts, c, text, np.uint64(starts[r, c]), np.uint64(length))
                code = texts.values[s, 2]
                share = texts.values[s, 3]
            cells[p] = code
            shares[c] = share
            p += _U1
        for t in range(n_single):
            cells[p] = _share(counts, t, numbers[r, count_first[t]], 0.0)
            p += _U1
        for k in range(frequency_texts.shape[0]):
            cells[p] = shares[frequency_texts[k]]
            p += _U1
        for t in range(n_single, count_first.shape[0]):
            second = numbers[r, count_second[t]]
            cells[p] = _share(counts, t, numbers[r, count_first[t]], second)
            p += _U1
        amount = numbers[r, amount_column]
        for t in range(mean_keys.shape[0]):
            key = numbers[r, mean_keys[t]]
            mean = np.nan
            if not np.isnan(key):
                mean = means.values[find_number(means, t, _bits(key), _U0), 3]
            cells[p] = amount / mean
            p += _U1
        cents = np.floor(amount * 100.0 + 0.5)
        cells[p] = cents - np.floor(amount) * 100.0
        cells[p + _U1] = 1.0 if abs(amount * 100.0 - cents) > _CENT_TOLERANCE else 0.0
        cells[p + _U2] = np.float64((times[r] // _SECONDS_AN_HOUR) % 24)
        cells[p + _U3] = np.float64((times[r] // _SECONDS_A_DAY) % 7)
        cells[p + np.uint64(4)] = _equal(text, starts, lengths, r, emails[0], emails[1])
        cells[p + np.uint64(5)] = np.float64(missing)


@inlined
def _bits(value: Any) -> Any:
    return np.float64(value + 0.0).view(np.uint64)  # -0.0 becomes 0.0: equal numbers, equal bits


@compiled
def _share(counts: Any, t: int, first: float, second: float) -> float:
    if np.isnan(first) or np.isnan(second):
        return float(np.nan)
    return float(counts.values[find_number(counts, t, _bits(first), _bits(second)), 3])


@compiled
def _equal(text: Any, starts: Any, lengths: Any, r: int, a: int, b: int) -> float:
    length = lengths[r, a]
    if length < 0 or lengths[r, b] < 0:
        return float(np.nan)
    if length != lengths[r, b]:
        return 0.0
    one, other = np.uint64(starts[r, a]), np.uint64(starts[r, b])
    left = np.uint64(length)
    while left > _U0:
        if word_at(text, one, left) != word_at(text, other, left):
            return 0.0
        step = min(left, _U8)
        one += step
        other += step
        left -= step
    return 1.0
