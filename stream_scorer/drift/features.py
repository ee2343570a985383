"""The reference histograms of a model version's features, and live rows counted into their bins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MOST_FEATURES: Final = 30
"""Per version. The metadata lists features by importance, and the first ones are counted."""

_MOST_EDGES: Final = 60  # of a feature: each bin is two series of every scorer

_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)
"""2**64 divided by the golden ratio: multiples of it spread evenly (Knuth, The Art of Computer
Programming, volume 3, section 6.4), so gaps of any period between offsets do not bias a sample."""

_TOP_BITS: Final = np.uint64(40)  # leaves the 24 highest bits of the product
_RANGE: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class FeatureReference:
    """The histogram of one feature on the reference rows.

    The last bin holds missing values. ``edges`` are the inner bounds of all other bins, and a bound
    belongs to the bin above it. ``counts`` are the rows in each bin, int64 ``[bins]``.
    """

    name: str
    edges: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """The number of reference rows."""
        return int(self.counts.sum())

    @property
    def shares(self) -> NDArray[np.float64]:
        """The expected share of each bin, with half a row added so that none is zero."""
        counts = self.counts.astype(np.float64) + 0.5
        shares: NDArray[np.float64] = counts / counts.sum()
        return shares

    def find_bins(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """The bin of each value; NaN is missing."""
        bins = np.searchsorted(self.edges, values, side="right")
        bins[np.isnan(values)] = len(self.edges) + 1
        return bins


@dataclass(frozen=True, slots=True)
class FeatureReferences:
    """The features of one model version that are counted, and where they are in its matrix.

    Attributes:
        version: the model version.
        features: the most important features that have a valid histogram.
        columns: their columns in the feature matrix, int64 ``[features]``.
    """

    version: str = ""
    features: tuple[FeatureReference, ...] = ()
    columns: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def count(self, values: NDArray[np.float64]) -> list[NDArray[np.int64]]:
        """The rows in each bin of each feature; ``values`` are float64 ``[rows, features]``."""
        return [
            np.bincount(one.find_bins(column), minlength=len(one.counts))
            for one, column in zip(self.features, np.ascontiguousarray(values.T), strict=True)
        ]


@dataclass(frozen=True, slots=True)
class FeatureSample:
    """Values of the counted features for some rows of a batch, float64 ``[rows, features]``."""

    references: FeatureReferences
    values: NDArray[np.float64]


def read_feature_references(
    version: str, metadata: Mapping[str, Any], names: Sequence[str]
) -> FeatureReferences:
    """The references in a version's metadata, without those that are absent or invalid.

    Args:
        version: the model version.
        metadata: its metadata.
        names: its features, in the order of the matrix's columns.
    """
    reference = metadata.get("reference")
    listed = reference.get("features") if isinstance(reference, Mapping) else None
    if not isinstance(listed, Mapping):
        return FeatureReferences(version)
    position = {name: column for column, name in enumerate(names)}
    known = [(name, facts) for name, facts in listed.items() if name in position]
    found = [one for name, facts in known if (one := _read(name, facts)) is not None]
    features = tuple(found[:MOST_FEATURES])
    columns = np.array([position[one.name] for one in features], np.int64)
    return FeatureReferences(version, features, columns)


def choose_rows(offsets: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """About ``share`` of the rows, bool ``[n]``; depends on nothing but each row's offset."""
    hashed = (offsets.astype(np.uint64) * _MULTIPLIER) >> _TOP_BITS
    chosen: NDArray[np.bool_] = hashed < np.uint64(round(share * _RANGE))
    return chosen


def _read(name: str, facts: Any) -> FeatureReference | None:
    try:
        edges = np.array(facts["edges"], np.float64)
        counts = np.array([*facts["counts"], facts["missing"]], np.float64)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    makes_sense = (
        edges.ndim == counts.ndim == 1
        and len(edges) <= _MOST_EDGES
        and len(counts) == len(edges) + 2
        and bool(np.isfinite(edges).all() and np.isfinite(counts).all())
        and bool((np.diff(edges) > 0).all() and (counts >= 0).all())
        and 0 < counts.sum() < 1e15
    )
    return FeatureReference(name, edges, counts.astype(np.int64)) if makes_sense else None
