"""The figures of both versions on the same transactions, as they are counted live. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

EDGES: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Inner bounds of the bins of scores: narrow where most transactions are."""

BINS: Final = len(EDGES) + 1
DECISIONS: Final = ("APPROVE", "REVIEW", "BLOCK")

_EDGES: Final = np.array(EDGES)


@dataclass(frozen=True, slots=True)
class Figures:
    """What both versions make of the same transactions.

    Attributes:
        moves: int64 ``[3, 3]``: transactions by the champion's decision and the challenger's.
        champion: int64 ``[BINS]``: the champion's scores by bin.
        challenger: int64 ``[BINS]``: the challenger's.
    """

    moves: NDArray[np.int64]
    champion: NDArray[np.int64]
    challenger: NDArray[np.int64]

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            self.moves + other.moves,
            self.champion + other.champion,
            self.challenger + other.challenger,
        )

    @property
    def rows(self) -> int:
        """The number of transactions."""
        return int(self.moves.sum())

    @property
    def agreement(self) -> float:
        """The share of transactions with equal decisions; NaN without transactions."""
        return float(np.trace(self.moves)) / self.rows if self.rows else float("nan")

    @property
    def stability_index(self) -> float:
        """The population stability index of the challenger's scores against the champion's.

        Both are smoothed by half a transaction in each bin, so that an empty one gives no infinity.
        """
        if not self.rows:
            return float("nan")
        before, after = (
            (counts + 0.5) / (counts.sum() + 0.5 * BINS)
            for counts in (self.champion, self.challenger)
        )
        return float(((after - before) * np.log(after / before)).sum())


def no_figures() -> Figures:
    """Before any transaction."""
    return Figures(np.zeros((3, 3), np.int64), np.zeros(BINS, np.int64), np.zeros(BINS, np.int64))


def count(
    champion_scores: NDArray[np.float64],
    champion_decisions: NDArray[np.uint8],
    challenger_scores: NDArray[np.float64],
    challenger_decisions: NDArray[np.uint8],
) -> Figures:
    """The figures of some transactions; every array has the shape ``[n]``."""
    cells = champion_decisions.astype(np.int64) * 3 + challenger_decisions
    return Figures(
        np.bincount(cells, minlength=9).reshape(3, 3),
        bin_counts(champion_scores),
        bin_counts(challenger_scores),
    )


def bin_counts(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Scores by bin; a bound belongs to the bin above it."""
    return np.bincount(np.searchsorted(_EDGES, scores, side="right"), minlength=BINS)
