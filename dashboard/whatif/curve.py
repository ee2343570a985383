"""Alerts, precision, recall and money at every threshold a lead could choose.

The rule is the scorer's: a transaction is flagged if ``score >= threshold``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from dashboard.whatif.rows import BINS, EDGES, LabelledScores, ScoreCounts, Thresholds
from schemas.contracts import is_amount
from stream_scorer.quality.estimates import Counts, Estimate, Floats, estimate, estimate_weighted
from stream_scorer.quality.sources import LabelSource

NOT_REVIEWED: Final = (
    "not estimable: analysts see flagged transactions only, so nobody knows how much fraud was "
    "not flagged"
)
NO_REPORTS: Final = (
    "not estimable: no fraud was reported from outside, such as a chargeback, so nothing is known "
    "about transactions that were not flagged"
)
NO_SAMPLE: Final = "not estimable: no transactions below the review threshold are sampled"
NO_FRAUD: Final = "not estimable: no labelled fraud in this window"


@dataclass(frozen=True, slots=True)
class Money:
    """Amounts of labelled fraud, all in the window.

    Attributes:
        caught: at or above each threshold.
        missed: below it. NaN where nobody could have reported any.
        unknown: frauds below the threshold whose amount is not known.
        caught_is_bound: more may have been caught: not all alerts were reviewed.
        missed_is_bound: more may have been missed: not all fraud is known, with its amount.
    """

    caught: Floats
    missed: Floats
    unknown: Counts
    caught_is_bound: bool
    missed_is_bound: bool


@dataclass(frozen=True, slots=True)
class Curve:
    """Every measure at every threshold. All arrays have the shape of ``thresholds``.

    Attributes:
        source: where the labels are from.
        thresholds: ascending: all multiples of 0.001 below 1, and the review threshold.
        alerts: transactions flagged in the window.
        per_day: what one transaction of the window stands for a day.
        precision: share of fraud among flagged ones.
        recall: share of flagged ones among frauds.
        recall_reason: why recall is not known, or is not one number. Empty if it is.
        money: amounts of fraud.
        labelled: labelled rows at or above each threshold.
        live: position of the review threshold.
    """

    source: LabelSource
    thresholds: Floats
    alerts: Counts
    per_day: float
    precision: Estimate
    recall: Estimate
    recall_reason: str
    money: Money
    labelled: Counts
    live: int

    @property
    def alerts_per_day(self) -> Floats:
        """Transactions flagged a day."""
        return self.alerts.astype(np.float64) * self.per_day

    @property
    def legitimate_per_day(self) -> Estimate:
        """Legitimate customers flagged a day: alerts that are not fraud."""
        alerts, precision = self.alerts_per_day, self.precision
        low, high = alerts * (1 - precision.high), alerts * (1 - precision.low)
        return Estimate(alerts * (1 - precision.value), low, high, precision.n)

    def at(self, threshold: float) -> int:
        """The position of a threshold.

        Raises:
            ValueError: the curve has no such threshold.
        """
        found = int(np.searchsorted(self.thresholds, threshold))
        if found == len(self.thresholds) or self.thresholds[found] != threshold:
            raise ValueError(f"{threshold} is no multiple of 0.001 below 1")
        return found


def nearest(threshold: float, live: float) -> float:
    """The threshold of the curve that is nearest to any number: counts are kept in bins."""
    if threshold == live:
        return threshold
    return float(EDGES[int(np.clip(round(threshold * BINS), 0, BINS - 1))])


def compute(
    source: LabelSource, counts: ScoreCounts, labelled: LabelledScores, thresholds: Thresholds
) -> Curve:
    """The curve of one model version in one window."""
    grid = np.unique(np.append(EDGES[:-1], thresholds.review))
    rows = _usable(source, labelled, counts, thresholds)
    alerts = count_alerts(counts, thresholds, grid)
    if source is LabelSource.MATURED:
        precision = _precision_matured(rows, counts, thresholds, grid, alerts)
        recall, reason = _recall_matured(rows, grid)
    elif source is LabelSource.REVIEWED:
        is_seen = grid >= thresholds.review
        precision = estimate(_count(rows.take(rows.labels == 1), grid), _count(rows, grid))
        precision = precision.only_where(is_seen)
        recall, reason = _nothing(grid), NOT_REVIEWED
    else:
        precision = _precision_sampled(rows, grid)
        if not rows.is_sampled.any():
            precision = precision.only_where(grid >= thresholds.review)
        recall, reason = _recall_sampled(rows, grid)
    return Curve(
        source=source,
        thresholds=grid,
        alerts=alerts,
        per_day=counts.per_day,
        precision=precision,
        recall=recall,
        recall_reason=reason,
        money=_money(source, rows, grid, thresholds.review),
        labelled=_count(rows, grid),
        live=int(np.searchsorted(grid, thresholds.review)),
    )


def count_alerts(counts: ScoreCounts, thresholds: Thresholds, grid: Floats) -> Counts:
    """Scores at or above each threshold: exact at the edges of bins and at both own thresholds."""
    found = counts.at_or_above(grid)
    for threshold, count in (
        (thresholds.block, counts.blocked),
        (thresholds.review, counts.flagged),
    ):
        if count is not None:
            found[grid == threshold] = count
    return found


def _usable(
    source: LabelSource, labelled: LabelledScores, counts: ScoreCounts, thresholds: Thresholds
) -> LabelledScores:
    """The rows that a source may use, and in the sample their weights."""
    is_flagged = labelled.scores >= thresholds.review
    if source is LabelSource.MATURED:
        return labelled
    is_decided = labelled.labels >= 0
    if source is LabelSource.REVIEWED:
        return labelled.take(is_flagged & labelled.is_reviewed & is_decided)
    rows = labelled.take(is_decided & ((is_flagged & labelled.is_reviewed) | labelled.is_sampled))
    is_flagged = rows.scores >= thresholds.review
    # The reviewed ones stand for all flagged ones.
    at = np.array([thresholds.review])
    flagged = count_alerts(counts, thresholds, at)[0]
    share = flagged / max(1, int(is_flagged.sum()))
    return replace(rows, weights=np.where(is_flagged, share, rows.weights))


def _precision_matured(
    rows: LabelledScores,
    counts: ScoreCounts,
    thresholds: Thresholds,
    grid: Floats,
    alerts: Counts,
) -> Estimate:
    """Frauds among all that were scored and are old enough.

    Left out are those that a person could not decide, and those that were blocked and have no
    label: a payment that was stopped is never reported, so that says nothing.
    """
    hits = _count(rows.take(rows.labels == 1), grid)
    unsure = _count(rows.take(rows.labels == -1), grid)
    from_block = np.maximum(grid, thresholds.block)
    stopped = counts.blocked
    if stopped is None:
        stopped = int(counts.at_or_above(np.array([thresholds.block]))[0])
    blocked = np.where(grid < thresholds.block, stopped, alerts)
    silent = np.maximum(0, blocked - _count(rows, from_block))
    # Counters and labels are read one after the other: never more hits than rows.
    trials = np.maximum(hits, alerts - unsure - silent)
    found = estimate(hits, trials)
    if not rows.unscored:
        return found
    # Any of the frauds without a score may be just below the review threshold.
    most = estimate(np.minimum(hits + rows.unscored, trials), trials)
    is_exact = grid >= thresholds.review
    return Estimate(
        np.where(is_exact, found.value, np.nan),
        found.low,
        np.where(is_exact, found.high, most.high),
        found.n,
    )


def _recall_matured(rows: LabelledScores, grid: Floats) -> tuple[Estimate, str]:
    """Frauds that were flagged, among all known frauds: a range if some have no score here."""
    frauds = rows.take(rows.labels == 1)
    if not _has_reports(rows):
        return _nothing(grid), NO_REPORTS if len(frauds) else NO_FRAUD
    hits = _count(frauds, grid)
    if not rows.unscored:
        return estimate(hits, np.full_like(hits, len(frauds))), ""
    fewest = estimate(hits, np.full_like(hits, len(frauds) + rows.unscored))
    most = estimate(hits, np.full_like(hits, len(frauds)))
    high = np.where(np.isnan(most.high), 1.0, most.high)
    bounds = Estimate(np.full(len(grid), np.nan), fewest.low, high, fewest.n)
    return bounds, (
        f"a range, because the score of {rows.unscored:,} reported "
        f"{'fraud is' if rows.unscored == 1 else 'frauds is'} not known here: they were not "
        "flagged, or are older than what this dashboard keeps"
    )


def _recall_sampled(rows: LabelledScores, grid: Floats) -> tuple[Estimate, str]:
    frauds = rows.take(rows.labels == 1)
    if not rows.is_sampled.any():
        return _nothing(grid), NO_SAMPLE
    if not len(frauds):
        return _nothing(grid), NO_FRAUD
    total, squares = frauds.weights.sum(), np.square(frauds.weights).sum()
    size = len(grid)
    return estimate_weighted(
        _sum(frauds, grid, frauds.weights),
        np.full(size, total),
        np.full(size, squares),
        np.full(size, len(frauds)),
    ), ""


def _precision_sampled(rows: LabelledScores, grid: Floats) -> Estimate:
    frauds = rows.take(rows.labels == 1)
    return estimate_weighted(
        _sum(frauds, grid, frauds.weights),
        _sum(rows, grid, rows.weights),
        _sum(rows, grid, np.square(rows.weights)),
        _count(rows, grid),
    )


def _money(source: LabelSource, rows: LabelledScores, grid: Floats, review: float) -> Money:
    frauds = rows.take(rows.labels == 1)
    is_known = is_amount(frauds.amounts)
    amounts = np.where(is_known, frauds.amounts, 0.0) * frauds.weights
    caught = _sum(frauds, grid, amounts)
    others = frauds.take(~is_known)
    unknown = len(others) - _count(others, grid)
    missed = _sum(frauds, np.zeros(1), amounts)[0] - caught  # summed alike: never below zero
    if source is LabelSource.SAMPLED:
        sees_below = bool(rows.is_sampled.any())
    else:
        sees_below = source is LabelSource.MATURED and _has_reports(rows)
    if not sees_below:
        # Analysts see what is flagged: they know what a higher threshold would miss, no more.
        missed = np.where(grid > review, missed, np.nan)
    is_part = source is LabelSource.REVIEWED
    has_more = bool(rows.unscored) and source is LabelSource.MATURED
    return Money(
        caught,
        missed,
        unknown,
        caught_is_bound=is_part or not bool(is_known.all()),
        missed_is_bound=not sees_below or has_more or bool(unknown.any()),
    )


def _has_reports(rows: LabelledScores) -> bool:
    """Whether any fraud was reported from outside."""
    return bool((rows.is_reported & (rows.labels == 1)).any()) or rows.unscored > 0


def _nothing(grid: Floats) -> Estimate:
    unknown = np.full(len(grid), np.nan)
    return Estimate(unknown, unknown, unknown, np.zeros(len(grid), np.int64))


def _count(rows: LabelledScores, grid: Floats) -> Counts:
    """Rows with ``score >= threshold``, at each threshold."""
    found: Counts = np.searchsorted(-rows.scores, -grid, side="right").astype(np.int64)
    return found


def _sum(rows: LabelledScores, grid: Floats, values: Floats) -> Floats:
    """The sum of the ``values`` of these rows."""
    found: Floats = np.append(0.0, np.cumsum(values))[_count(rows, grid)]
    return found
