"""The compiled loops over the records of a key space: index, removal, undo and check sum."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from schemas.compiled import compiled, inlined

_SECONDS_A_DAY: Final = 86_400
_CLOCK_STEP: Final = 3_600
_U0, _U1 = np.uint64(0), np.uint64(1)
_FACTOR: Final = np.uint64(0xFF51AFD7ED558CCD)
_SHIFT: Final = np.uint64(29)


@compiled
def hash_record(words: Any, row: Any, seed: Any) -> Any:
    """Hash of one record."""
    h = seed
    for k in range(words.shape[1]):
        h = (h ^ words[row, k]) * _FACTOR
        h ^= h >> _SHIFT
    return h


@compiled
def move_clock(times: Any, rows: Any, moves: Any, first: Any, clock: Any, seen: Any) -> Any:
    """How far the clock stays in its day: the first row of another day, and the clock before it.

    The clock follows the rows, at most an hour at a time, so that one absurd time cannot age
    everything. ``seen`` counts rows more than a day ahead of it.
    """
    for q in range(first, rows.shape[0]):
        if not moves[q]:
            continue
        time = times[rows[q]]
        if clock < 0:
            after = time
        else:
            after = min(max(clock, time), clock + _CLOCK_STEP)
            seen[0] += np.int64(time > clock + _SECONDS_A_DAY)
        if clock < 0 or after // _SECONDS_A_DAY != clock // _SECONDS_A_DAY:
            if q > first:
                return q, clock
            clock = after
            continue
        clock = after
    return rows.shape[0], clock


@inlined
def _save(table: Any, undo: Any, state: Any, row: Any) -> None:
    """Copy a record aside before its first change in this step; newer rows are known by number."""
    if row < state[3] and table.stamps[row] != state[4]:
        table.stamps[row] = state[4]
        k = state[2]
        undo.rows[k] = row
        for w in range(table.words.shape[1]):
            undo.words[k, w] = table.words[row, w]
        state[2] = k + 1


@compiled
def remove_before(table: Any, undo: Any, state: Any, time: Any) -> Any:
    """Mark records dead whose last time is before ``time``; how many. ``undo`` has room for all."""
    removed = 0
    for row in range(state[0]):
        if table.words[row, 2] != _U0 and np.int64(table.words[row, 4]) < time:
            _save(table, undo, state, row)
            table.words[row, 2] = _U0
            removed += 1
    state[1] -= removed
    return removed


@compiled
def finish_step(table: Any, undo: Any, state: Any, check_sum: Any, seed: Any) -> Any:
    """The check sum after a step: the sum of the hashes of all records that are not dead."""
    total = check_sum
    for k in range(state[2]):
        row = undo.rows[k]
        if undo.words[k, 2] != _U0:
            total -= hash_record(undo.words, k, seed)
        if table.words[row, 2] != _U0:
            total += hash_record(table.words, row, seed)
    for row in range(state[3], state[0]):
        if table.words[row, 2] != _U0:
            total += hash_record(table.words, row, seed)
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
    """Write saved records back, and take new rows out of the index, the newest first."""
    for k in range(rows.shape[0]):
        for w in range(words.shape[1]):
            table.words[rows[k], w] = words[k, w]
    mask = np.uint64(table.slots.shape[0] - 1)
    for row in range(now - 1, before - 1, -1):
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
