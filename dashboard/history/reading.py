"""What a view says about the transactions of a request."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dashboard.history.partitions import Missing, View
from dashboard.history.past import LOADING, NO_CARD, Past, not_used, used_note
from schemas.batch import HistoryColumns, TransactionBatch
from schemas.contracts import NUMBER_INDEX
from schemas.layout import number_cells
from stream_scorer.features.history.spec import CARD, HistorySpec
from stream_scorer.state.placement import partitions_of

_MAX_WHOLE: Final = 2.0**53  # doubles up to here are exact whole numbers


def read_past(view: View, batch: TransactionBatch, spec: HistorySpec) -> Past:
    """The features of the past of each transaction, from the partition of its card.

    Args:
        view: the histories that there are.
        batch: with every column.
        spec: of the bundle that is going to score the batch; a view of another one is not used.
    """
    n = len(batch)
    if view.spec.fingerprint != spec.fingerprint or not view.partitions:
        return Past(None, [not_used(LOADING)] * n)
    cards, has_card = _read_cards(batch)
    partitions = np.where(has_card, partitions_of(cards, len(view.partitions)), -1)
    values = np.full((n, len(spec.names)), np.nan)
    notes = [not_used(NO_CARD)] * n
    used = False
    for partition in np.unique(partitions[partitions >= 0]).tolist():
        rows = np.flatnonzero(partitions == partition)
        one = view.partitions[partition]
        if isinstance(one, Missing):
            note = not_used(one.reason)
        else:
            stamp = one.peek(batch, rows, values)
            note = used_note(stamp.as_of, partition, stamp.offset)
            used = True
        for row in rows.tolist():
            notes[row] = note
    return Past(HistoryColumns(spec.fingerprint, values) if used else None, notes)


def _read_cards(batch: TransactionBatch) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """``card1`` of each row, and whether it is a whole number."""
    (cell,) = number_cells(batch.layout, [NUMBER_INDEX[CARD]])
    given = batch.numbers[:, cell]
    is_whole = (np.abs(given) <= _MAX_WHOLE) & (given == np.floor(given))
    return np.where(is_whole, given, 0.0).astype(np.int64), is_whole
