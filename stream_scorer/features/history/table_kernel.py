"""The compiled loops over the records of a key space: index, removal, undo and check sum."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from schemas.compiled import compiled, inlined

_U0, _U1 = np.uint64(0), np.uint64(1)
_FIRST: Final = np.uint64(0xFF51AFD7ED558CCD)
_SECOND: Final = np.uint64(0xC4CEB9FE1A85EC53)
_LANE: Final = np.uint64(0x9E3779B97F4A7C15)
_SHIFT: Final = np.uint64(29)
_LAST_SHIFT: Final = np.uint64(32)


@inlined
def _add(h: Any, word: Any) -> Any:
    h = (h ^ word) * _FIRST
    return h ^ (h >> _SHIFT)


@compiled
def hash_record(words: Any, row: Any, seed: Any) -> Any:
    """Hash of one record. Every bit of it changes about half of the hash's bits.

    Each step has an inverse, so records that differ in one word never have the same hash. There
    are four chains, because one would wait for its own multiplications.
    """
    n = words.shape[1]
    a, b, c, d = seed, seed + _LANE, seed ^ _LANE, seed - _LANE
    end = n - n % 4
    for k in range(0, end, 4):
        a, b = _add(a, words[row, k]), _add(b, words[row, k + 1])
        c, d = _add(c, words[row, k + 2]), _add(d, words[row, k + 3])
    for k in range(end, n):
        a = _add(a, words[row, k])
    h = _add(_add(_add(_add(np.uint64(n), a), b), c), d)  # one after the other: not symmetric
    h = (h ^ (h >> _LAST_SHIFT)) * _SECOND
    return h ^ (h >> _LAST_SHIFT)


@compiled
def count_before(words: Any, rows: Any, time: Any) -> Any:
    """How many records are not dead and have their last time before ``time``."""
    found: Any = 0
    for row in range(rows):
        found += np.int64(words[row, 2] != _U0 and np.int64(words[row, 4]) < time)
    return found


@compiled
def remove_before(table: Any, undo: Any, state: Any, time: Any) -> None:
    """Mark records dead whose last time is before ``time``; ``undo`` has room for them.

    ``state`` is that of :func:`stream_scorer.features.history.kernel.advance`.
    """
    for row in range(state[0]):
        if table.words[row, 2] == _U0 or np.int64(table.words[row, 4]) >= time:
            continue
        if row < state[3] and table.stamps[row] != state[4]:
            table.stamps[row] = state[4]
            undo.rows[state[2]] = row
            undo.words[state[2]] = table.words[row]
            state[2] += 1
        table.words[row, 2] = _U0
        state[1] -= 1


@compiled
def finish_step(
    words: Any, saved_rows: Any, saved: Any, state: Any, check_sum: Any, seed: Any
) -> Any:
    """The check sum after a step: the sum of the hashes of all records that are not dead."""
    total = check_sum
    for k in range(state[2]):
        row = saved_rows[k]
        if saved[k, 2] != _U0:
            total -= hash_record(saved, k, seed)
        if words[row, 2] != _U0:
            total += hash_record(words, row, seed)
    for row in range(state[3], state[0]):
        if words[row, 2] != _U0:
            total += hash_record(words, row, seed)
    return total


@compiled
def add_hashes(words: Any, seed: Any) -> Any:
    """The check sum of records, all of them alive."""
    total = _U0
    for row in range(words.shape[0]):
        total += hash_record(words, row, seed)
    return total


@compiled
def undo_step(table: Any, rows: Any, words: Any, before: Any, now: Any) -> None:
    """Write saved records back, and take all new rows out of the index.

    The index was filled in the order of the rows, so this leaves it as if they had never been in.
    """
    for k in range(rows.shape[0]):
        for w in range(words.shape[1]):
            table.words[rows[k], w] = words[k, w]
    mask = np.uint64(table.slots.shape[0] - 1)
    for row in range(before, now):
        slot = table.words[row, 1] & mask
        while table.slots[slot] != row + 1:
            slot = (slot + _U1) & mask
        table.slots[slot] = 0


@compiled
def fill_index(index: Any, words: Any, n: Any) -> Any:
    """Index rows 0 to ``n``, in their order; False if a key occurs twice."""
    mask = np.uint64(index.shape[0] - 1)
    for row in range(n):
        slot = words[row, 1] & mask
        while index[slot] != 0:
            other = index[slot] - 1
            if words[other, 0] == words[row, 0] and words[other, 1] == words[row, 1]:
                return False
            slot = (slot + _U1) & mask
        index[slot] = np.int32(row + 1)
    return True


@compiled
def copy_living(words: Any, taken: Any, out: Any, to: Any) -> Any:
    """Copy the records that are neither dead nor ``taken`` to ``out``; the place after the last."""
    for row in range(taken.shape[0]):
        if words[row, 2] != _U0 and not taken[row]:
            for w in range(words.shape[1]):
                out[to, w] = words[row, w]
            to += 1
    return to
