"""Compares a candidate with the champion on the same rows, with intervals.

The bootstrap is paired: each resample weights the same rows for both models, so what makes a row
hard for both cancels out. It is clustered: the rows of one card are drawn together, because a
card's frauds come in runs and are no independent evidence (Field and Welsh 2007, "Bootstrapping
clustered data"). The weight of a card is Poisson(1), which approximates drawing cards with
replacement (Chamandy, Muralidharan, Najmi and Naidu 2012, "Estimating uncertainty for massive data
streams"). The ends of an interval are quantiles of the resampled differences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.quality.estimates import CONFIDENCE, INTERVAL_MIN_ROWS, Floats

RESAMPLES: Final = 1000
"""Enough for the ends of a 95 % interval to two digits: 25 resamples lie beyond each end."""

MIN_FRAUD_CARDS: Final = 10
"""With frauds of fewer cards there is no interval: a bootstrap of few clusters is too narrow."""

Labels = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Difference:
    """One measure of both models; ``difference`` is the candidate's minus the champion's.

    ``interval`` is None where the rows hold too few frauds, or frauds of too few cards.
    """

    candidate: float
    champion: float
    interval: tuple[float, float] | None

    @property
    def difference(self) -> float:
        """How much better the candidate is."""
        return self.candidate - self.champion

    def facts(self) -> dict[str, Any]:
        """The difference as plain data."""
        return {
            "difference": self.difference,
            "interval": None if self.interval is None else list(self.interval),
            "candidate": self.candidate,
            "champion": self.champion,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidate against champion on the same rows.

    Attributes:
        average_precision: the difference in average precision.
        recall_at_budget: the difference in the share of frauds among the ``budget`` share of rows
            with the highest scores.
        budget: a share of the rows.
        rows: the rows compared on.
        frauds: the frauds among them.
        fraud_cards: the cards that these frauds belong to.
    """

    average_precision: Difference
    recall_at_budget: Difference
    budget: float
    rows: int
    frauds: int
    fraud_cards: int

    def facts(self) -> dict[str, Any]:
        """The comparison as plain data, for the metadata."""
        return {
            "average_precision": self.average_precision.facts(),
            "recall_at_budget": {**self.recall_at_budget.facts(), "budget": self.budget},
            "rows": self.rows,
            "frauds": self.frauds,
            "fraud_cards": self.fraud_cards,
        }


def compare(
    labels: Labels,
    clusters: NDArray[Any],
    candidate_scores: Floats,
    champion_scores: Floats,
    budget: float,
    seed: int,
    resamples: int = RESAMPLES,
    weights: Floats | None = None,
) -> Comparison:
    """Compare two models' scores of the same rows; every array has the shape ``[n]``.

    Args:
        labels: 1 is fraud.
        clusters: equal values mark rows that are resampled together.
        candidate_scores: scores of the new model.
        champion_scores: scores of the model to beat.
        budget: share of the rows that can be reviewed, in (0, 1].
        seed: seeds the resampling; the same seed gives the same intervals.
        resamples: how often the cards are drawn.
        weights: how many rows each row stands for, such as the inverse of a sample's share; None:
            one each.

    Raises:
        ValueError: the rows hold no fraud, or nothing else.
    """
    _, cluster_of = np.unique(clusters, return_inverse=True)
    frauds = int(labels.sum())
    if frauds in (0, len(labels)):
        raise ValueError(f"cannot compare on {len(labels)} rows with {frauds} frauds")
    curves = [
        _Curve(scores, labels, cluster_of, weights)
        for scores in (candidate_scores, champion_scores)
    ]
    ones = np.ones(int(cluster_of.max()) + 1, np.int64)
    ours, theirs = (curve.measures(ones, budget) for curve in curves)
    fraud_cards = len(np.unique(cluster_of[labels == 1]))
    found: list[tuple[float, float] | None] = [None, None]
    has_enough = min(frauds, len(labels) - frauds) >= INTERVAL_MIN_ROWS
    if has_enough and fraud_cards >= MIN_FRAUD_CARDS:
        found = _intervals(curves, len(ones), budget, seed, resamples)
    return Comparison(
        Difference(ours[0], theirs[0], found[0]),
        Difference(ours[1], theirs[1], found[1]),
        budget,
        len(labels),
        frauds,
        fraud_cards,
    )


def _intervals(
    curves: list[_Curve], clusters: int, budget: float, seed: int, resamples: int
) -> list[tuple[float, float] | None]:
    rng = np.random.default_rng(seed)
    drawn = np.empty((resamples, 2))
    for i in range(resamples):
        weights = rng.poisson(1.0, clusters)
        ours, theirs = (curve.measures(weights, budget) for curve in curves)
        drawn[i] = np.subtract(ours, theirs)
    tail = (1 - CONFIDENCE) / 2
    # A resample without any fraud has no measures.
    low, high = np.nanquantile(drawn, [tail, 1 - tail], axis=0)
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]


class _Curve:
    """Frauds found against rows taken, for any weights of the clusters.

    The rows are sorted by descending score once. They are then summed in segments, one for each
    distinct score that a fraud has, with the legitimate rows above it: between two such scores
    nothing changes but the number of rows, so these points determine both measures up to the
    interpolation inside a segment.
    """

    def __init__(
        self,
        scores: Floats,
        labels: Labels,
        cluster_of: NDArray[np.intp],
        row_weights: Floats | None = None,
    ) -> None:
        order = np.argsort(-scores, kind="stable")
        ordered, ordered_labels = scores[order], labels[order]
        self._clusters = cluster_of[order].astype(np.int32)
        is_first = np.append(True, ordered[1:] != ordered[:-1])
        group = np.cumsum(is_first) - 1
        has_fraud = np.zeros(int(group[-1]) + 1, np.bool_)
        has_fraud[group[ordered_labels == 1]] = True
        # A segment begins where a group with frauds begins, and where one has ended.
        begins = is_first & (has_fraud[group] | np.append(True, has_fraud[group[:-1]]))
        self._starts = np.flatnonzero(begins)
        is_fraud = ordered_labels == 1
        self._fraud_clusters = self._clusters[is_fraud]
        # Whole numbers stay whole: sums of them are exact in any order.
        self._rows: Any = 1 if row_weights is None else row_weights[order]
        self._frauds: Any = 1 if row_weights is None else row_weights[order][is_fraud]
        segment = np.cumsum(begins) - 1
        fraud_segments = segment[is_fraud]
        self._fraud_starts = np.flatnonzero(np.diff(fraud_segments, prepend=-1))
        self._with_frauds = fraud_segments[self._fraud_starts]

    def measures(self, weights: NDArray[np.int64], budget: float) -> tuple[float, float]:
        """Average precision, and recall among the ``budget`` share of the weighted rows.

        Equal scores count as one group, in both measures: where the budget ends within a group,
        its frauds are found in proportion, which is their mean over all orders of the group.
        """
        taken = np.cumsum(np.add.reduceat(weights[self._clusters] * self._rows, self._starts))
        found = np.zeros(len(taken), taken.dtype)
        found[self._with_frauds] = np.add.reduceat(
            weights[self._fraud_clusters] * self._frauds, self._fraud_starts
        )
        hits = np.cumsum(found)
        if hits[-1] == 0:
            return float("nan"), float("nan")
        precision = hits / np.where(taken > 0, taken, 1)
        average_precision = float(np.sum(found * precision) / hits[-1])
        within = np.interp(budget * taken[-1], np.append(0, taken), np.append(0, hits))
        return average_precision, float(within / hits[-1])
