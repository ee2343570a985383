"""Runs each compiled loop of card history once, so that machine code is there when it is needed."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from schemas.batch import TransactionBatch
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import HISTORY_VERSION, HistorySpec, read_space

_SPACE: Final[dict[str, Any]] = {
    "space": "card",
    "version": HISTORY_VERSION,
    "key": ["card1"],
    "ttl_days": 1,
    "ring": 1,
    "features": [{"kind": "count", "group": "card"}],
}


def warm_history(batch: TransactionBatch) -> None:
    """Advance, peek, roll back, forget, copy and restore; rows of two cards are enough."""
    spec = HistorySpec((read_space(_SPACE),))
    history = PartitionHistory(spec, max_keys=1)
    rows, out = np.arange(len(batch)), np.empty((len(batch), len(spec.names)))
    advances = np.ones(len(batch), np.bool_)
    history.rollback(history.step(batch, rows, advances, out))
    history.settle(history.step(batch, rows, advances, out))
    history.peek(batch, rows, out)
    if not history.figures().evicted:
        raise AssertionError("no record was removed")
    PartitionHistory.restore(spec, history.records())
