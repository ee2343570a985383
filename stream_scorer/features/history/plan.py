"""A key space's spec as arrays for the compiled loops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch, read_only
from schemas.contracts import AMOUNT, NUMBER_INDEX, TEXT_INDEX
from schemas.layout import Layout
from stream_scorer.features.history.decay import HALVINGS, decay_tables
from stream_scorer.features.history.kinds import KINDS
from stream_scorer.features.history.spec import KeySpace

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]


class Source(NamedTuple):
    """The columns of a batch."""

    times: Ints
    ids: Ints
    numbers: Doubles
    text: NDArray[np.uint8]
    starts: Ints
    lengths: NDArray[np.int32]


def source_of(batch: TransactionBatch) -> Source:
    """The columns of a batch, as the compiled loops take them."""
    text = read_only(batch.text)
    return Source(batch.times, batch.ids, batch.numbers, text, batch.starts, batch.lengths)


class KeyPlan(NamedTuple):
    """Which cells make the key and the sets; a text is ``-1 - column``. No start day: -1."""

    cells: Ints
    start_day: int
    sets: Ints


class Keys(NamedTuple):
    """The rows of one call: their places in the batch, and their keys."""

    rows: Ints
    advances: NDArray[np.bool_]
    cards: NDArray[np.uint64]
    hashes: NDArray[np.uint64]
    has_history: NDArray[np.bool_]
    sets: NDArray[np.uint64]


def empty_keys(rows: Ints, advances: NDArray[np.bool_], n_sets: int) -> Keys:
    """Room for the keys of some rows."""
    n = len(rows)
    return Keys(
        rows,
        advances,
        np.empty(n, np.uint64),
        np.empty(n, np.uint64),
        np.empty(n, np.bool_),
        np.empty((n, n_sets), np.uint64),
    )


class UpdatePlan(NamedTuple):
    """What the loop over the rows has to know."""

    kinds: Ints
    operands: Ints
    outs: Ints
    amount: int
    ttl_days: int
    ring: int
    half_lives: Ints
    windows: Ints
    mean_cells: Ints
    last_cells: Ints
    means_at: int
    counts_at: int
    lasts_at: int
    sets_at: int
    ring_at: int
    halvings: Doubles
    coarse: Doubles
    fine: Doubles
    counts: Doubles
    amounts: Doubles


def plan_keys(space: KeySpace, layout: Layout | None) -> KeyPlan:
    """The key of a space, in batches of this layout."""
    start_day = -1 if space.start_day is None else _cell(layout, space.start_day)
    return KeyPlan(_cells(layout, space.key), start_day, _cells(layout, space.layout.sets))


def plan_updates(space: KeySpace, first: int, layout: Layout | None) -> UpdatePlan:
    """The features of a space, from column ``first`` of the output on, and its updates."""
    record = space.layout
    operands = []
    for _, features, operand in space.named:
        of_kind = {
            "count_in": record.windows,
            "amount_in": record.windows,
            "decayed_count": record.half_lives,
            "decayed_amount": record.half_lives,
            "mean": record.means,
            "minus_mean": record.means,
            "minus_last": record.lasts,
            "distinct": record.sets,
            "is_new": record.sets,
        }.get(features.kind)
        operands.append(list(of_kind).index(operand) if of_kind is not None else 0)
    coarse, fine = decay_tables(record.half_lives)
    numbers = [KINDS[features.kind].number for _, features, _ in space.named]
    return UpdatePlan(
        np.array(numbers, np.int64),
        np.array(operands, np.int64),
        np.arange(first, first + len(numbers), dtype=np.int64),
        _cell(layout, AMOUNT),
        space.ttl_days,
        space.ring,
        np.array(record.half_lives, np.int64),
        np.array(record.windows, np.int64),
        _cells(layout, record.means),
        _cells(layout, record.lasts),
        record.means_at,
        record.counts_at,
        record.lasts_at,
        record.sets_at,
        record.ring_at,
        HALVINGS,
        coarse,
        fine,
        np.empty(len(record.windows)),
        np.empty(len(record.windows)),
    )


def _cells(layout: Layout | None, columns: Sequence[str]) -> Ints:
    return np.array([_cell(layout, column) for column in columns], np.int64)


def _cell(layout: Layout | None, column: str) -> int:
    if column in TEXT_INDEX:
        return -1 - TEXT_INDEX[column]
    number = NUMBER_INDEX[column]
    return number if layout is None else layout.at(number)
