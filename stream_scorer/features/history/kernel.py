"""The compiled loops of card history: features from the state before a row, then the update.

No clock but the transactions' own, no model, no batch and no partition number is in here. Only
additions, multiplications, divisions and square roots of IEEE-754 doubles, in the order written:
every machine and every split into batches gives the same bits. The state never holds a NaN, an
infinity or a number so small that some processors round it to 0. A change of one bit of state or
features needs a new ``HISTORY_VERSION``; a test has the digest of what a fixed stream gives.

They are in one file because numba recompiles a function only when the function's own file changed.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from schemas.compiled import compiled, inlined
from stream_scorer.features.history import decay, kinds, layout
from stream_scorer.features.history.arrays import UpdatePlan

DONE: Final = -1

_SECONDS_A_DAY: Final = 86_400
_MAX_AMOUNT: Final = 1e15
_MAX_VALUE: Final = 1e30  # a float32 goes to 3e38
_TINY: Final = 1e-30  # smaller amounts, values and means count as 0; a float32 goes to 1e-38
_TINY_SUM: Final = 1e-100
_MAX_NUMBER: Final = 255
_PLACES, _LAST_PLACE = 4, np.uint64(3)  # of a set
_SMALLEST_VARIANCE: Final = 1e-9  # of the squared mean: less is rounding

# Positions are unsigned: a signed one is checked for being negative at each access.
_U0, _U1, _U2, _U8 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(8)
_SIXTEEN: Final = np.uint64(16)
_NAN: Final = np.uint64(0x7FF8000000000000)
_BYTE, _SET_MASK, _TIME_MASK = np.uint64(0xFF), np.uint64(0xFFFF), np.uint64(0xFFFFFFFF)
_MIDDLE_AT, _FINE_AT = np.uint64(decay.MIDDLE_AT), np.uint64(decay.FINE_AT)
_MAX_HALVINGS: Final = np.uint64(512)  # what is longer ago counts as 0
_EXPONENT_OF_1, _MANTISSA_BITS = np.uint64(1023), np.uint64(52)
_BLOCK: Final = 64  # rows that are looked up at once, so that the memory accesses overlap


@compiled
def advance(  # noqa: C901 -- one loop, so that a row is looked up once
    times: Any, ids: Any, numbers: Any, rows: Any, flags: Any, keys: Any,
    entries: Any, operands: Any, first_out: Any, n_outs: Any, count_out: Any, amount_cell: Any,
    ttl_days: Any, ring: Any, half_lives: Any, decays: Any, spans: Any, mean_cells: Any,
    last_cells: Any, means_at: Any, lasts_at: Any, counts_at: Any, sets_at: Any, ring_at: Any,
    n_sets: Any, keys_at: Any, flag: Any, words: Any, slots: Any, stamps: Any, saved_rows: Any,
    saved: Any, state: Any, first: Any, last: Any, limit: Any, updates: Any, out: Any,
) -> Any:  # fmt: skip
    """Features and update of the rows ``first`` to ``last``; where it stopped, or ``DONE``.

    It stops before a row whose key is new while ``limit`` keys are there. ``state`` is int64:
    rows, keys that are not dead, saved records, rows before the step, number of the step, repeated
    rows, late rows. With ``updates`` 0 nothing is updated.
    """
    plan = UpdatePlan(
        entries, operands, first_out, n_outs, count_out, amount_cell, ttl_days, ring, half_lives,
        decays, spans, mean_cells, last_cells, means_at, lasts_at, counts_at, sets_at, ring_at,
        n_sets, keys_at, flag,
    )  # fmt: skip
    doubles, floats, octets = words.view(np.float64), words.view(np.float32), words.view(np.uint8)
    factors = np.empty(plan.half_lives.shape[0])
    windows = np.empty((2, plan.windows.shape[0]))
    found = np.empty(_BLOCK, np.int64)
    card, rest = np.uint64(plan.keys_at), np.uint64(plan.keys_at + 1)
    for q in range(first, last):
        if (q - first) % _BLOCK == 0:
            end = min(q + _BLOCK, last)
            for k in range(q, end):
                found[k - q] = -1
                if flags[k] & plan.flag:
                    found[k - q] = _find(words, slots, keys[k, card], keys[k, rest])[0]
            if updates:
                for k in range(q, end):
                    if flags[k] & kinds.MOVES_CLOCK and found[k - q] >= 0:
                        _save(words, stamps, saved_rows, saved, state, found[k - q])
        r = rows[q]
        has_key = flags[q] & plan.flag != 0
        row = found[(q - first) % _BLOCK]
        slot = _U0
        if has_key and row < 0:  # an earlier row of the block may have begun it
            row, slot = _find(words, slots, keys[q, card], keys[q, rest])
        time = times[r]
        amount = _clean(min(max(numbers[r, plan.amount], -_MAX_AMOUNT), _MAX_AMOUNT))
        at = np.uint64(max(row, 0))
        is_alive = row >= 0 and words[at, 2] != _U0
        oldest = (time // _SECONDS_A_DAY - plan.ttl_days) * _SECONDS_A_DAY
        is_known = is_alive and np.int64(words[at, 4]) >= oldest
        is_update = updates != 0 and has_key and flags[q] & kinds.MOVES_CLOCK != 0
        if is_update and not is_alive and state[1] >= limit:
            return q
        if is_known:
            gap = np.uint64(max(time - np.int64(words[at, 4]), 0))
            for h in range(factors.shape[0]):
                factors[h] = _decay(plan, h, gap)
            kept, same = _look_back(words, floats, plan, at, time, amount, windows)
            _emit(numbers, keys, plan, words, doubles, floats, octets, factors, windows, q, r, at,
                  time, amount, gap, kept, same, out)  # fmt: skip
        else:
            for f in range(plan.first_out, plan.first_out + plan.n_outs):
                out[r, f] = np.nan
            if has_key and plan.count_out >= 0:
                out[r, plan.count_out] = 0.0
        if not is_update:
            continue
        if row < 0:
            row = state[0]
            at = np.uint64(row)
            state[0] += 1
            slots[slot] = np.int32(row + 1)
        elif is_known and words[at, 5] == np.uint64(ids[r]):
            state[5] += 1  # the same transaction again
            continue
        state[1] += np.int64(not is_alive)
        if not is_known:
            _begin(words, floats, plan, at, keys[q, card], keys[q, rest], time)
            factors[:] = 0.0
        elif time < np.int64(words[at, 4]):
            state[6] += 1
        _update(ids, numbers, keys, plan, words, doubles, floats, octets, factors, q, r, at,
                time, amount)  # fmt: skip
    return DONE


@inlined
def _find(words: Any, slots: Any, card: Any, rest: Any) -> Any:
    """The row of a key, -1 if there is none, and the slot where the search ended."""
    mask = np.uint64(slots.shape[0] - 1)
    slot = rest & mask
    row = np.int64(-1)
    while slots[slot] != 0:
        other = np.uint64(slots[slot] - 1)
        if words[other, 0] == card and words[other, 1] == rest:
            row = np.int64(other)
            break
        slot = (slot + _U1) & mask
    return row, slot


@inlined
def _save(words: Any, stamps: Any, rows: Any, saved: Any, state: Any, row: Any) -> None:
    """Copy a record aside before its first change in this step; newer rows are known by number."""
    if row < state[3] and stamps[row] != state[4]:
        stamps[row] = state[4]
        k = state[2]
        rows[k] = row
        for w in range(words.shape[1]):
            saved[k, w] = words[row, w]
        state[2] = k + 1


@inlined
def _begin(words: Any, floats: Any, plan: Any, at: Any, card: Any, rest: Any, time: Any) -> None:
    for w in range(words.shape[1]):
        words[at, w] = _U0
    words[at, 0] = card
    words[at, 1] = rest
    words[at, 3] = np.uint64(time)
    words[at, 4] = np.uint64(time)
    for k in range(plan.last_cells.shape[0]):
        floats[at, np.uint64(2 * plan.lasts_at + k)] = np.float32(layout.NO_VALUE)


@inlined
def _clean(value: Any) -> Any:
    """A number, or 0 for one that is almost 0; -0 is 0 too."""
    return 0.0 if abs(value) < _TINY else value


@inlined
def _select(condition: Any, value: Any, otherwise: Any) -> Any:
    """``value`` or the bits ``otherwise``, without a branch: half of them would be mispredicted."""
    mask = _U0 - np.uint64(condition)
    bits = (np.float64(value).view(np.uint64) & mask) | (otherwise & ~mask)
    return np.uint64(bits).view(np.float64)


@inlined
def _number(value: Any) -> Any:
    """A feature. NaN has two signs, and a quotient by 0 is of no use to a model."""
    return _select(abs(value) < np.inf, value, _NAN)


@inlined
def _decay(plan: Any, h: Any, gap: Any) -> Any:
    """2^(-gap / half-life)."""
    half = np.uint64(plan.half_lives[h])
    halvings = gap // half
    rest = gap - halvings * half
    if halvings >= _MAX_HALVINGS:
        return 0.0
    power = np.uint64((_EXPONENT_OF_1 - halvings) << _MANTISSA_BITS).view(np.float64)
    coarse = plan.decays[h, rest >> _SIXTEEN]
    middle = plan.decays[h, _MIDDLE_AT + ((rest >> _U8) & _BYTE)]
    return power * coarse * middle * plan.decays[h, _FINE_AT + (rest & _BYTE)]


@inlined
def _look_back(
    words: Any, floats: Any, plan: Any, at: Any, time: Any, amount: Any, windows: Any
) -> Any:
    """Remembered transactions, and those of this amount; ``windows`` has counts and amounts."""
    windows[:] = 0.0
    amount32 = np.float32(amount)
    ring = np.uint64(plan.ring)
    kept = min(words[at, 2], ring)
    same = np.int64(0)
    if plan.ring > 0:
        place = (words[at, 2] - _U1) % ring
        for _ in range(kept):  # the newest first
            cell = np.uint64(plan.ring_at) + place
            distance = abs(time - np.int64(words[at, cell] & _TIME_MASK))
            of_event = floats[at, _U2 * cell + _U1]
            same += np.int64(of_event == amount32)
            for w in range(windows.shape[1]):
                inside = np.float64(distance <= plan.windows[w])
                windows[0, w] += inside
                windows[1, w] += inside * np.float64(of_event)
            place = (ring if place == _U0 else place) - _U1
    return kept, same


@inlined
def _look_up(word: Any, bits: Any) -> Any:
    """How many places of a set are taken, and whether a value is in one."""
    known, is_found = _U0, False
    for _ in range(_PLACES):
        place = word & _SET_MASK
        word >>= _SIXTEEN
        known += np.uint64(place != _U0)
        is_found |= place == bits
    return known, is_found


@inlined
def _emit(  # noqa: C901 -- a call for each kind would be slower
    numbers: Any, keys: Any, plan: Any, words: Any, doubles: Any, floats: Any, octets: Any,
    factors: Any, windows: Any, q: Any, r: Any, at: Any, time: Any, amount: Any, gap: Any,
    kept: Any, same: Any, out: Any,
) -> None:  # fmt: skip
    count = np.float64(words[at, 2])
    before, latest = np.int64(words[at, 3]), np.int64(words[at, 4])
    mean = doubles[at, 6] / count
    for e in range(plan.entries.shape[0]):
        kind, to, n, a = plan.entries[e]
        value = np.nan
        if kind == kinds.COUNT:
            value = min(count, np.float64(kinds.MAX_COUNT))
        elif kind == kinds.AGE:
            value = np.float64(min(max(time - before, 0), kinds.MAX_AGE_DAYS * _SECONDS_A_DAY))
        elif kind == kinds.GAP:
            value = np.float64(gap)
        elif kind == kinds.GAP_BEFORE:
            if words[at, 2] > _U1:
                cell = np.uint64(plan.ring_at) + (words[at, 2] - _U2) % np.uint64(plan.ring)
                value = np.float64(max(time - np.int64(words[at, cell] & _TIME_MASK), 0))
        elif kind == kinds.GAP_RATIO:
            if count > 1.0 and latest > before:
                value = np.float64(gap) / (np.float64(latest - before) / (count - 1.0))
        elif kind == kinds.MEAN_AMOUNT:
            value = mean
        elif kind == kinds.AMOUNT_RATIO:
            value = _number(amount / mean)
        elif kind == kinds.AMOUNT_Z:
            variance = doubles[at, 7] / count - mean * mean
            if variance > _SMALLEST_VARIANCE * (mean * mean):
                value = _number((amount - mean) / np.sqrt(variance))
        elif kind == kinds.MAX_RATIO:
            value = _number(amount / np.float64(floats[at, 16]))
        elif kind == kinds.SAME_AMOUNT:
            value = np.float64(same)
        elif kind == kinds.SAME_AMOUNT_SHARE:
            value = np.float64(same) / np.float64(kept)
        out[r, to] = value
        if kind == kinds.COUNT_IN or kind == kinds.AMOUNT_IN:
            for k in range(n):
                out[r, to + k] = windows[kind - kinds.COUNT_IN, plan.operands[a + k]]
        elif kind == kinds.DECAYED_COUNT or kind == kinds.DECAYED_AMOUNT:
            for k in range(n):
                h = plan.operands[a + k]
                cell = np.uint64(9 + 2 * h + kind - kinds.DECAYED_COUNT)
                out[r, to + k] = doubles[at, cell] * factors[h]
        elif kind == kinds.MEAN or kind == kinds.MINUS_MEAN:
            for k in range(n):
                m = plan.operands[a + k]
                of_mean = np.float64(floats[at, np.uint64(2 * plan.means_at + m)])
                if kind == kinds.MINUS_MEAN:
                    of_mean = _number(numbers[r, plan.mean_cells[m]] - of_mean)
                is_there = octets[at, np.uint64(8 * plan.counts_at + m)] > 0
                out[r, to + k] = _select(is_there, of_mean, _NAN)
        elif kind == kinds.MINUS_LAST:
            for k in range(n):
                m = plan.operands[a + k]
                last = np.float64(floats[at, np.uint64(2 * plan.lasts_at + m)])
                difference = _number(numbers[r, plan.last_cells[m]] - last)
                out[r, to + k] = _select(last < layout.NO_VALUE, difference, _NAN)
        elif kind == kinds.DISTINCT or kind == kinds.IS_NEW:
            for k in range(n):
                s = plan.operands[a + k]
                bits = keys[q, plan.keys_at + 2 + s]
                known, is_found = _look_up(words[at, np.uint64(plan.sets_at + s)], bits)
                is_new = _select(bits != _U0, np.float64(not is_found), _NAN)
                out[r, to + k] = np.float64(known) if kind == kinds.DISTINCT else is_new


@inlined
def _update(
    ids: Any, numbers: Any, keys: Any, plan: Any, words: Any, doubles: Any, floats: Any,
    octets: Any, factors: Any, q: Any, r: Any, at: Any, time: Any, amount: Any,
) -> None:  # fmt: skip
    count = words[at, 2]
    for h in range(factors.shape[0]):
        cell = np.uint64(9 + 2 * h)
        doubles[at, cell] = doubles[at, cell] * factors[h] + 1.0
        total = doubles[at, cell + _U1] * factors[h] + amount
        doubles[at, cell + _U1] = 0.0 if abs(total) < _TINY_SUM else total
    amount32 = np.float32(amount)
    if plan.ring > 0:
        cell = np.uint64(plan.ring_at) + count % np.uint64(plan.ring)
        words[at, cell] = np.uint64(time)
        floats[at, _U2 * cell + _U1] = amount32
    if count == _U0 or amount32 > floats[at, 16]:
        floats[at, 16] = amount32
    words[at, 2] = count + _U1
    words[at, 4] = max(words[at, 4], np.uint64(time))
    words[at, 5] = np.uint64(ids[r])
    doubles[at, 6] += amount
    doubles[at, 7] += amount * amount
    for m in range(plan.mean_cells.shape[0]):
        value = numbers[r, plan.mean_cells[m]]
        cell, number = np.uint64(2 * plan.means_at + m), np.uint64(8 * plan.counts_at + m)
        mean = np.float64(floats[at, cell])
        is_there = abs(value) <= _MAX_VALUE
        n: Any = min(np.int64(octets[at, number]) + np.int64(is_there), _MAX_NUMBER)
        octets[at, number] = np.uint8(n)
        step = (_clean(value) - mean) / np.float64(max(n, 1))
        floats[at, cell] = np.float32(_clean(mean + _select(is_there, step, _U0)))
    for k in range(plan.last_cells.shape[0]):
        value, cell = numbers[r, plan.last_cells[k]], np.uint64(2 * plan.lasts_at + k)
        before = np.float64(floats[at, cell]).view(np.uint64)
        floats[at, cell] = np.float32(_select(abs(value) <= _MAX_VALUE, _clean(value), before))
    for s in range(plan.n_sets):
        bits = keys[q, plan.keys_at + 2 + s]
        cell = np.uint64(plan.sets_at + s)
        known, is_found = _look_up(words[at, cell], bits)
        is_added = bits != _U0 and not is_found and known <= _LAST_PLACE
        words[at, cell] |= (bits * np.uint64(is_added)) << (_SIXTEEN * (known & _LAST_PLACE))
