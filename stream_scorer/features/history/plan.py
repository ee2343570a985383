"""A key space's spec as arrays for the compiled loops."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from schemas.batch import TransactionBatch, read_only
from schemas.contracts import AMOUNT, NUMBER_INDEX, TEXT_INDEX
from schemas.layout import Layout
from stream_scorer.features.history.arrays import Ints, KeyPlan, Keys, Source, UpdatePlan
from stream_scorer.features.history.decay import decay_tables
from stream_scorer.features.history.kinds import COUNT, HAS_KEY
from stream_scorer.features.history.spec import CARD, HistorySpec, KeySpace

_KEPT_PLANS: Final = 64


def source_of(batch: TransactionBatch) -> Source:
    """The columns of a batch, as the compiled loops take them."""
    text = read_only(batch.text)
    return Source(batch.times, batch.ids, batch.numbers, text, batch.starts, batch.lengths)


class Plan(NamedTuple):
    """How to read the keys of all spaces, and what to do in each space."""

    keys: KeyPlan
    updates: tuple[UpdatePlan, ...]

    def empty_keys(self, n: int) -> Keys:
        """Room for the keys of ``n`` rows."""
        words = np.empty((n, self.keys.width), np.uint64)
        return Keys(np.empty(n, np.int64), np.empty(n, np.uint8), words)


@lru_cache(_KEPT_PLANS)
def plan_spec(spec: HistorySpec, layout: Layout | None) -> Plan:
    """The plan of a spec, for batches of this layout. Nothing writes to it.

    Raises:
        KeyError: the layout lacks a column that the spec reads.
    """
    spaces, used, updates = [], list[int](), []
    first_out = keys_at = 0
    for number, space in enumerate(spec.spaces):
        key, sets = _cells(layout, space.key[1:]), _cells(layout, space.layout.sets)
        start_day = -1 if space.start_day is None else _cell(layout, space.start_day)
        first_set = len(used) + len(key)
        spaces.append((len(used), first_set, first_set + len(sets), start_day))
        used += [*key, *sets]
        updates.append(_plan_updates(space, number, first_out, keys_at, layout))
        first_out += len(space.named)
        keys_at += 2 + len(sets)
    amount, card = _cell(layout, AMOUNT), _cell(layout, CARD)
    cells = list(dict.fromkeys(used))
    places = [cells.index(cell) for cell in used]
    keys = KeyPlan(card, amount, _ints(spaces), _ints(cells), _ints(places), keys_at)
    return Plan(keys, tuple(updates))


def _plan_updates(
    space: KeySpace, number: int, first: int, keys_at: int, layout: Layout | None
) -> UpdatePlan:
    record = space.layout
    places: dict[str, tuple[str | int, ...]] = {
        "count_in": record.windows,
        "amount_in": record.windows,
        "decayed_count": record.half_lives,
        "decayed_amount": record.half_lives,
        "mean": record.means,
        "minus_mean": record.means,
        "minus_last": record.lasts,
        "distinct": record.sets,
        "is_new": record.sets,
    }
    entries, operands, out = [], list[int](), first
    for features in space.features:
        of_kind = places.get(features.kind)
        found = [0] if of_kind is None else [of_kind.index(o) for o in features.operands]
        entries.append((features.feature_kind.number, out, len(found), len(operands)))
        operands += found
        out += len(found)
    return UpdatePlan(
        _ints(entries),
        _ints(operands),
        first,
        out - first,
        next((to for kind, to, _, _ in entries if kind == COUNT), -1),
        _cell(layout, AMOUNT),
        space.ttl_days,
        space.ring,
        _ints(record.half_lives),
        decay_tables(record.half_lives),
        _ints(record.windows),
        _ints(_cells(layout, record.means)),
        _ints(_cells(layout, record.lasts)),
        record.means_at,
        record.lasts_at,
        record.counts_at,
        record.sets_at,
        record.ring_at,
        len(record.sets),
        keys_at,
        HAS_KEY << number,
    )


def _ints(values: Sequence[int] | Sequence[tuple[int, ...]]) -> Ints:
    return np.array(values, np.int64)


def _cells(layout: Layout | None, columns: Sequence[str]) -> list[int]:
    return [_cell(layout, column) for column in columns]


def _cell(layout: Layout | None, column: str) -> int:
    if column in TEXT_INDEX:
        return -1 - TEXT_INDEX[column]
    number = NUMBER_INDEX[column]
    return number if layout is None else layout.at(number)
