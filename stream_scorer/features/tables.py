"""Hash tables that a compiled loop can read: strings and doubles to doubles.

Open addressing with linear probing, at most half full. The arrays of all tables of one kind
lie one behind the other; ``base[t]`` and ``mask[t]`` find table ``t``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

_FNV_START: Final = np.uint64(14695981039346656037)
_FNV_PRIME: Final = np.uint64(1099511628211)
_MIX_FIRST: Final = np.uint64(0xFF51AFD7ED558CCD)
_MIX_SECOND: Final = np.uint64(0xC4CEB9FE1A85EC53)
_MIX_SHIFT: Final = np.uint64(33)


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


@njit(nogil=True, cache=True)
def hash_bytes(data: Any, start: int, length: int) -> Any:
    """FNV-1a, 64 bits."""
    h = _FNV_START
    for k in range(start, start + length):
        h = (h ^ np.uint64(data[k])) * _FNV_PRIME
    return h


@njit(nogil=True, cache=True)
def hash_bits(first: Any, second: Any) -> Any:
    """One or two words (second 0 when there is one) through MurmurHash3's 64-bit finalizer.

    Small whole numbers differ in a double's high bits only, and a slot is the hash's low bits:
    without the shift before and between the multiplications they would all share a few slots.
    """
    h = first ^ (second * _FNV_PRIME)
    h = (h ^ (h >> _MIX_SHIFT)) * _MIX_FIRST
    h = (h ^ (h >> _MIX_SHIFT)) * _MIX_SECOND
    return h ^ (h >> _MIX_SHIFT)


@njit(nogil=True, cache=True)
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
                return s
        slot = (slot + 1) & mask


@njit(nogil=True, cache=True)
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
            return s
        slot = (slot + 1) & mask


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
        _fill(tables, table, first, second, values)
    return tables


@njit(cache=True)
def _fill(tables: Any, table: int, first: Any, second: Any, values: Any) -> None:
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
