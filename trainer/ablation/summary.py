"""What an ablation says: differences with intervals, and a verdict for each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from trainer.ablation.results import Results
from trainer.ablation.run import Ablation
from trainer.ablation.variants import Variant

GAINS: Final = "gains"
HURTS: Final = "hurts"
NO_GAIN: Final = "no gain seen"
TOO_FEW: Final = "too few seeds"

LEAST: Final = 3
"""Seeds, or windows in time, on which a group must gain."""

RULE: Final = (
    f"gains: the interval is below zero, and average precision fell on at least {LEAST} of the "
    "seeds or windows when the group was left out; hurts: the reverse; otherwise no gain is seen"
)

_CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """The mean of some independent differences, and its 95 % interval by Student's t."""

    mean: float
    interval: tuple[float, float] | None
    values: tuple[float, ...]

    @property
    def gained_on(self) -> int:
        """How many differences are below zero: there the model is worse without the group."""
        return sum(value < 0 for value in self.values)


def estimate(values: Sequence[float]) -> Estimate:
    """The estimate from one difference for each seed or window; one alone has no interval."""
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return Estimate(mean, None, tuple(values))
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, 0.5 + _CONFIDENCE / 2) * np.std(values, ddof=1) / np.sqrt(n))
    return Estimate(mean, (mean - half, mean + half), tuple(values))


def verdict(found: Estimate) -> str:
    """What :data:`RULE` says."""
    if len(found.values) < LEAST or found.interval is None:
        return TOO_FEW
    low, high = found.interval
    if high < 0 and found.gained_on >= LEAST:
        return GAINS
    if low > 0 and sum(value > 0 for value in found.values) >= LEAST:
        return HURTS
    return NO_GAIN


class Summary:
    """The tables of an ablation, from the fits that are finished."""

    def __init__(self, ablation: Ablation) -> None:
        self._ablation = ablation
        self._results: Results = ablation.results

    @property
    def unit(self) -> str:
        """What an interval is over: windows, or models if there is a single window."""
        source = self._ablation.source
        return source.unit if len(source.names) > 1 else "model seed"

    def rows(self) -> list[dict[str, Any]]:
        """One row for each group, from the most useful to the most harmful.

        The difference is the change in average precision when the group is left out: below zero,
        the group helps.
        """
        found = []
        for judged in self._ablation.variants.judged:
            change = self._change(judged.without_it, judged.with_it)
            if change is not None:
                found.append(
                    {
                        "group": judged.group,
                        "features": len(judged.alone.columns),
                        "is_candidate": judged.is_candidate,
                        **_facts(change),
                        "microseconds": self._results.costs.get(judged.alone.digest),
                        "verdict": verdict(change),
                    }
                )
        return sorted(found, key=lambda row: row["difference"])

    def reference(self, variant: Variant) -> dict[str, Any] | None:
        """A whole program: its average precision, and the difference to the program judged."""
        levels = self._units(variant)
        change = self._change(variant, self._ablation.variants.whole)
        if not levels or change is None:
            return None
        level = estimate(list(levels.values()))
        interval = level.interval and [max(0.0, level.interval[0]), min(1.0, level.interval[1])]
        return {
            "features": len(variant.columns),
            "average_precision": level.mean,
            "average_precision_interval": interval,
            **_facts(change),
        }

    def _change(self, changed: Variant, from_: Variant) -> Estimate | None:
        before, after = self._pairs(from_), self._pairs(changed)
        differences = {pair: after[pair] - before[pair] for pair in before.keys() & after.keys()}
        by_unit = self._by_unit(differences)
        return estimate(list(by_unit.values())) if by_unit else None

    def _units(self, variant: Variant) -> dict[str, float]:
        return self._by_unit(self._pairs(variant))

    def _pairs(self, variant: Variant) -> dict[tuple[str, int], float]:
        """(window, seed) → average precision, for the fits that are finished."""
        source = self._ablation.source
        found = {}
        for window in source.names:
            for seed in source.seeds(window):
                result = self._results.find(window, seed, variant)
                if result is not None:
                    found[window, seed] = result.average_precision
        return found

    def _by_unit(self, values: dict[tuple[str, int], float]) -> dict[str, float]:
        """The mean of each independent unit: models on the same test rows are not independent."""
        is_window = len(self._ablation.source.names) > 1
        grouped: dict[str, list[float]] = {}
        for window, seed in sorted(values):
            unit = window if is_window else str(seed)
            grouped.setdefault(unit, []).append(values[window, seed])
        return {unit: float(np.mean(found)) for unit, found in grouped.items()}


def _facts(change: Estimate) -> dict[str, Any]:
    return {
        "difference": change.mean,
        "interval": None if change.interval is None else list(change.interval),
        "gained_on": change.gained_on,
        "seeds": len(change.values),
    }
