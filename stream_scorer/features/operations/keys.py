"""The rows' values as small whole numbers, which the loops of fitting count."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from stream_scorer.features.interpreter.tables import MAX_LEVEL_BYTES
from stream_scorer.features.operations.loops import (
    MISSING,
    earlier_codes,
    earlier_shares,
    number_texts,
)


class TextKeys(NamedTuple):
    """Each row's key (int64 ``[n]``; -1 missing, -2 too long for a level), and the keys' texts."""

    keys: NDArray[np.int64]
    levels: list[str]


class NumberKeys(NamedTuple):
    """Each row's key (int64 ``[n]``; -1 missing), and the keys' numbers, in ascending order."""

    keys: NDArray[np.int64]
    values: NDArray[np.float64]


class Codes(NamedTuple):
    """The keys that got a code, in the order of the codes, and the codes of the training rows."""

    keys: NDArray[np.int64]
    values: NDArray[np.float64]


def text_keys(
    text: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int32]
) -> TextKeys:
    """Keys of strings; keys are numbered in the order in which they first occur."""
    starts, lengths = np.ascontiguousarray(starts), np.ascontiguousarray(lengths)
    slots = np.full(1 << max(4, (2 * len(starts)).bit_length()), -1, np.int64)
    keys, rows = np.empty(len(starts), np.int64), np.empty(len(starts), np.int64)
    found = number_texts(text, starts, lengths, MAX_LEVEL_BYTES, slots, keys, rows)
    pieces = zip(starts[rows[:found]].tolist(), lengths[rows[:found]].tolist(), strict=True)
    return TextKeys(keys, [text[a : a + n].tobytes().decode("utf-8") for a, n in pieces])


def column_text_keys(batch: TransactionBatch, column: int) -> TextKeys:
    """Keys of a text column."""
    text = np.ascontiguousarray(batch.text)
    return text_keys(text, batch.starts[:, column], batch.lengths[:, column])


def number_keys(column: NDArray[np.float64]) -> NumberKeys:
    """Keys of numbers; -0.0 and 0.0 are one."""
    is_present = ~np.isnan(column)
    keys = np.full(len(column), MISSING, np.int64)
    # Adding 0.0 turns -0.0 into 0.0, so that equal numbers have equal bits.
    values, keys[is_present] = np.unique(column[is_present] + 0.0, return_inverse=True)
    return NumberKeys(keys, values)


def pair_keys(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Keys of pairs, missing where either is, and the pairs' numbers."""
    a, b = number_keys(first), number_keys(second)
    both = np.where((a.keys < 0) | (b.keys < 0), MISSING, a.keys * len(b.values) + b.keys)
    is_present = both >= 0
    pairs, found = np.unique(both[is_present], return_inverse=True)
    keys = np.full(len(both), MISSING, np.int64)
    keys[is_present] = found
    width = max(len(b.values), 1)
    return keys, a.values[pairs // width], b.values[pairs % width]


def learn_shares(
    keys: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How often each of ``count`` keys occurs, and the shares of the training rows."""
    counts, out = np.zeros(count, np.int64), np.empty(len(keys))
    earlier_shares(keys, counts, out)
    return counts, out


def learn_codes(keys: NDArray[np.int64], count: int, min_count: int) -> Codes:
    """The vocabulary of ``count`` keys, and the codes of the training rows."""
    counts, codes = np.zeros(count, np.int64), np.full(count, -1, np.int64)
    out = np.empty(len(keys))
    given = earlier_codes(keys, min_count, counts, codes, out)
    ordered = np.empty(given, np.int64)
    has_code = codes >= 0
    ordered[codes[has_code]] = np.flatnonzero(has_code)
    return Codes(ordered, out)
