"""Answers a question about thresholds from the cached counts, scores and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from dashboard.cache.flag_scores import read_flag_scores, read_known_targets, read_oldest_flag
from dashboard.cache.score_counts import ScoreCounts as CachedCounts
from dashboard.cache.score_counts import ThresholdTotals, read_score_counts, read_score_versions
from dashboard.web.problems import Problem
from dashboard.web.threshold.query import Question
from dashboard.whatif.curve import Curve, compute, nearest
from dashboard.whatif.labels import FlagScore, StandingLabel, match_labels
from dashboard.whatif.report import describe_at, describe_bounds, describe_columns
from dashboard.whatif.rows import (
    DAY_MS,
    LabelledScores,
    ScoreCounts,
    Thresholds,
    Volume,
    Window,
    daily_volume,
    window_of,
)
from stream_scorer.quality.sources import LabelSource


@dataclass(frozen=True, slots=True)
class Answer:
    """What the page and the API show.

    Attributes:
        question: with model and labels filled in.
        models: the versions that have scores, newest first.
        window: the days that were looked at.
        volume: scores of all versions a day.
        scores: the scores of the version in the window.
        thresholds: of the version. None if it has no scores in the window.
        labelled: its labelled scores in the window.
        curve: None if there are no scores in the window.
        proposed: position of the proposed threshold on the curve.
        is_rounded: the proposed threshold was not on the curve.
        has_other_thresholds: the version was used with more than one pair of thresholds.
        is_trimmed: flagged transactions of the window that was asked for are no longer kept.
    """

    question: Question
    models: Sequence[str]
    window: Window
    volume: Volume
    scores: int
    thresholds: Thresholds | None
    labelled: LabelledScores
    curve: Curve | None
    proposed: int = 0
    is_rounded: bool = False
    has_other_thresholds: bool = False
    is_trimmed: bool = False

    @property
    def source(self) -> LabelSource:
        """Whose labels they are."""
        return self.question.source or LabelSource.REVIEWED


def answer(
    table: Path,
    labels: Sequence[StandingLabel],
    question: Question,
    current: str | None,
    now: int,
) -> Answer:
    """Answer a question.

    Args:
        table: the cache of scores and flagged transactions.
        labels: all labels, as they stand.
        question: as it was asked.
        current: the model version in use.
        now: epoch milliseconds.

    Raises:
        Problem: 404, the model has no scores, or nothing was scored yet.
    """
    versions = read_score_versions(table)
    known = [version for version, _, _ in versions]
    model = _choose_model(question, known, current)
    today = now // DAY_MS
    began = min(first for _, first, _ in versions) // DAY_MS
    days = {version: (first // DAY_MS, last // DAY_MS) for version, first, last in versions}
    reading = _Reading(table, labels, model, days, began, today)
    if question.source is not None:
        return reading.answer(question, question.source)
    # The best labels there are: matured ones, if fraud was reported from outside.
    matured = reading.answer(question, LabelSource.MATURED)
    if matured.curve is not None and not np.isnan(matured.curve.recall.low).all():
        return matured
    return reading.answer(question, LabelSource.REVIEWED)


def _choose_model(question: Question, known: Sequence[str], current: str | None) -> str:
    if not known:
        raise Problem(
            404, "nothing was scored yet: thresholds can be compared once there are scores",
            kind="no-scores",
        )  # fmt: skip
    default = current if current is not None and current in known else known[0]
    model = question.model or default
    if model not in known:
        raise Problem(
            404,
            f"there are no scores of model {model[:40]!r}; there are scores of "
            f"{', '.join(known[:10])}",
            kind="no-scores",
            errors=[{"field": "model", "reason": "no scores of this model"}],
        )
    return model


@dataclass(frozen=True, slots=True)
class _Reading:
    """What does not depend on whose labels are used."""

    table: Path
    labels: Sequence[StandingLabel]
    model: str
    versions: Mapping[str, tuple[int, int]]
    began: int
    today: int

    def answer(self, question: Question, source: LabelSource) -> Answer:
        maturity = question.maturity if source is LabelSource.MATURED else 0
        window = window_of(question.days, maturity, self.today)
        asked = replace(question, source=source, model=self.model)
        own, volume = self._counts(window)
        flags = self._flags(window)
        kept = sum(not flag.is_sampled for flag in flags)
        is_trimmed = kept < sum(pair.flagged for pair in own.totals)
        if is_trimmed and source is LabelSource.MATURED:
            # Labelled fraud of days that are not kept would count as legitimate.
            window = Window(max(window.first, self._first_kept_day()), window.last)
            if window.first <= window.last:
                own, volume = self._counts(window)
                flags = self._flags(window)
        unflagged = sum(own.bins) - sum(pair.flagged for pair in own.totals)
        labelled = self._labelled(flags, window).weighted(unflagged)
        found = Answer(
            asked, list(self.versions), window, volume, 0, None, labelled, None,
            is_trimmed=is_trimmed,
        )  # fmt: skip
        if not own.totals or window.first > window.last:
            return found
        thresholds, counts = _count(own.totals, np.array(own.bins, np.int64), volume)
        curve = compute(source, counts, labelled, thresholds)
        wanted = thresholds.review if question.threshold is None else question.threshold
        threshold = nearest(wanted, thresholds.review)
        return replace(
            found,
            scores=counts.total,
            thresholds=thresholds,
            curve=curve,
            proposed=curve.at(threshold),
            is_rounded=threshold != wanted,
            has_other_thresholds=len(own.totals) > 1,
        )

    def _counts(self, window: Window) -> tuple[CachedCounts, Volume]:
        """The scores of the version, and those of all versions a day."""
        until = window.until_ms - 1
        found = {
            version: read_score_counts(self.table, version, window.since_ms, until)
            for version, (first, last) in self.versions.items()
            if version == self.model or (first <= window.last and last >= window.first)
        }
        days: dict[int, int] = {}
        for other in found.values():
            for start, count in other.days.items():
                days[start // DAY_MS] = days.get(start // DAY_MS, 0) + count
        return found[self.model], daily_volume(days, window, self.began, self.today)

    def _flags(self, window: Window) -> list[FlagScore]:
        rows = read_flag_scores(self.table, self.model, window.since_ms, window.until_ms - 1)
        return [FlagScore(*row) for row in rows]

    def _first_kept_day(self) -> int:
        """The first day whose flagged transactions are all kept: the oldest are deleted first."""
        oldest = read_oldest_flag(self.table)
        return self.today + 1 if oldest is None else oldest // DAY_MS + 1

    def _labelled(self, flags: Sequence[FlagScore], window: Window) -> LabelledScores:
        reports = [label for label in self.labels if label.origin != "ANALYST"]
        ids = {label.flag_id for label in reports if label.flag_id is not None}
        transactions = {label.transaction_id for label in reports if label.flag_id is None}
        known_flags, known_transactions = read_known_targets(self.table, ids, transactions)
        known = {
            label
            for label in reports
            if (label.flag_id in known_flags)
            or (label.flag_id is None and label.transaction_id in known_transactions)
        }
        return match_labels(flags, self.labels, known, window.since_ms)


def _count(
    totals: Sequence[ThresholdTotals], bins: np.ndarray[Any, np.dtype[np.int64]], volume: Volume
) -> tuple[Thresholds, ScoreCounts]:
    """The thresholds in use last, and the counts: exact at them if there were no others."""
    last, is_only = totals[0], len(totals) == 1
    total = int(bins.sum())
    return Thresholds(last.review_threshold, last.block_threshold), ScoreCounts(
        bins,
        last.flagged if is_only else None,
        last.blocked if is_only else None,
        volume.per_day / total if total else 0.0,
    )


def describe_answer(found: Answer) -> dict[str, Any]:
    """The answer as the API sends it."""
    curve, window = found.curve, found.window
    thresholds = found.thresholds
    maturity = found.question.maturity if found.source is LabelSource.MATURED else None
    return {
        "model": found.question.model,
        "models": list(found.models),
        "rule": "score >= threshold",
        "labels": found.source.value,
        "window": {
            "first_day": format_day(window.first),
            "last_day": format_day(window.last),
            "days": found.question.days,
            "maturity_days": maturity,
        },
        "scores": found.scores,
        "scores_per_day": found.volume.per_day,
        "is_partial_day": found.volume.is_partial,
        "has_other_thresholds": found.has_other_thresholds,
        "is_trimmed": found.is_trimmed,
        "thresholds": None
        if thresholds is None
        else {"review": thresholds.review, "block": thresholds.block},
        "recall_reason": None if curve is None else curve.recall_reason,
        "at_least": [] if curve is None else describe_bounds(curve),
        "live": None if curve is None else describe_at(curve, curve.live),
        "proposed": None if curve is None else describe_at(curve, found.proposed),
        "is_rounded": found.is_rounded,
        "curve": None if curve is None else describe_columns(curve),
    }


def format_day(day: int) -> str:
    """``2026-11-23``."""
    return datetime.fromtimestamp(day * DAY_MS / 1000, UTC).strftime("%Y-%m-%d")
