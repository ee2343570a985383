"""The reference histogram of a model version, and how far a distribution is from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_MAX_BINS: Final = 1000


@dataclass(frozen=True, slots=True)
class Reference:
    """What a version's metadata says about its scores; what it leaves out is not judged.

    ``edges`` are the inner bounds of the bins; a bound belongs to the bin above it. ``shares``
    sum to 1. ``rows`` is the number of rows they were counted on.
    """

    edges: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    shares: NDArray[np.float64] = field(default_factory=lambda: np.ones(1))
    rows: int = 0
    flag_rate: float | None = None

    def count(self, scores: NDArray[np.float64]) -> NDArray[np.int64]:
        """The number of scores in each bin."""
        bins = np.searchsorted(self.edges, scores, side="right")
        return np.bincount(bins, minlength=len(self.edges) + 1)


def read_reference(metadata: Mapping[str, Any]) -> Reference:
    """The reference in a version's metadata, without the parts that are absent or invalid."""
    rate = _path(metadata, "metrics", "test", "review", "share")
    if rate is None:
        rate = _path(metadata, "thresholds", "flagged_share")
    flag_rate = float(rate) if _is_share(rate) else None
    edges = _path(metadata, "reference", "scores", "edges")
    counts = _path(metadata, "reference", "scores", "counts")
    if not isinstance(edges, list) or not isinstance(counts, list):
        return Reference(flag_rate=flag_rate)
    if not 0 < len(edges) < _MAX_BINS or len(counts) != len(edges) + 1:
        return Reference(flag_rate=flag_rate)
    try:
        bounds, found = np.array(edges, np.float64), np.array(counts, np.float64)
    except (ValueError, TypeError, OverflowError):
        return Reference(flag_rate=flag_rate)
    makes_sense = (
        bounds.ndim == found.ndim == 1
        and bool(np.isfinite(bounds).all() and np.isfinite(found).all())
        and bool((np.diff(bounds) > 0).all() and (found >= 0).all())
        and 0 < found.sum() < 1e15
    )
    if not makes_sense:
        return Reference(flag_rate=flag_rate)
    shares = (found + 0.5) / (found.sum() + 0.5 * len(found))
    return Reference(bounds, shares, int(found.sum()), flag_rate)


def stability_index(counts: NDArray[np.int64], expected: NDArray[np.float64]) -> float:
    """The population stability index of counts against expected shares."""
    actual = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    return float(((actual - expected) * np.log(actual / expected)).sum())


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _path(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
