"""What the arithmetic needs to know: counts of all scores, and the scores that have a label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scorer.quality.estimates import Counts, Floats

BINS: Final = 1000
EDGES: Final[Floats] = np.arange(BINS + 1) / BINS
"""Edges of the bins, as the literals ``0.001``, ``0.002``, …: bin k holds the scores from
``EDGES[k]`` on that are below ``EDGES[k + 1]``; the last bin also holds 1."""

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds of one model version. They never change within a version."""

    review: float
    block: float


class LabelledScore(NamedTuple):
    """One score with its standing label.

    Attributes:
        score: exactly as the scorer compared it.
        is_fraud: what the last label says. None if a person could not decide.
        is_reviewed: an analyst decided about it, whoever gave the last label.
        is_reported: somebody else gave a label, such as a chargeback.
        amount: None if it is not known.
        is_sampled: in the random sample of transactions that were not flagged.
        weight: how many transactions it stands for: 1, or the inverse of the sample's share.
    """

    score: float
    is_fraud: bool | None
    is_reviewed: bool
    is_reported: bool
    amount: float | None = None
    is_sampled: bool = False
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class LabelledScores:
    """Labelled scores of one model version as columns, in descending order of score.

    Attributes:
        scores: float64 ``[n]``.
        labels: 1 fraud, 0 legitimate, -1 unsure, int8 ``[n]``.
        is_reviewed: whether an analyst decided about it.
        is_reported: whether somebody else gave a label.
        is_sampled: whether it is of the random sample.
        weights: float64 ``[n]``.
        amounts: NaN where not known.
        unscored: frauds reported by others whose score is not known here. Any of them may belong
            to the window and the version.
    """

    scores: Floats
    labels: NDArray[np.int8]
    is_reviewed: NDArray[np.bool_]
    is_reported: NDArray[np.bool_]
    is_sampled: NDArray[np.bool_]
    weights: Floats
    amounts: Floats
    unscored: int = 0

    def __len__(self) -> int:
        return len(self.scores)

    def weighted(self, unflagged: int) -> LabelledScores:
        """The same rows, where the decided ones of the sample stand for all unflagged scores.

        The weight comes from counts and not from the share of the sample: not every sampled
        transaction has been looked at, and the share may have changed.
        """
        is_used = self.is_sampled & (self.labels >= 0)
        used = int(is_used.sum())
        if not used:
            return self
        weight = max(1.0, unflagged / used)
        return replace(self, weights=np.where(is_used, weight, self.weights))

    def take(self, mask: NDArray[np.bool_]) -> LabelledScores:
        """The rows where ``mask`` is true."""
        return LabelledScores(
            self.scores[mask],
            self.labels[mask],
            self.is_reviewed[mask],
            self.is_reported[mask],
            self.is_sampled[mask],
            self.weights[mask],
            self.amounts[mask],
            self.unscored,
        )


def build_labelled(rows: Iterable[LabelledScore], unscored: int = 0) -> LabelledScores:
    """Rows as columns. A score that is no number from 0 to 1 is left out."""
    kept = [row for row in rows if 0.0 <= row.score <= 1.0]
    kept.sort(key=lambda row: -row.score)
    labels = [-1 if row.is_fraud is None else int(row.is_fraud) for row in kept]
    amounts = [np.nan if row.amount is None else row.amount for row in kept]
    return LabelledScores(
        np.array([row.score for row in kept], np.float64),
        np.array(labels, np.int8),
        np.array([row.is_reviewed for row in kept], np.bool_),
        np.array([row.is_reported for row in kept], np.bool_),
        np.array([row.is_sampled for row in kept], np.bool_),
        np.array([row.weight for row in kept], np.float64),
        np.array(amounts, np.float64),
        unscored,
    )


@dataclass(frozen=True, slots=True)
class Window:
    """Whole days in UTC, both included, as days since 1970-01-01."""

    first: int
    last: int

    @property
    def since_ms(self) -> int:
        """The first millisecond."""
        return self.first * DAY_MS

    @property
    def until_ms(self) -> int:
        """The first millisecond after the window."""
        return (self.last + 1) * DAY_MS


def window_of(days: int, maturity: int, today: int) -> Window:
    """``days`` days, the last of which is ``maturity`` days ago."""
    last = today - maturity
    return Window(last - days + 1, last)


@dataclass(frozen=True, slots=True)
class Volume:
    """Scores of all versions a day.

    Attributes:
        per_day: mean over whole days, or what was counted so far if there is no whole day.
        is_partial: no day in the window is known as a whole.
    """

    per_day: float
    is_partial: bool


def daily_volume(days: Mapping[int, int], window: Window, began: int, today: int) -> Volume:
    """Mean scores a day, of all versions together, over the days that are known as a whole.

    Today is not over, and counting may have begun in the middle of its first day. Days without a
    score between others count: nothing was scored on them.

    Args:
        days: the number of scores on each day that has any.
        window: the days to look at.
        began: the first day on which scores were counted.
        today: the day that is not over.
    """
    inside = {day: count for day, count in days.items() if window.first <= day <= window.last}
    if not inside:
        return Volume(0.0, True)
    first, last = max(window.first, began + 1), min(window.last, today - 1, max(inside))
    if first > last:
        return Volume(sum(inside.values()) / len(inside), True)
    total = sum(count for day, count in inside.items() if first <= day <= last)
    return Volume(total / (last - first + 1), False)


@dataclass(frozen=True, slots=True)
class ScoreCounts:
    """All scores of one version in a window.

    Attributes:
        bins: scores in each bin, int64 ``[BINS]``.
        flagged: scores at or above the review threshold, exactly. None if the version was used
            with several thresholds: then the bins decide.
        blocked: scores at or above the block threshold, in the same way.
        per_day: what one score of the window stands for a day, of all traffic.
    """

    bins: Counts
    flagged: int | None
    blocked: int | None
    per_day: float

    @property
    def total(self) -> int:
        """All scores."""
        return int(self.bins.sum())

    def at_or_above(self, thresholds: Floats) -> Counts:
        """Scores at or above each threshold.

        Exact at the edges of bins. Between two edges it is the count of the upper one.
        """
        above = np.append(np.cumsum(self.bins[::-1])[::-1], 0)
        found: Counts = above[np.minimum(np.searchsorted(EDGES, thresholds), BINS)]
        return found
