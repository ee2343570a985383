"""Scores and labels for the tests of live quality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from stream_scorer.model.store.names import QUALITY, QUALITY_MAX_BYTES
from stream_scorer.model.store.objects import Objects
from stream_scorer.quality.counts import QualityCounts
from stream_scorer.quality.figures import Promise
from stream_scorer.quality.rows import NONE, LabelTable, ScoreRows
from stream_scorer.quality.run import QualityOptions, result_of
from stream_scorer.runtime.json_limits import parse_object

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


PROMISE = {"v1": {"review": Promise(160, 200)}}


def scored(n: int = 600) -> tuple[ScoreRows, LabelTable]:
    """Scores of one version with both kinds of labels, and a product with a hostile name."""
    rng = np.random.default_rng(8)
    scores = rng.random(n)
    rows = make_rows(
        scores,
        products=np.where(scores >= 0.5, 0, -1).astype(np.int16),
        product_names=("<b>W\x1b[2J",),
        amounts=np.where(scores >= 0.5, 20.0, np.nan),
    )
    known: dict[int, dict[str, int]] = {
        i: {"analyst": FRAUD if rng.random() < 0.4 else LEGITIMATE}
        for i in np.flatnonzero(scores >= 0.5).tolist()
    }
    known |= {i: {"report": FRAUD} for i in np.flatnonzero(scores < 0.1).tolist()}
    known[10**9] = {"report": FRAUD}
    return rows, make_labels(known)


def make_result(rows: ScoreRows | None = None, now: int = NOW) -> dict[str, Any]:
    """The result of a run whose precision is below its promise beyond chance."""
    own, labels = scored()
    counts = count(own if rows is None else rows, labels)
    options = QualityOptions(since=NOW - 60 * DAY)
    found = result_of(
        counts, options, lambda name: PROMISE.get(name, {}), {"unreadable_scores": 3}, 1.5, {}
    )
    return {**found.as_json(), "computed_at": now}


def read_published(objects: Objects) -> Mapping[str, Any] | None:
    """The result in the store; None before the first one."""
    found = objects.read(QUALITY, QUALITY_MAX_BYTES)
    return None if found is None else parse_object(found.content)
