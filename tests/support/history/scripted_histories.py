"""Card histories of a dashboard that say what a test gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from dashboard.history.past import (
    HistoryStatus,
    NoHistories,
    Past,
    Recent,
    not_used,
    used_note,
)
from schemas.batch import HistoryColumns, TransactionBatch
from stream_scorer.features.history.spec import HistorySpec
from tests.support.dashboard_kit import StaticModel
from tests.support.history.scored_stream import NOW, history_bundle

LOADED: Final = HistoryStatus("snapshot", 3, 12, 12, NOW, 5_000_000)


class ScriptedHistories(NoHistories):
    """Of three transactions in a row, the first has no history, for a hostile reason."""

    def __init__(self, status: HistoryStatus, recent: Recent | None = None) -> None:
        super().__init__(StaticModel(history_bundle()))
        self.given = status
        self.found = recent
        self.asked: list[Mapping[str, Any]] = []

    def read(self, batch: TransactionBatch, spec: HistorySpec) -> Past:
        notes = [used_note(NOW, 7, 123) if i % 3 else not_used("<b>why</b>\x1b") for i in
                 range(len(batch))]  # fmt: skip
        values = np.full((len(batch), len(spec.names)), np.nan)
        return Past(HistoryColumns(spec.fingerprint, values), notes)

    def recent(self, context: Mapping[str, Any]) -> Recent | None:
        self.asked.append(context)
        return self.found

    def status(self) -> HistoryStatus:
        return self.given
