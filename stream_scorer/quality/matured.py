"""Average precision and calibration on mature scores, from counts in bins. Pure."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream_scorer.quality.counts import VersionCounts, bins_of
from stream_scorer.quality.estimates import (
    INTERVAL_MIN_ROWS,
    bootstrap,
    precision_sum,
    wilson,
)
from stream_scorer.quality.figure import Figure, unknown
from stream_scorer.quality.rows import Floats, Integers, LabelledRows

NO_MATURE: Final = "no score is old enough"
NO_FRAUD: Final = "no fraud among the scores that are old enough"
NO_FRAUD_OF_IT: Final = "no fraud of this product among the scores that are old enough"
NO_REPORTS: Final = "no chargeback, so nothing is known about transactions that were not flagged"

RELIABILITY_BINS: Final = 10
_SEED: Final = 20_260_101
_RESAMPLES: Final = 200


def has_reports(rows: LabelledRows) -> bool:
    """Whether any fraud was reported from outside."""
    return bool((rows.is_mature & (rows.report >= 0) & rows.is_fraud).any())


def mature_frauds(rows: LabelledRows) -> LabelledRows:
    """The frauds among the mature rows."""
    return rows.take(rows.is_mature & rows.is_fraud)


def average_precision_of(counts: VersionCounts) -> Figure:
    """Average precision on mature scores. Scores of one bin count as equal.

    The interval is a Poisson bootstrap over rows. It is too narrow if the frauds of a card come in
    runs: what is not flagged does not state its card.
    """
    rows = counts.labelled
    if not counts.judged.any():
        return unknown(NO_MATURE)
    frauds = _frauds_by_bin(counts)
    total = int(frauds.sum())
    if not total:
        return unknown(NO_FRAUD)
    if not has_reports(rows):
        return unknown(NO_REPORTS)
    used = np.flatnonzero(counts.judged)[::-1]  # highest score first
    taken, hits = counts.judged[used], frauds[used]
    value = precision_sum(np.cumsum(hits), np.cumsum(taken))
    n = int(taken.sum())
    if min(total, n - total) < INTERVAL_MIN_ROWS:
        few = f"no interval: fewer than {INTERVAL_MIN_ROWS} frauds or legitimate ones"
        return Figure(value, n=n, reason=few)
    legitimate = taken - hits
    rng = np.random.default_rng(_SEED)

    def resampled(_times: Integers) -> float:
        # A sum of Poisson(1) weights is Poisson distributed, so that a bin is drawn at once.
        found, others = rng.poisson(hits), rng.poisson(legitimate)
        return precision_sum(np.cumsum(found), np.cumsum(found + others))

    interval = bootstrap(resampled, 1, _SEED, _RESAMPLES)
    low, high = interval if interval is not None else (None, None)
    return Figure(value, low, high, n)


def bounds_of_average_precision(counts: VersionCounts) -> tuple[float, float]:
    """The lowest and the highest average precision that the counts in bins allow.

    In the lowest, the frauds of a bin come after all others of it, in the highest before them.
    NaN without frauds.
    """
    frauds = _frauds_by_bin(counts)
    used = np.flatnonzero(frauds)[::-1]
    above = (np.cumsum(counts.judged[::-1])[::-1] - counts.judged)[used]
    hits, taken = frauds[used], counts.judged[used]
    before = np.cumsum(hits) - hits
    ends: list[float] = []
    for first in (above + taken - hits, above):
        sums = [
            float(np.sum((found + order) / (start + order)))
            for found, start, order in zip(
                before, first, (np.arange(1, n + 1) for n in hits.tolist()), strict=True
            )
        ]
        ends.append(sum(sums) / int(hits.sum()) if hits.any() else float("nan"))
    return ends[0], ends[1]


def calibration_of(counts: VersionCounts) -> dict[str, Any]:
    """Mean score against the share of frauds, in ranges with about equally many mature scores.

    ``expected_calibration_error`` is the mean distance between both, weighted by rows.
    """
    if not counts.judged.any():
        return unknown(NO_MATURE).as_json()
    if not has_reports(counts.labelled):
        return unknown(NO_REPORTS).as_json()
    frauds = _frauds_by_bin(counts)
    n = int(counts.judged.sum())
    below = np.cumsum(counts.judged) - counts.judged
    groups = np.minimum(below * RELIABILITY_BINS // n, RELIABILITY_BINS - 1)
    rows = _by_group(groups, counts.judged)
    sums, hits = _by_group(groups, counts.sums), _by_group(groups, frauds)
    low, high = wilson(hits, rows)
    used = np.flatnonzero(rows)
    table = [
        {
            "rows": int(rows[i]),
            "mean_score": float(sums[i] / rows[i]),
            "frauds": int(hits[i]),
            "fraud_share": float(hits[i] / rows[i]),
            "interval": [float(low[i]), float(high[i])],
        }
        for i in used.tolist()
    ]
    total = int(hits.sum())
    ends = [float(end) for end in wilson(total, n)]
    return {
        "rows": n,
        "frauds": total,
        "expected_frauds": float(sums.sum()),
        "mean_score": float(sums.sum() / n),
        "fraud_share": total / n,
        "fraud_share_interval": ends,
        "expected_calibration_error": float(np.abs(sums - hits).sum() / n),
        "reliability": table,
    }


def _by_group(groups: Integers, values: Integers | Floats) -> Floats:
    return np.bincount(groups, values, minlength=RELIABILITY_BINS).astype(np.float64)


def _frauds_by_bin(counts: VersionCounts) -> Integers:
    frauds = mature_frauds(counts.labelled)
    found: Integers = np.bincount(bins_of(frauds.scores), minlength=len(counts.judged))
    return found
