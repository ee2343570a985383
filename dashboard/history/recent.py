"""The last transactions of a card or client, for the page of a flagged transaction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dashboard.history.partitions import Missing, View
from dashboard.history.past import Recent
from schemas.batch import build_batch
from schemas.contracts import AMOUNT, CONTEXT_COLUMNS, ID, MAX_AMOUNT, TIME
from stream_scorer.features.history.card_record import read_record
from stream_scorer.features.history.header import TIMES_END
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import CARD, HistorySpec, KeySpace
from stream_scorer.state.placement import partitions_of

_MAX_WHOLE: Final = 2.0**53


def find_recent(view: View, context: Mapping[str, Any]) -> Recent | None:
    """The last transactions of the card of a flagged transaction; None if they are not known.

    A record that remembers the transaction itself is the right one, although the context does not
    have every column of its key: among the records of one card, no other has its time and amount.
    Key spaces are tried in the order of the spec. A transaction that no record remembers gets the
    record of the first key space whose whole key the context has.

    Args:
        view: the histories that there are.
        context: the columns that come with a score.
    """
    card = context.get(CARD)
    is_card = isinstance(card, int | float) and abs(card) <= _MAX_WHOLE and card == int(card)
    if card is None or not is_card or not view.partitions:
        return None
    row = _row_of(context)
    if row is None:
        return None
    number = int(card)
    place = int(partitions_of(np.array([number], np.int64), len(view.partitions))[0])
    one = view.partitions[place]
    if isinstance(one, Missing):
        return None
    found, stamp = one.find(number)
    for space in view.spec.spaces:
        words = _that_remembers(space, found[space.name], row)
        if words is not None:
            return Recent(space.name, read_record(space, words).recent, stamp.as_of, True)
    for space in view.spec.spaces:
        words = _of_key(view.spec, space, found[space.name], row)
        if words is not None:
            return Recent(space.name, read_record(space, words).recent, stamp.as_of, False)
    return None


def _row_of(context: Mapping[str, Any]) -> dict[str, Any] | None:
    """The context as a transaction; None if it has no time or amount that a history takes."""
    time, amount = context.get(TIME), context.get(AMOUNT)
    if type(time) is not int or not 0 <= time <= TIMES_END:
        return None
    if not isinstance(amount, int | float) or not math.isfinite(amount):
        return None
    return {ID: 0, **{name: value for name, value in context.items() if value is not None}}


def _that_remembers(
    space: KeySpace, records: NDArray[np.uint64], row: Mapping[str, Any]
) -> NDArray[np.uint64] | None:
    """The record that has a transaction among its last ones."""
    event = np.zeros(1, np.uint64)
    event.view(np.uint32)[0] = row[TIME]
    event.view(np.float32)[1] = min(max(row[AMOUNT], -MAX_AMOUNT), MAX_AMOUNT)
    ring = records[:, space.layout.ring_at : space.layout.ring_at + space.ring]
    rows = np.flatnonzero((ring == event[0]).any(axis=1))
    return records[rows[0]] if len(rows) else None


def _of_key(
    spec: HistorySpec, space: KeySpace, records: NDArray[np.uint64], row: Mapping[str, Any]
) -> NDArray[np.uint64] | None:
    """The record of a transaction's key, if the context has all columns of the key."""
    if space.start_day is not None or not space.ring or not set(space.key) <= set(CONTEXT_COLUMNS):
        return None
    history = PartitionHistory(spec)
    history.columns(build_batch([row]), np.zeros(1, np.int64), np.ones(1, np.bool_))
    key = history.find(int(row[CARD]))[space.name][0, :2]
    rows = np.flatnonzero((records[:, :2] == key).all(axis=1))
    return records[rows[0]] if len(rows) else None
