"""Scores of two versions on the same synthetic transactions, and labels for them."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.quality.rows import NONE, LabelTable
from stream_scorer.shadow.compare.pairs import Pairs, Side

TOPIC: Final = "transactions"
NOW: Final = 1_800_000_000_000
DAY: Final = 86_400_000
REVIEW, BLOCK = 0.5, 0.8


class World:
    """``n`` transactions of some cards; whole cards are fraudulent or not.

    Args:
        n: transactions.
        frauds: share of the cards that are fraudulent.
        skills: how far fraud is above the rest, by champion and by challenger; the noise is equal.
        seed: of everything.
    """

    def __init__(self, n: int, frauds: float, skills: tuple[float, float], seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.cards = rng.integers(0, max(2, n // 5), n)
        self.is_fraud = (rng.random(int(self.cards.max()) + 1) < frauds)[self.cards]
        noise = rng.normal(size=n)
        self.scores = [
            1 / (1 + np.exp(-(skill * self.is_fraud + noise + rng.normal(size=n) * 0.5 - 2)))
            for skill in skills
        ]
        self.n = n

    def pairs(self, partition: int = 0, age_days: float = 30, **shares: float) -> Pairs:
        """All of them; ``share`` is that of the random lane, for rows whose number it divides."""
        return Pairs(partition, *(self._side(s, age_days, **shares) for s in self.scores))

    def _side(self, scores: NDArray[np.float64], age_days: float, share: float = 0) -> Side:
        offsets = np.arange(self.n, dtype=np.int64)
        decisions = ((scores >= REVIEW).astype(np.int8) + (scores >= BLOCK)).astype(np.int8)
        every = round(1 / share) if share else self.n + 1
        sampled = (offsets % every == 0) & (decisions == 0) & (share > 0)
        amounts = np.where(decisions > 0, 10.0, np.nan)
        return Side(
            offsets, offsets + 1, np.full(self.n, NOW - round(age_days * DAY), np.int64), scores,
            decisions, amounts, self.cards.astype(np.int64), np.where(sampled, share, np.nan),
        )  # fmt: skip

    def reports(self) -> LabelTable:
        """A chargeback for each fraud."""
        return make_labels(np.flatnonzero(self.is_fraud) + 1, 1, is_report=True)


def make_labels(ids: NDArray[np.int64], value: int, *, is_report: bool) -> LabelTable:
    """The same label for these transactions."""
    values = np.full(len(ids), value, np.int8)
    none, nowhere = np.full(len(ids), NONE, np.int8), np.full(len(ids), -1, np.int64)
    analyst, report = (none, values) if is_report else (values, none)
    times = np.full(len(ids), NOW - DAY, np.int64)
    return LabelTable(ids.astype(np.int64), values, times, analyst, report, nowhere, nowhere)
