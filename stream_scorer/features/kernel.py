"""The compiled loop: columns to the feature matrix, one row after the other.

Only additions, divisions and comparisons of IEEE-754 doubles, in a fixed order and without
fast-math: every machine and every batch size gives the same bits.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream_scorer.features.tables import find_number, find_text

_OTHER: Final = -1.0  # code of a level that was rare or unseen in training
_CENT_TOLERANCE: Final = 1e-4  # above the rounding of amount * 100, below a tenth of a cent
_SECONDS_AN_HOUR: Final = 3600
_SECONDS_A_DAY: Final = 86400


@njit(nogil=True, cache=True, error_model="numpy")
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
    n_single = 0
    while n_single < count_first.shape[0] and count_second[n_single] < 0:
        n_single += 1
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


@njit(nogil=True, cache=True, inline="always")
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


@njit(nogil=True, cache=True, inline="always")
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
