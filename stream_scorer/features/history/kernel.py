"""The compiled loops of card history: features from the state before a row, then the update.

No clock but the transactions' own, no model, no batch and no partition number is in here. Only
additions, multiplications, divisions and square roots of IEEE-754 doubles, in the order written:
every machine and every split into batches gives the same bits.

They are in one file because numba recompiles a function only when the function's own file changed.
A change of one bit of state or features needs a new ``HISTORY_VERSION``; a test has the digest of
what a fixed stream gives.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from schemas.compiled import compiled, inlined
from stream_scorer.features.history import kinds

DONE: Final = -1

_SECONDS_A_DAY: Final = 86_400
_MAX_AMOUNT: Final = 1e15
_MAX_VALUE: Final = 1e30  # a float32 goes to 3e38
_MAX_NUMBER: Final = 255
_PLACES: Final = 4  # of a set
_SMALLEST_VARIANCE: Final = 1e-9
_MAX_HALVINGS: Final = 1_075

_U0, _U1 = np.uint64(0), np.uint64(1)
_SIXTEEN: Final = np.uint64(16)
_SET_MASK: Final = np.uint64(0xFFFF)
_TIME_MASK: Final = np.uint64(0xFFFFFFFF)


@compiled
def advance(  # noqa: C901 -- one loop, so that a row is looked up once
    source: Any, keys: Any, plan: Any, table: Any, undo: Any, state: Any,
    first: Any, last: Any, limit: Any, room: Any, out: Any,
) -> Any:  # fmt: skip
    """Features and update of the rows ``first`` to ``last``; where it stopped, or ``DONE``.

    It stops before a row whose key is new while ``limit`` keys are there. ``state`` is int64:
    rows, keys that are not dead, saved records, rows before the step, number of the step, repeated
    rows, late rows. With ``room`` 0 nothing is updated.
    """
    mask = np.uint64(table.slots.shape[0] - 1)
    for q in range(first, last):
        r = keys.rows[q]
        for f in range(plan.kinds.shape[0]):
            out[r, plan.outs[f]] = np.nan
        if not keys.has_history[q]:
            continue
        card, rest = keys.cards[q], keys.hashes[q]
        slot = rest & mask
        row = np.int64(-1)
        while table.slots[slot] != 0:
            j = np.int64(table.slots[slot] - 1)
            if table.words[j, 0] == card and table.words[j, 1] == rest:
                row = j
                break
            slot = (slot + _U1) & mask
        time = source.times[r]
        amount = min(max(source.numbers[r, plan.amount], -_MAX_AMOUNT), _MAX_AMOUNT)
        is_alive = row >= 0 and table.words[row, 2] != _U0
        oldest = (time // _SECONDS_A_DAY - plan.ttl_days) * _SECONDS_A_DAY
        is_known = is_alive and np.int64(table.words[row, 4]) >= oldest
        updates = room != 0 and keys.advances[q]
        if updates and not is_alive and state[1] >= limit:
            return q
        if is_known:
            _emit(source, keys, plan, table, q, r, row, time, amount, out)
        else:
            for f in range(plan.kinds.shape[0]):
                if plan.kinds[f] == kinds.COUNT:
                    out[r, plan.outs[f]] = 0.0
        if not updates:
            continue
        if row < 0:
            row = state[0]
            state[0] += 1
            table.slots[slot] = np.int32(row + 1)
        elif is_known and table.words[row, 5] == np.uint64(source.ids[r]):
            state[5] += 1  # the same transaction again
            continue
        elif row < state[3] and table.stamps[row] != state[4]:
            table.stamps[row] = state[4]  # first change in this step; newer rows need no copy
            undo.rows[state[2]] = row
            for w in range(table.words.shape[1]):
                undo.words[state[2], w] = table.words[row, w]
            state[2] += 1
        state[1] += np.int64(not is_alive)
        if not is_known:
            _begin(plan, table, row, card, rest, time)
        elif time < np.int64(table.words[row, 4]):
            state[6] += 1
        _update(source, keys, plan, table, q, r, row, time, amount)
    return DONE


@inlined
def _begin(plan: Any, table: Any, row: Any, card: Any, rest: Any, time: Any) -> None:
    for w in range(table.words.shape[1]):
        table.words[row, w] = _U0
    table.words[row, 0] = card
    table.words[row, 1] = rest
    table.words[row, 3] = np.uint64(time)
    table.words[row, 4] = np.uint64(time)
    for k in range(plan.last_cells.shape[0]):
        table.floats[row, 2 * plan.lasts_at + k] = np.float32(np.nan)


@inlined
def _decay(plan: Any, h: Any, gap: Any) -> Any:
    half = plan.half_lives[h]
    rest = gap % half
    halvings = plan.halvings[min(gap // half, _MAX_HALVINGS)]
    return halvings * plan.coarse[h, rest >> 8] * plan.fine[h, rest & 255]


@compiled
def _emit(  # noqa: C901 -- a call for each kind would be slower
    source: Any, keys: Any, plan: Any, table: Any, q: Any, r: Any,
    row: Any, time: Any, amount: Any, out: Any,
) -> None:  # fmt: skip
    words, doubles, floats = table.words, table.doubles, table.floats
    count = np.int64(words[row, 2])
    first, last = np.int64(words[row, 3]), np.int64(words[row, 4])
    gap = max(time - last, 0)
    mean = doubles[row, 6] / count
    same: Any = 0
    kept: Any = min(count, plan.ring)
    for w in range(plan.windows.shape[0]):
        plan.counts[w] = 0.0
        plan.amounts[w] = 0.0
    amount32 = np.float32(amount)
    for k in range(kept):
        at = plan.ring_at + (count - 1 - k) % plan.ring
        event = np.int64(words[row, at] & _TIME_MASK)
        of_event = floats[row, 2 * at + 1]
        same += np.int64(of_event == amount32)
        for w in range(plan.windows.shape[0]):
            if time - event <= plan.windows[w]:
                plan.counts[w] += 1.0
                plan.amounts[w] += np.float64(of_event)
    for f in range(plan.kinds.shape[0]):
        kind, a = plan.kinds[f], plan.operands[f]
        value: Any = np.nan
        if kind == kinds.COUNT:
            count_so_far: Any = min(count, kinds.MAX_COUNT)
            value = np.float64(count_so_far)
        elif kind == kinds.AGE:
            value = np.float64(min(max(time - first, 0), kinds.MAX_AGE_DAYS * _SECONDS_A_DAY))
        elif kind == kinds.GAP:
            value = np.float64(gap)
        elif kind == kinds.GAP_BEFORE:
            if count > 1:
                at = plan.ring_at + (count - 2) % plan.ring
                value = np.float64(max(time - np.int64(words[row, at] & _TIME_MASK), 0))
        elif kind == kinds.GAP_RATIO:
            if count > 1 and last > first:
                value = gap / (np.float64(last - first) / np.float64(count - 1))
        elif kind == kinds.MEAN_AMOUNT:
            value = mean
        elif kind == kinds.AMOUNT_RATIO:
            value = amount / mean
        elif kind == kinds.AMOUNT_Z:
            variance = doubles[row, 7] / count - mean * mean
            if variance > _SMALLEST_VARIANCE:
                value = (amount - mean) / np.sqrt(variance)
        elif kind == kinds.MAX_RATIO:
            value = amount / np.float64(floats[row, 16])
        elif kind == kinds.SAME_AMOUNT:
            value = np.float64(same)
        elif kind == kinds.SAME_AMOUNT_SHARE:
            value = np.float64(same) / np.float64(kept)
        elif kind == kinds.COUNT_IN:
            value = plan.counts[a]
        elif kind == kinds.AMOUNT_IN:
            value = plan.amounts[a]
        elif kind == kinds.DECAYED_COUNT:
            value = doubles[row, 9 + 2 * a] * _decay(plan, a, gap)
        elif kind == kinds.DECAYED_AMOUNT:
            value = doubles[row, 10 + 2 * a] * _decay(plan, a, gap)
        elif kind == kinds.MEAN or kind == kinds.MINUS_MEAN:
            if table.octets[row, 8 * plan.counts_at + a] > 0:
                value = np.float64(floats[row, 2 * plan.means_at + a])
                if kind == kinds.MINUS_MEAN:
                    value = source.numbers[r, plan.mean_cells[a]] - value
        elif kind == kinds.MINUS_LAST:
            before = np.float64(floats[row, 2 * plan.lasts_at + a])
            value = source.numbers[r, plan.last_cells[a]] - before
        elif kind == kinds.DISTINCT or kind == kinds.IS_NEW:
            bits = keys.sets[q, a]
            known: Any = 0
            found = False
            for k in range(_PLACES):
                place = (words[row, plan.sets_at + a] >> (_SIXTEEN * np.uint64(k))) & _SET_MASK
                known += np.int64(place != _U0)
                found = found or (place != _U0 and place == bits)
            if kind == kinds.DISTINCT:
                value = np.float64(known)
            elif bits != _U0:
                value = 0.0 if found else 1.0
        # Two ways to NaN differ in its sign bit, and a quotient by 0 is of no use to a model.
        out[r, plan.outs[f]] = value if abs(value) < np.inf else np.nan


@compiled
def _update(  # noqa: C901 -- one part of a record after the other
    source: Any, keys: Any, plan: Any, table: Any, q: Any, r: Any, row: Any, time: Any, amount: Any
) -> None:
    words, doubles, floats = table.words, table.doubles, table.floats
    count, last = np.int64(words[row, 2]), np.int64(words[row, 4])
    gap = max(time - last, 0)
    for h in range(plan.half_lives.shape[0]):
        factor = _decay(plan, h, gap)
        doubles[row, 9 + 2 * h] = doubles[row, 9 + 2 * h] * factor + 1.0
        doubles[row, 10 + 2 * h] = doubles[row, 10 + 2 * h] * factor + amount
    amount32 = np.float32(amount)
    if plan.ring > 0:
        at = plan.ring_at + count % plan.ring
        words[row, at] = np.uint64(time)
        floats[row, 2 * at + 1] = amount32
    if count == 0 or amount32 > floats[row, 16]:
        floats[row, 16] = amount32
    words[row, 2] = np.uint64(count + 1)
    latest: Any = max(last, time)
    words[row, 4] = np.uint64(latest)
    words[row, 5] = np.uint64(source.ids[r])
    doubles[row, 6] += amount
    doubles[row, 7] += amount * amount
    for m in range(plan.mean_cells.shape[0]):
        value = source.numbers[r, plan.mean_cells[m]]
        if abs(value) <= _MAX_VALUE:
            at = 8 * plan.counts_at + m
            n: Any = min(np.int64(table.octets[row, at]) + 1, _MAX_NUMBER)
            table.octets[row, at] = np.uint8(n)
            mean = np.float64(floats[row, 2 * plan.means_at + m])
            floats[row, 2 * plan.means_at + m] = np.float32(mean + (value - mean) / n)
    for k in range(plan.last_cells.shape[0]):
        value = source.numbers[r, plan.last_cells[k]]
        if abs(value) <= _MAX_VALUE:
            floats[row, 2 * plan.lasts_at + k] = np.float32(value)
    for s in range(keys.sets.shape[1]):
        bits = keys.sets[q, s]
        if bits == _U0:
            continue
        word = words[row, plan.sets_at + s]
        for k in range(_PLACES):
            shift = _SIXTEEN * np.uint64(k)
            place = (word >> shift) & _SET_MASK
            if place == bits:
                break
            if place == _U0:
                words[row, plan.sets_at + s] = word | (bits << shift)
                break
