"""What both sides of a replay are worth by the labels there are. Pure.

Only labelled inputs can be judged. Analysts label what was flagged, so average precision among them
says how well a side ranks those, not how well it ranks all inputs.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.labels.labels import FRAUD, UNSURE, Labels
from stream_scorer.quality.estimates import average_precision

TOP_SHARE: Final = 0.02


class LabelledScores:
    """Keeps the scores of labelled inputs, 17 bytes each, and the highest scores of all.

    Args:
        labels: the last label of each transaction.
        most: the most inputs there can be.
    """

    def __init__(self, labels: Labels, most: int) -> None:
        self._labels = labels
        self._is_used = np.zeros(len(labels), np.bool_)
        self._parts: list[tuple[NDArray[Any], ...]] = []
        self._top = tuple(_HighestScores(int(most * TOP_SHARE) + 1) for _ in range(2))
        self._counts = {"unsure": 0, "without_label": 0}
        self._compared = 0

    def find(self, transactions: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int8]]:
        """Which transactions have a label, and which; bool and int8 ``[n]``."""
        known = self._labels
        if not len(known):
            return np.zeros(len(transactions), np.bool_), np.zeros(len(transactions), np.int8)
        at = np.searchsorted(known.ids, transactions).clip(0, len(known) - 1)
        return known.ids[at] == transactions, known.values[at]

    def add(
        self,
        transactions: NDArray[np.int64],
        before: NDArray[np.float64],
        now: NDArray[np.float64],
    ) -> None:
        """Add compared inputs: their transactions and the scores of both sides."""
        has_label, values = self.find(transactions)
        is_known = has_label & (values != UNSURE)
        self._compared += len(transactions)
        self._counts["unsure"] += int(np.count_nonzero(has_label & ~is_known))
        self._counts["without_label"] += int(np.count_nonzero(~has_label))
        if has_label.any():
            self._is_used[np.searchsorted(self._labels.ids, transactions[has_label])] = True
        if is_known.any():
            self._parts.append((before[is_known], now[is_known], values[is_known] == FRAUD))
        for top, scores in zip(self._top, (before, now), strict=True):
            top.add(scores)

    def as_json(self) -> dict[str, Any]:
        """Counts of labels, and the measures of both sides; None where there is no fraud."""
        before, now, is_fraud = (
            np.concatenate([np.empty(0, kind), *(part[column] for part in self._parts)])
            for column, kind in enumerate((np.float64, np.float64, np.bool_))
        )
        frauds = int(np.count_nonzero(is_fraud))
        taken = max(1, int(self._compared * TOP_SHARE))
        return {
            "labelled": len(is_fraud),
            "frauds": frauds,
            "legitimate": len(is_fraud) - frauds,
            **self._counts,
            "labels_of_other_inputs": int(np.count_nonzero(~self._is_used)),
            **{
                name: {
                    "average_precision": (average_precision(is_fraud, scores) if frauds else None),
                    "recall_in_top": recall_above(scores, is_fraud, top.nth(taken)),
                }
                for name, scores, top in zip(
                    ("before", "replayed"), (before, now), self._top, strict=True
                )
            },
            "top_share": TOP_SHARE,
        }


def recall_above(
    scores: NDArray[np.float64], is_fraud: NDArray[np.bool_], threshold: float
) -> float | None:
    """The share of frauds with at least this score; None without frauds."""
    frauds = np.count_nonzero(is_fraud)
    return float(np.count_nonzero(scores[is_fraud] >= threshold) / frauds) if frauds else None


class _HighestScores:
    """The ``size`` highest of any number of scores."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held = np.empty(0)
        self._more: list[NDArray[np.float64]] = []
        self._waiting = 0

    def add(self, scores: NDArray[np.float64]) -> None:
        self._more.append(scores)
        self._waiting += len(scores)
        if self._waiting > self._size + 100_000:
            self._merge()

    def nth(self, number: int) -> float:
        """The score at this rank, from 1 on; infinite if there are fewer."""
        self._merge()
        if number > len(self._held):
            return float("inf")
        return float(np.partition(self._held, len(self._held) - number)[len(self._held) - number])

    def _merge(self) -> None:
        held = np.concatenate([self._held, *self._more])
        if len(held) > self._size:
            held = np.partition(held, len(held) - self._size)[-self._size :]
        self._held, self._more, self._waiting = held, [], 0
