"""How far live rows are from a version's reference, feature by feature. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.drift.features import FeatureReference
from stream_scorer.drift.reference import Reference, stability_index

MODERATE: Final = 0.1
LARGE: Final = 0.25
"""The usual bounds of the population stability index (Siddiqi, Credit Risk Scorecards, 2006)."""

MOST_SHOWN: Final = 10
MIN_ROWS: Final = 500
"""With fewer rows, chance alone moves the index of about 20 bins by 0.04 and more."""

_DIGITS: Final = 6


@dataclass(frozen=True, slots=True)
class Shift:
    """One distribution beside its reference.

    Attributes:
        name: the feature, or ``score``.
        psi: the population stability index.
        by_chance: the index to expect if nothing moved.
        rows: the live rows.
        edges: the inner bounds of the bins.
        expected: the reference's share of each bin; the last one of a feature is missing values.
        found: the live share of each bin.
        has_missing: the last bin holds missing values.
    """

    name: str
    psi: float
    by_chance: float
    rows: int
    edges: tuple[float, ...]
    expected: tuple[float, ...]
    found: tuple[float, ...]
    has_missing: bool

    @property
    def missing(self) -> tuple[float, float]:
        """Share of missing values in the reference and live."""
        return (self.expected[-1], self.found[-1]) if self.has_missing else (0.0, 0.0)

    @property
    def verdict(self) -> str:
        """The index in a word."""
        if self.psi < MODERATE:
            return "stable"
        return "moderate shift" if self.psi < LARGE else "large shift"

    def labels(self) -> list[str]:
        """The bins in words, for people."""
        bounds = [_number(edge) for edge in self.edges]
        values = ["all values"]
        if bounds:
            between = [f"{a} to {b}" for a, b in pairwise(bounds)]
            values = [f"below {bounds[0]}", *between, f"{bounds[-1]} and above"]
        return [*values, "missing"] if self.has_missing else values

    def as_json(self) -> dict[str, Any]:
        """JSON of the report."""
        return {
            "name": self.name,
            "psi": _short(self.psi),
            "psi_by_chance": _short(self.by_chance),
            "verdict": self.verdict,
            "rows": self.rows,
            "missing_before": _short(self.missing[0]),
            "missing_now": _short(self.missing[1]),
            "has_missing": self.has_missing,
            "edges": list(self.edges),
            "expected": [_short(share) for share in self.expected],
            "found": [_short(share) for share in self.found],
        }


def read_shift(facts: Mapping[str, Any]) -> Shift:
    """The inverse of :meth:`Shift.as_json`.

    Raises:
        ValueError, KeyError, TypeError, OverflowError: it is none.
    """
    numbers = {
        key: tuple(float(value) for value in facts[key]) for key in ("edges", "expected", "found")
    }
    has_missing = bool(facts["has_missing"])
    bins = len(numbers["edges"]) + 1 + has_missing
    if not len(numbers["expected"]) == len(numbers["found"]) == bins:
        raise ValueError("the bins of a histogram do not fit together")
    shift = Shift(
        str(facts["name"]), float(facts["psi"]), float(facts["psi_by_chance"]), int(facts["rows"]),
        numbers["edges"], numbers["expected"], numbers["found"], has_missing,
    )  # fmt: skip
    shares = (*shift.expected, *shift.found)
    if not all(0 <= share <= 1 for share in shares) or not np.isfinite([shift.psi]).all():
        raise ValueError("a share is not between 0 and 1")
    return shift


def compare_feature(reference: FeatureReference, counts: NDArray[np.int64]) -> Shift:
    """A feature's live counts beside its reference."""
    return _shift(reference.name, reference.edges, reference.counts, reference.shares, counts, True)


def compare_scores(reference: Reference, counts: NDArray[np.int64]) -> Shift:
    """Live scores beside the reference of scores."""
    shares = reference.shares
    before = np.rint(shares * reference.rows).astype(np.int64)
    return _shift("score", reference.edges, before, shares, counts, False)


def most_moved(shifts: Sequence[Shift]) -> list[Shift]:
    """The shifts by index, the largest first."""
    return sorted(shifts, key=lambda one: (-one.psi, one.name))


def _shift(
    name: str,
    edges: NDArray[np.float64],
    before: NDArray[np.int64],
    shares: NDArray[np.float64],
    counts: NDArray[np.int64],
    has_missing: bool,
) -> Shift:
    rows = int(counts.sum())
    by_chance = (len(counts) - 1) * (1 / max(int(before.sum()), 1) + 1 / max(rows, 1))
    return Shift(
        name,
        stability_index(counts, shares),
        by_chance,
        rows,
        tuple(edges.tolist()),
        tuple((before / max(int(before.sum()), 1)).tolist()),
        tuple((counts / max(rows, 1)).tolist()),
        has_missing,
    )


def _number(value: float) -> str:
    return f"{value:.6g}"


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
