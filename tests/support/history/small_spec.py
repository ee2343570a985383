"""A small history spec, and histories of transactions under it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from schemas.batch import build_batch
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import HistorySpec, read_space
from tests.support.factories import make_transaction

DAY: Final = 86_400

CLIENT: Final = {
    "space": "client",
    "version": 1,
    "key": ["card1", "addr1"],
    "start_day": "D1",
    "ttl_days": 30,
    "ring": 3,
    "features": [
        {"kind": "count", "group": "velocity"},
        {"kind": "count_in", "group": "velocity", "seconds": [3600, 86400]},
        {"kind": "decayed_amount", "group": "velocity", "seconds": [86400]},
        {"kind": "minus_mean", "group": "means", "columns": ["C1", "D4", "TransactionAmt"]},
        {"kind": "minus_last", "group": "means", "columns": ["C2"]},
        {"kind": "distinct", "group": "sets", "columns": ["P_emaildomain", "addr1"]},
    ],
}
CARD: Final = {
    "space": "card",
    "version": 1,
    "key": ["card1", "card4"],
    "ttl_days": 10,
    "ring": 0,
    "features": [{"kind": "amount_ratio", "group": "amounts"}],
}
SPEC: Final = HistorySpec((read_space(dict(CLIENT)), read_space(dict(CARD))))
WIDTHS: Final = {space.name: space.width for space in SPEC.spaces}


def advance(history: PartitionHistory, rows: Sequence[Mapping[str, Any]]) -> None:
    """Advance a history by transactions, in one step that is settled."""
    batch = build_batch([make_transaction(i + 1, **row) for i, row in enumerate(rows)])
    every = np.arange(len(batch), dtype=np.int64)
    _, undo = history.columns(batch, every, np.ones(len(batch), np.bool_))
    history.settle(undo)


def history_of(rows: Sequence[Mapping[str, Any]], spec: HistorySpec = SPEC) -> PartitionHistory:
    """The history of one partition after these transactions."""
    history = PartitionHistory(spec)
    advance(history, rows)
    return history
