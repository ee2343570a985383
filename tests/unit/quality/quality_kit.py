"""Scores and labels for the tests of live quality."""

from __future__ import annotations

from typing import Any

import numpy as np

from stream_scorer.quality.counts import QualityCounts
from stream_scorer.quality.rows import NONE, LabelTable, ScoreRows

DAY = 86_400_000
NOW = 100 * DAY
FRAUD, LEGITIMATE, UNSURE = 1, 0, -1


def make_rows(scores: Any, **columns: Any) -> ScoreRows:
    """Score rows of ``v1`` whose decisions follow from the thresholds .5 and .9."""
    found = np.asarray(scores, np.float64)
    n = len(found)
    decisions = (found >= 0.5).astype(np.int8) + (found >= 0.9).astype(np.int8)
    kinds = ScoreRows(
        np.full(n, NOW - 30 * DAY), np.arange(n), found, decisions, np.zeros(n, np.int32),
        np.zeros(n, np.int64), np.arange(n), np.zeros(n, np.bool_), np.full(n, np.nan),
        np.full(n, np.nan), np.full(n, -1, np.int16), ("v1",), (),
    )  # fmt: skip
    return kinds._replace(**columns)


def make_labels(of: dict[int, dict[str, int]]) -> LabelTable:
    """A table from transaction → ``analyst``, ``report``; the report stands if there are both."""
    ids = np.array(sorted(of), np.int64)

    def column(name: str, otherwise: int) -> Any:
        return np.array([of[i].get(name, otherwise) for i in ids.tolist()], np.int64)

    analyst, report = (column(name, NONE).astype(np.int8) for name in ("analyst", "report"))
    return LabelTable(
        ids,
        np.where(report != NONE, report, analyst).astype(np.int8),
        column("at", NOW - DAY),
        analyst,
        report,
        column("partition", -1),
        column("offset", -1),
    )


def count(rows: ScoreRows, labels: LabelTable, maturity_days: int = 14) -> QualityCounts:
    """Everything counted, in three batches."""
    counts = QualityCounts(labels, NOW - 60 * DAY, NOW - maturity_days * DAY, NOW)
    for part in np.array_split(np.arange(len(rows.times)), 3):
        counts.add(rows.take(part))
    return counts
