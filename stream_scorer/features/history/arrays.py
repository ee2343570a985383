"""The arrays that the compiled loops take, by name.

A loop takes their fields one by one, and puts them together itself: numba unpacks a tuple in a call
three times as slowly as its fields, and each call has some forty.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
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


class Keys(NamedTuple):
    """The rows of one call: their places in the batch, and their keys.

    Attributes:
        rows: places in the batch.
        flags: ``MOVES_CLOCK`` and ``HAS_KEY`` of :mod:`stream_scorer.features.history.kinds`.
        words: for each space ``card1``, the hash of the key, and the hashes for the sets.
    """

    rows: Ints
    flags: NDArray[np.uint8]
    words: Words


class KeyPlan(NamedTuple):
    """Which cells make the keys and the sets.

    Attributes:
        card: the cell of the card.
        amount: the cell of the amount.
        spaces: for each, where in ``places`` its key (without the card) and its sets begin, where
            they end, and the cell of the start day, or -1.
        cells: each cell once; a text is ``-1 - column``.
        places: of the values of keys and sets in ``cells``.
        width: words of a row's keys.
    """

    card: int
    amount: int
    spaces: Ints
    cells: Ints
    places: Ints
    width: int


class UpdatePlan(NamedTuple):
    """What the loop over the rows has to know. Few arrays, because each costs time in each call.

    Attributes:
        entries: for each list of features of one kind: its kind, its first column in the output,
            how many it has, and where their operands begin.
        operands: places of a feature's window, half-life, mean, last value or set in the record.
        first_out: the space's first column in the output; it has ``n_outs``.
        count_out: the column of ``count``, or -1.
        amount: the cell of the amount.
        half_lives: seconds of each.
        decays: their tables, see :mod:`stream_scorer.features.history.decay`.
        windows: seconds of each.
        mean_cells: the cell of each column that has a mean; ``last_cells`` likewise.
        means_at: where in a record the means begin; ``lasts_at`` and so on likewise.
        keys_at: where in ``Keys.words`` the space's key is.
        flag: of a row that has a key in this space.
    """

    entries: Ints
    operands: Ints
    first_out: int
    n_outs: int
    count_out: int
    amount: int
    ttl_days: int
    ring: int
    half_lives: Ints
    decays: Doubles
    windows: Ints
    mean_cells: Ints
    last_cells: Ints
    means_at: int
    lasts_at: int
    counts_at: int
    sets_at: int
    ring_at: int
    n_sets: int
    keys_at: int
    flag: int


class TableArrays(NamedTuple):
    """The arrays of a table as the compiled loops take them.

    Attributes:
        words: uint64 ``[capacity, width]``, the records.
        slots: int32 ``[power of 2]``, at most half full: row + 1 of the key that hashes there.
        stamps: int64 ``[capacity]``, the step in which a record was last saved.
    """

    words: Words
    slots: NDArray[np.int32]
    stamps: NDArray[np.int64]


class Saved(NamedTuple):
    """Records as they were before a step."""

    rows: NDArray[np.int64]
    words: Words
