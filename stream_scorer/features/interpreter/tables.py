"""Hash tables that the compiled loop reads: strings and doubles to doubles.

Open addressing with linear probing, at most half full. The slots of all tables of one kind are
concatenated; ``base[t]`` and ``mask[t]`` locate table ``t``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from stream_scorer.features.interpreter.kernel import hash_numbers, hash_texts

MAX_LEVEL_BYTES: Final = 256
"""A longer string is in no table."""

OTHER: Final = -1.0
"""The code of whatever a vocabulary does not have."""

_MAX_PROBES: Final = 512
"""Steps from a key's slot to its place. Random keys need fewer than 100; a table whose keys were
chosen to collide would take minutes to fill."""

_U1: Final = np.uint64(1)
_HALF_BITS: Final = np.uint64(32)


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


class NumberTable(NamedTuple):
    """Entries of one table: words of distinct keys, and their values.

    ``unknown`` is the value of every other key.
    """

    first: NDArray[np.uint64]
    second: NDArray[np.uint64]
    values: NDArray[np.float64]
    unknown: float


def build_text_tables(levels: Sequence[Mapping[str, tuple[float, float]]]) -> TextTables:
    """One table for each mapping of level → (code, share).

    Raises:
        ValueError: the levels of a table were chosen to collide.
    """
    keys = [[level.encode("utf-8") for level in mapping] for mapping in levels]
    text = np.frombuffer(b"".join(key for table in keys for key in table), np.uint8)
    base, mask, words, values = _empty([len(mapping) for mapping in levels])
    values[:, 2:] = OTHER, 0.0
    at = 0
    for table, mapping in enumerate(levels):
        length = np.array([len(key) for key in keys[table]], np.uint64)
        start = np.cumsum(length, dtype=np.uint64) - length + np.uint64(at)
        hashes = np.empty(len(length), np.uint64)
        hash_texts(text, start, length, hashes)
        slots = base[table] + _place(hashes, mask[table])
        words[slots, 0] = _first_words(keys[table])
        words[slots, 1] = (start << _HALF_BITS) | (length + _U1)
        values[slots, 2:] = np.array(list(mapping.values()), np.float64).reshape(-1, 2)
        at += int(length.sum())
    return TextTables(base, mask, text, words, values)


def build_number_tables(entries: Sequence[NumberTable]) -> NumberTables:
    """One table for each of the entries.

    Raises:
        ValueError: the keys of a table were chosen to collide.
    """
    base, mask, words, cells = _empty([len(table.values) for table in entries])
    for table, (first, second, values, unknown) in enumerate(entries):
        cells[int(base[table]) : int(base[table] + mask[table]) + 1, 3] = unknown
        hashes = np.empty(len(values), np.uint64)
        hash_numbers(first, second, hashes)
        slots = base[table] + _place(hashes, mask[table])
        words[slots, 0], words[slots, 1], words[slots, 2] = first, second, _U1
        cells[slots, 3] = values
    return NumberTables(base, mask, words, cells)


def _first_words(keys: Sequence[bytes]) -> NDArray[np.uint64]:
    return np.frombuffer(b"".join(key[:8].ljust(8, b"\0") for key in keys), "<u8")


def _place(hashes: NDArray[np.uint64], mask: np.uint64) -> NDArray[np.uint64]:
    """A slot for each hash, counted from the table's first one."""
    slots = np.empty(len(hashes), np.uint64)
    if not place(hashes, mask, np.zeros(int(mask) + 1, np.bool_), slots):
        raise ValueError(f"a table of {len(hashes)} keys cannot be built: they collide")
    return slots


@compiled
def place(hashes: Any, mask: Any, is_taken: Any, slots: Any) -> bool:
    """Find a free slot for each hash; False if one is too far away."""
    for i in range(hashes.shape[0]):
        slot = hashes[i] & mask
        probes = 0
        while is_taken[slot]:
            probes += 1
            if probes > _MAX_PROBES:
                return False
            slot = (slot + _U1) & mask
        is_taken[slot] = True
        slots[i] = slot
    return True


def _empty(
    entries: Sequence[int],
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64], NDArray[np.float64]]:
    """Base and mask of tables for these numbers of entries, and the slots as words and doubles."""
    sizes = np.array([_size(n) for n in entries], np.uint64)
    words = np.zeros((int(sizes.sum()), 4), np.uint64)
    base = np.cumsum(sizes, dtype=np.uint64) - sizes
    return base, sizes - _U1, words, words.view(np.float64)


def _size(entries: int) -> int:
    size = 4
    while size < 2 * entries + 1:
        size *= 2
    return size
