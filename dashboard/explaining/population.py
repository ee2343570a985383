"""How a value compares with those of the model's reference rows, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from stream_scorer.model.bundle import Bundle

_NAMES_AS_NUMBERS: Final = frozenset(
    {"card1", "card2", "card3", "card5", "addr1", "addr2", "id_13", "id_14", "id_17", "id_19"}
    | {"id_20", "id_21", "id_22", "id_24", "id_25", "id_26", "id_32"}
)
"""Number columns that name a card, a place or a setting: higher or lower means nothing."""

_MAX_EDGES: Final = 1000
_HALF: Final = 0.5
_CLEARLY: Final = 0.6
_QUARTER: Final = 0.25
_OFTEN_MISSING: Final = 0.01


class Histogram(NamedTuple):
    """The reference histogram of a feature. A bin's lower edge belongs to it."""

    edges: list[float]
    counts: list[float]
    missing: float

    @property
    def present(self) -> float:
        """Rows that have a value."""
        return sum(self.counts)


def find_histogram(bundle: Bundle, feature: str) -> Histogram | None:
    """The histogram of a feature in the metadata; None if it has none, or an invalid one."""
    found: Any = bundle.metadata
    for name in ("reference", "features", feature):
        found = found.get(name) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        return None
    try:
        edges = np.array(found["edges"], np.float64)
        counts = np.array(found["counts"], np.float64)
        missing = float(found["missing"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    makes_sense = (
        edges.ndim == counts.ndim == 1
        and len(edges) < _MAX_EDGES
        and len(counts) == len(edges) + 1
        and bool(np.isfinite(edges).all() and np.isfinite(counts).all())
        and bool((np.diff(edges) > 0).all() and (counts >= 0).all())
        and 0 <= missing < math.inf
        and counts.sum() + missing > 0
    )
    return Histogram(edges.tolist(), counts.tolist(), missing) if makes_sense else None


def percentile(bundle: Bundle, feature: str, value: str | float | None) -> str | None:
    """How a value compares, such as ``higher than 90 % of transactions``.

    The share is the largest one that is certain: the reference has deciles, and finer
    bins at both ends unless an earlier release trained the version.

    Args:
        bundle: its metadata has histograms of the most important features.
        feature: its name in the bundle.
        value: as in a reason; None if it is missing.

    Returns:
        None if nothing is known: no histogram, a category, or a value in a bin too wide to tell.
    """
    found = find_histogram(bundle, feature)
    if found is None:
        return None
    if value is None:
        share = found.missing / (found.present + found.missing)
        return f"as in {_percent(share)} of transactions" if share >= _OFTEN_MISSING else None
    if is_category(bundle, feature) or (number := _number(value)) is None or not found.present:
        return None
    at = int(np.searchsorted(found.edges, number, side="right"))
    below = sum(found.counts[:at]) / found.present
    above = sum(found.counts[at + 1 :]) / found.present
    often_missing = found.missing > _OFTEN_MISSING * (found.present + found.missing)
    whom = "transactions that have it" if often_missing else "transactions"
    if below < _CLEARLY and above < _CLEARLY and min(below, above) >= _QUARTER:
        return f"in the middle half of {whom}"
    if below >= _HALF:
        return f"higher than {_percent(below)} of {whom}"
    return f"lower than {_percent(above)} of {whom}" if above >= _HALF else None


def is_category(bundle: Bundle, feature: str) -> bool:
    """Whether higher and lower have no meaning: a text, or a number that is a name."""
    names = bundle.features.names
    if feature in _NAMES_AS_NUMBERS or feature not in names:
        return True
    return bundle.features.text_columns[names.index(feature)] is not None


def _number(value: str | float) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _percent(share: float) -> str:
    """Rounded down, so that no more is claimed than is certain."""
    percent = math.floor(share * 1000 + 1e-9) / 10
    return f"{percent:.1f} %" if percent > 99 and percent % 1 else f"{math.floor(percent)} %"
