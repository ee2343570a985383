"""Rows divided by time: the model is always judged on what comes after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import UsageError
from trainer.fitting.plan import SplitPlan

DAY_SECONDS: Final = 86_400
PARTS: Final = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Split:
    """Masks over all rows; what is in none of them lies in a gap.

    Attributes:
        train: learned from.
        validation: early stopping and thresholds.
        test: reported metrics and the gate; nothing is chosen on it.
        gap_seconds: the gap that was kept.
    """

    train: NDArray[np.bool_]
    validation: NDArray[np.bool_]
    test: NDArray[np.bool_]
    gap_seconds: float

    def mask(self, part: str) -> NDArray[np.bool_]:
        """The mask of one of ``PARTS``."""
        mask: NDArray[np.bool_] = getattr(self, part)
        return mask

    def facts(self, times: NDArray[np.int64], labels: NDArray[np.int8]) -> dict[str, Any]:
        """Rows, frauds and time window of each part, for the metadata."""
        parts: dict[str, Any] = {}
        for name in PARTS:
            mask = self.mask(name)
            parts[name] = {
                "rows": int(mask.sum()),
                "frauds": int(labels[mask].sum()),
                "first_seconds": int(times[mask].min()),
                "last_seconds": int(times[mask].max()),
            }
        return {"gap_days": self.gap_seconds / DAY_SECONDS, **parts}


def split_by_time(times: NDArray[np.int64], labels: NDArray[np.int8], plan: SplitPlan) -> Split:
    """The first split, of ever less demanding ones, with both classes in each part.

    First by shares of rows with the gap; then by shares of frauds with the gap; then without.

    Raises:
        UsageError: no split has both classes in each part.
    """
    for split in _candidates(times, labels, plan):
        if all(_has_both(labels[split.mask(part)]) for part in PARTS):
            return split
    raise UsageError(
        f"cannot split {len(labels)} rows with {int(labels.sum())} frauds by time so that train, "
        "validation and test each have both classes: more rows over a longer time are needed"
    )


def _has_both(labels: NDArray[np.int8]) -> bool:
    return 0 < int(labels.sum()) < len(labels)


def _candidates(
    times: NDArray[np.int64], labels: NDArray[np.int8], plan: SplitPlan
) -> Iterator[Split]:
    span = float(times.max() - times.min())
    gap = min(plan.gap_days * DAY_SECONDS, span * plan.max_gap_share)
    for gap_seconds in (gap, 0.0):
        for sample in (times, times[labels == 1]):
            yield _cut(times, np.sort(sample), plan, gap_seconds)


def _cut(
    times: NDArray[np.int64], ordered: NDArray[np.int64], plan: SplitPlan, gap: float
) -> Split:
    n = len(ordered)
    validation_from = ordered[min(int(n * (1 - plan.validation_share - plan.test_share)), n - 1)]
    test_from = ordered[min(int(n * (1 - plan.test_share)), n - 1)]
    return Split(
        train=times < validation_from,
        validation=(times >= validation_from + gap) & (times < test_from),
        test=times >= test_from + gap,
        gap_seconds=gap,
    )
