"""Hash tables that a compiled loop can read: strings and doubles to doubles.

Open addressing with linear probing, at most half full. The arrays of all tables of one kind
lie one behind the other; ``base[t]`` and ``mask[t]`` find table ``t``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scorer.features.kernel import fill_table, hash_bytes


class TextTables(NamedTuple):
    """Tables from strings to two doubles each (code and frequency).

    ``codes`` and ``shares`` over all slots; a slot is empty where ``length`` is -1; its key is
    ``keys[at : at + length]``.
    """

    base: NDArray[np.int64]
    mask: NDArray[np.int64]
    at: NDArray[np.int64]
    length: NDArray[np.int64]
    keys: NDArray[np.uint8]
    codes: NDArray[np.float64]
    shares: NDArray[np.float64]


class NumberTables(NamedTuple):
    """Tables from one or two doubles (by their bits) to a double; ``used`` marks full slots."""

    base: NDArray[np.int64]
    mask: NDArray[np.int64]
    used: NDArray[np.bool_]
    first: NDArray[np.uint64]
    second: NDArray[np.uint64]
    values: NDArray[np.float64]


def _size(entries: int) -> int:
    size = 4
    while size < 2 * entries + 1:
        size *= 2
    return size


def build_text_tables(
    levels: Sequence[Mapping[str, tuple[float, float]]],
) -> TextTables:
    """One table for each mapping of level → (code, share)."""
    sizes = [_size(len(mapping)) for mapping in levels]
    base = np.cumsum([0, *sizes])
    at, length = np.zeros(base[-1], np.int64), np.full(base[-1], -1, np.int64)
    codes, shares = np.zeros(base[-1]), np.zeros(base[-1])
    keys = bytearray()
    for table, mapping in enumerate(levels):
        for level, (code, share) in mapping.items():
            data = level.encode("utf-8")
            array = np.frombuffer(data, np.uint8)
            slot = int(hash_bytes(array, 0, len(data))) & (sizes[table] - 1)
            while length[base[table] + slot] >= 0:
                slot = (slot + 1) & (sizes[table] - 1)
            s = base[table] + slot
            at[s], length[s], codes[s], shares[s] = len(keys), len(data), code, share
            keys += data
    mask = np.array(sizes, np.int64) - 1
    text = np.frombuffer(bytes(keys), np.uint8)
    return TextTables(base[:-1].astype(np.int64), mask, at, length, text, codes, shares)


def build_number_tables(
    mappings: Sequence[tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.float64]]],
) -> NumberTables:
    """One table for each (first words, second words, values)."""
    sizes = [_size(len(values)) for _, _, values in mappings]
    base = np.cumsum([0, *sizes]).astype(np.int64)
    tables = NumberTables(
        base[:-1].copy(),
        np.array(sizes, np.int64) - 1,
        np.zeros(base[-1], np.bool_),
        np.zeros(base[-1], np.uint64),
        np.zeros(base[-1], np.uint64),
        np.zeros(base[-1]),
    )
    for table, (first, second, values) in enumerate(mappings):
        fill_table(tables, table, first, second, values)
    return tables
