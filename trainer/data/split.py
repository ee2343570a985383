"""Splits rows by time: a model is always judged on later rows than it was trained on."""

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
    """Masks over all rows; a row in none of them lies in a gap.

    Attributes:
        train: rows to learn from.
        validation: rows for early stopping and thresholds.
        test: rows for reported metrics and the gate; nothing is chosen on them.
        gap_seconds: the gap between two parts.
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
    """Split so that each part has both classes.

    Tries, in this order: shares of rows with the gap, shares of frauds with the gap, and the same
    two without the gap.

    Raises:
        UsageError: no split has both classes in each part.
    """
    for split in _candidates(times, labels, plan):
        if all(_has_both(labels[split.mask(part)]) for part in PARTS):
            return split
    raise UsageError(
        f"cannot split {len(labels)} rows with {int(labels.sum())} frauds by time so that train, "
        "validation and test each have both classes: use more rows over a longer time"
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
