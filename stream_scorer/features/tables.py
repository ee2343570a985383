"""Hash tables that a compiled loop can read: strings and doubles to doubles.

Open addressing with linear probing, at most half full. The slots of all tables of one kind are
concatenated; ``base[t]`` and ``mask[t]`` locate table ``t``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scorer.features.kernel import fill_numbers, fill_texts


class TextTables(NamedTuple):
    """Tables from strings to two doubles each (code and share).

    A slot is one row of ``words`` (32 bytes, half a cache line): the first eight bytes of the key;
    in the low half its length plus one (0: empty slot) and in the high half its position in
    ``keys``; code; share. ``values`` is the same memory as doubles. An empty slot holds the values
    for an unknown string.
    """

    base: NDArray[np.uint64]
    mask: NDArray[np.uint64]
    keys: NDArray[np.uint8]
    words: NDArray[np.uint64]
    values: NDArray[np.float64]


class NumberTables(NamedTuple):
    """Tables from one or two doubles (by their bits) to a double.

    A slot is one row of ``words``: first key, second key, 1 if it is used, value. ``values`` is
    the same memory as doubles. An empty slot holds the value for an unknown number.
    """

    base: NDArray[np.uint64]
    mask: NDArray[np.uint64]
    words: NDArray[np.uint64]
    values: NDArray[np.float64]


def build_text_tables(
    levels: Sequence[Mapping[str, tuple[float, float]]], unknown: tuple[float, float]
) -> TextTables:
    """One table for each mapping of level → (code, share)."""
    keys = [[level.encode("utf-8") for level in mapping] for mapping in levels]
    text = np.frombuffer(b"".join(key for table in keys for key in table), np.uint8)
    base, mask, words, values = _empty([len(mapping) for mapping in levels])
    values[:, 2:] = unknown
    tables = TextTables(base, mask, text, words, values)
    at = 0
    for table, mapping in enumerate(levels):
        length = np.array([len(key) for key in keys[table]], np.uint64)
        start = np.cumsum(length, dtype=np.uint64) - length + np.uint64(at)
        found = np.array(list(mapping.values()), np.float64).reshape(-1, 2)
        codes, shares = np.ascontiguousarray(found.T)
        fill_texts(tables, table, start, length, codes, shares)
        at += int(length.sum())
    return tables


def build_number_tables(
    mappings: Sequence[tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.float64]]],
    unknown: float,
) -> NumberTables:
    """One table for each (first words, second words, values)."""
    base, mask, words, cells = _empty([len(values) for _, _, values in mappings])
    cells[:, 3] = unknown
    tables = NumberTables(base, mask, words, cells)
    for table, (first, second, values) in enumerate(mappings):
        fill_numbers(tables, table, first, second, values)
    return tables


def _empty(
    entries: Sequence[int],
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64], NDArray[np.float64]]:
    """Base and mask of tables for these numbers of entries, and the slots as words and doubles."""
    sizes = np.array([_size(n) for n in entries], np.uint64)
    words = np.zeros((int(sizes.sum()), 4), np.uint64)
    base = np.cumsum(sizes, dtype=np.uint64) - sizes
    return base, sizes - np.uint64(1), words, words.view(np.float64)


def _size(entries: int) -> int:
    size = 4
    while size < 2 * entries + 1:
        size *= 2
    return size
