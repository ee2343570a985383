"""Counts all pairs, and keeps those that a label says something about. Pure.

Memory does not grow with the number of pairs: all are counted, and at most ``max_kept`` labelled
ones are kept. If there are more, legitimate ones are thinned out by a hash of their coordinates,
and those that stay count for several. Fraud is never left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.scores.sampling import draws
from stream_scorer.labels.labels import FRAUD, LEGITIMATE, UNSURE
from stream_scorer.quality.rows import NONE, LabelTable, ScoreRows
from stream_scorer.shadow.compare.pairs import Pairs
from stream_scorer.shadow.figures import Figures, count, no_figures

MAX_KEPT: Final = 2_000_000
"""Labelled pairs, of 41 bytes each."""

_STREAM: Final = "comparison of "  # independent of other choices by source coordinates
_APPROVE: Final = 0
_HUGE: Final = 1e300  # no amount; sums of smaller ones stay finite, as JSON needs


class Labelled(NamedTuple):
    """Pairs with a label, ``n`` rows.

    Attributes:
        labels: 1 is fraud, int8.
        champion: its scores, float64.
        challenger: its scores, float64.
        cards: equal for the transactions of a card, int64.
        weights: how many transactions each row stands for, float64.
        draws: from 0 to 1; a row is kept if its draw is below the share that is kept, float64.
    """

    labels: NDArray[np.int8]
    champion: NDArray[np.float64]
    challenger: NDArray[np.float64]
    cards: NDArray[np.int64]
    weights: NDArray[np.float64]
    draws: NDArray[np.float64]

    def take(self, rows: Any) -> Labelled:
        """A subset, by mask or row numbers."""
        return Labelled._make([column[rows] for column in self])


def join_labelled(parts: list[Labelled]) -> Labelled:
    """The rows of several, in order."""
    kinds = (np.int8, np.float64, np.float64, np.int64, np.float64, np.float64)
    empty = [np.empty(0, kind) for kind in kinds]
    return Labelled._make([np.concatenate(c) for c in zip(empty, *parts, strict=True)])


@dataclass(slots=True)
class Collected:
    """What was found.

    Attributes:
        figures: decisions that move, and both distributions of scores.
        money: amounts by both decisions, as far as a score states them, float64 ``[3, 3]``.
        known_amounts: how many pairs state one, int64 ``[3, 3]``.
        reports: reports of fraud among mature pairs.
    """

    figures: Figures
    money: NDArray[np.float64]
    known_amounts: NDArray[np.int64]
    reports: int = 0


class Collector:
    """Takes pairs.

    Args:
        topic: the input topic.
        labels: of all transactions; None: there are none.
        mature_until: scores before this time, epoch milliseconds, are old enough for reports.
        max_kept: labelled pairs that are kept.
    """

    def __init__(
        self, topic: str, labels: LabelTable | None, mature_until: int, max_kept: int = MAX_KEPT
    ) -> None:
        self._topic = topic
        self._labels = labels
        self._mature_until = mature_until
        self._max_kept = max_kept
        self._share = 1.0
        self._matured = join_labelled([])
        self._waiting: list[Labelled] = []
        self._waiting_rows = 0
        self._reviewed: list[Labelled] = []
        self._lanes: list[NDArray[np.int8]] = []
        self.found = Collected(no_figures(), np.zeros((3, 3)), np.zeros((3, 3), np.int64))

    def add(self, pairs: Pairs) -> None:
        """Count pairs of one partition, and keep those with a label."""
        ours, theirs = pairs.champion, pairs.challenger
        decisions = ours.decisions.astype(np.uint8), theirs.decisions.astype(np.uint8)
        self.found.figures += count(ours.scores, decisions[0], theirs.scores, decisions[1])
        amounts = pairs.amounts
        is_known = np.abs(amounts) < _HUGE  # not NaN
        cells = decisions[0].astype(np.int64) * 3 + decisions[1]
        money = np.bincount(cells[is_known], amounts[is_known], minlength=9)
        self.found.money += money.reshape(3, 3)
        self.found.known_amounts += np.bincount(cells[is_known], minlength=9).reshape(3, 3)
        if self._labels is not None and len(self._labels):
            self._label(pairs, self._labels)

    def matured(self) -> Labelled | None:
        """Mature pairs: reported fraud, and the rest legitimate; None if nothing was reported."""
        self._compact()
        return self._matured if self.found.reports else None

    def sampled(self) -> Labelled | None:
        """What people decided about: flagged pairs, and those of the random lane by its share.

        Flagged rows stand for all flagged pairs of the champion, and sampled rows for all others.
        None if no row of the random lane has a label.
        """
        rows = join_labelled(self._reviewed)
        lane = np.concatenate([np.empty(0, np.int8), *self._lanes]) == _APPROVE
        if not lane.any():
            return None
        moves = self.found.figures.moves
        unflagged, flagged = float(moves[0].sum()), float(moves[1:].sum())
        weights = rows.weights.copy()
        weights[lane] *= unflagged / weights[lane].sum()
        if (~lane).any():
            weights[~lane] *= flagged / weights[~lane].sum()
        return rows._replace(weights=weights)

    def _label(self, pairs: Pairs, labels: LabelTable) -> None:
        at = labels.find(_as_rows(pairs))
        has_label = at >= 0
        standing = np.where(has_label, labels.standing[at], NONE)
        is_mature = pairs.champion.times < self._mature_until
        # Whoever is unsure says nothing about either class.
        judged = is_mature & (standing != UNSURE)
        labelled = self._rows(pairs, standing == FRAUD)
        self._matured_add(labelled.take(judged))
        reports = np.where(has_label, labels.report[at], NONE)
        self.found.reports += int((is_mature & (reports == FRAUD)).sum())
        analyst = np.where(has_label, labels.analyst[at], NONE)
        shares = pairs.champion.shares
        is_flagged = pairs.champion.decisions != _APPROVE
        is_reviewed = (analyst == FRAUD) | (analyst == LEGITIMATE)
        reviewed = is_reviewed & (is_flagged | np.isfinite(shares))
        if reviewed.any():
            rows = labelled._replace(
                labels=(analyst == FRAUD).astype(np.int8),
                weights=np.where(is_flagged, 1.0, 1.0 / np.where(shares > 0, shares, 1.0)),
            )
            self._reviewed.append(rows.take(reviewed))
            self._lanes.append(np.where(is_flagged, 1, _APPROVE).astype(np.int8)[reviewed])

    def _rows(self, pairs: Pairs, is_fraud: NDArray[np.bool_]) -> Labelled:
        partitions = np.full(len(pairs), pairs.partition, np.int64)
        drawn = draws(_STREAM + self._topic, partitions, pairs.champion.offsets)
        return Labelled(
            is_fraud.astype(np.int8),
            pairs.champion.scores,
            pairs.challenger.scores,
            pairs.champion.cards,
            np.ones(len(pairs)),
            drawn,
        )

    def _matured_add(self, rows: Labelled) -> None:
        self._waiting.append(rows.take((rows.labels == 1) | (rows.draws < self._share)))
        self._waiting_rows += len(self._waiting[-1].labels)
        if self._waiting_rows > self._max_kept // 4:
            self._compact()

    def _compact(self) -> None:
        rows = join_labelled([self._matured, *self._waiting])
        self._waiting, self._waiting_rows = [], 0
        while len(rows.labels) > self._max_kept and self._share > 2.0**-40:
            self._share /= 2
            rows = rows.take((rows.labels == 1) | (rows.draws < self._share))
        weights = np.where(rows.labels == 1, 1.0, 1.0 / self._share)
        self._matured = rows._replace(weights=weights)


def _as_rows(pairs: Pairs) -> ScoreRows:
    """What a table of labels finds the label of a row by."""
    side, n = pairs.champion, len(pairs)
    return ScoreRows(
        side.times, side.transactions, side.scores, side.decisions, np.zeros(n, np.int32),
        np.full(n, pairs.partition, np.int64), side.offsets, np.isfinite(side.shares), side.shares,
        side.amounts, np.full(n, -1, np.int16), (), (),
    )  # fmt: skip
