"""Splits rows by time into expanding windows: a model is judged on later rows than it has seen."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import UsageError
from trainer.fitting.plan import SplitPlan

DAY_SECONDS: Final = 86_400
ENOUGH_FRAUDS: Final = (10, 5, 10)
"""In train, validation and test: a part with fewer says next to nothing, so fewer and larger
windows are preferred."""

Times = NDArray[np.int64]
Labels = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Fold:
    """One window of evaluation; rows are in the order of time, and a row in no part is in a gap.

    Attributes:
        train: rows to learn from, from the first row on.
        validation: rows for early stopping, the last part of the training window.
        test: rows for reported figures, which the fold's model has not seen.
    """

    train: slice
    validation: slice
    test: slice

    @property
    def parts(self) -> tuple[slice, slice, slice]:
        """The three parts, in the order of time."""
        return self.train, self.validation, self.test


@dataclass(frozen=True, slots=True)
class Split:
    """The folds, in the order of time; their test windows follow each other without a gap.

    ``gap_seconds`` is the gap between two parts of a fold. ``notes`` says for people what differs
    from the plan. ``first`` is the first row that any model learns from.
    """

    folds: tuple[Fold, ...]
    gap_seconds: float
    notes: tuple[str, ...] = ()
    first: int = 0

    @property
    def test(self) -> slice:
        """The test rows of all folds."""
        return slice(self.folds[0].test.start, self.folds[-1].test.stop)

    @property
    def gap_days(self) -> float:
        """The gap between two parts of a fold, in days."""
        return self.gap_seconds / DAY_SECONDS

    def facts(self, times: Times, labels: Labels) -> dict[str, Any]:
        """What the first fold learned from, and the test rows of all folds, for the metadata."""
        first = self.folds[0]
        return {
            "gap_days": self.gap_days,
            "train": window_facts(first.train, times, labels),
            "validation": window_facts(first.validation, times, labels),
            "test": window_facts(self.test, times, labels),
        }


def window_facts(rows: slice, times: Times, labels: Labels) -> dict[str, Any]:
    """Rows, frauds, first and last time (seconds) of some rows."""
    return {
        "rows": len(labels[rows]),
        "frauds": int(labels[rows].sum()),
        "first_seconds": int(times[rows.start]),
        "last_seconds": int(times[rows.stop - 1]),
    }


def split_by_time(times: Times, labels: Labels, plan: SplitPlan, first: int = 0) -> Split:
    """Split rows, which are in the order of time, so that each part of each fold has both classes.

    The test windows have about equal numbers of rows. If that leaves a part with fewer than
    ``ENOUGH_FRAUDS``, they get about equal numbers of frauds instead; if that does not help
    either, there are fewer folds. The next resort is fewer frauds, and the last one no gap.

    No model learns from the rows before ``first``. The test windows do not depend on it.

    Raises:
        UsageError: no split has both classes in each part.
    """
    for folds, gap_seconds, least in _candidates(times, labels, plan, first):
        if all(_is_usable(fold, labels, least) for fold in folds):
            return Split(folds, gap_seconds, tuple(_notes(folds, gap_seconds, plan)), first)
    without = f", of which the first {first} are not learned from," if first else ""
    raise UsageError(
        f"cannot split {len(labels)} rows with {int(labels.sum())} frauds{without} by time so that "
        "train, validation and test each have both classes: use more rows over a longer time"
    )


def _is_usable(fold: Fold, labels: Labels, least: Sequence[int]) -> bool:
    """Whether each part has both classes, and at least this number of frauds."""
    return all(
        least_of_part <= int(labels[part].sum()) < len(labels[part])
        for part, least_of_part in zip(fold.parts, least, strict=True)
    )


def _notes(folds: tuple[Fold, ...], gap_seconds: float, plan: SplitPlan) -> Iterator[str]:
    if len(folds) < plan.folds:
        yield (
            f"evaluated in {len(folds)} of {plan.folds} test windows: with more, a part of a "
            "window would have too few frauds"
        )
    if not gap_seconds and plan.gap_days:
        yield "evaluated without a gap: with one, a part of a window would have no frauds"


def _candidates(
    times: Times, labels: Labels, plan: SplitPlan, first: int
) -> Iterator[tuple[tuple[Fold, ...], float, Sequence[int]]]:
    span = float(times[-1] - times[0])
    gap = min(plan.gap_days * DAY_SECONDS, span * plan.max_gap_share)
    samples = (times, times[labels == 1])
    counts = range(plan.folds, 0, -1)
    for gap_seconds, least in itertools.product((gap, 0.0), (ENOUGH_FRAUDS, (1, 1, 1))):
        for n_folds, sample in itertools.product(counts, samples):
            folds = _cut(times, sample, plan, n_folds, gap_seconds)
            yield tuple(_learned_from(fold, first) for fold in folds), gap_seconds, least


def _learned_from(fold: Fold, first: int) -> Fold:
    return replace(fold, train=slice(min(first, fold.train.stop), fold.train.stop))


def _cut(
    times: Times, sample: Times, plan: SplitPlan, n_folds: int, gap_seconds: float
) -> tuple[Fold, ...]:
    """Folds whose cuts are at quantiles of ``sample``; equal times stay on the same side."""
    share = plan.tested_share
    starts = [_at(sample, 1 - share * (n_folds - i) / n_folds) for i in range(n_folds)]
    ends = [*(_before(times, start) for start in starts[1:]), len(times)]
    folds = []
    for start, end in zip(starts, ends, strict=True):
        seen = sample[: _before(sample, start - gap_seconds)]
        validation = _at(seen, 1 - plan.validation_share) if len(seen) else start
        folds.append(
            Fold(
                slice(0, _before(times, validation - gap_seconds)),
                slice(_before(times, validation), _before(times, start - gap_seconds)),
                slice(_before(times, start), end),
            )
        )
    return tuple(folds)


def _at(ordered: Times, share: float) -> int:
    """The value at this share of an ordered sample."""
    return int(ordered[min(int(len(ordered) * share), len(ordered) - 1)])


def _before(ordered: Times, time: float) -> int:
    """The number of values below ``time``."""
    return int(np.searchsorted(ordered, time, side="left"))
