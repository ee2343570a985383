"""The raw score (log-odds) behind a score: the inverse of the sigmoid and of the calibration."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from stream_scorer.model.calibration import Calibration, to_scores

MAX_WIDTH: Final = 1e-3
"""The widest range of raw scores that counts as one. Contributions are shown with two decimals."""

_ULPS: Final = 4  # the C library's exp may differ by an ulp or two between machines


class RawRange(NamedTuple):
    """The raw scores that get a certain score; ``value`` is the best guess between the ends."""

    low: float
    value: float
    high: float

    @property
    def is_known(self) -> bool:
        """Whether the ends agree well enough to explain the score."""
        return self.high - self.low <= MAX_WIDTH


def raw_range(score: float, calibration: Calibration | None) -> RawRange:
    """The raw scores that get ``score``; an end is infinite where the score has reached 0 or 1.

    Both maps are strictly increasing, so the range is as wide as the last bits of the score allow.
    """
    low, value, high = (_inverse(score, calibration, ulps) for ulps in (-_ULPS, 0, _ULPS))
    return RawRange(low, value, high)


def raw_of(score: float, calibration: Calibration | None) -> float | None:
    """The raw score from which on rows have at least this score; None for a score never reached."""
    raw = _inverse(score, calibration, 0)
    return raw if math.isfinite(raw) else None


def score_of(raw: float, calibration: Calibration | None) -> float:
    """The score of a raw score."""
    return float(to_scores(np.array([raw]), calibration)[0])


def _inverse(score: float, calibration: Calibration | None, ulps: int) -> float:
    """The raw score of a score that may be off by some ulps, and its probability as well."""
    score += ulps * math.ulp(score)
    if calibration is not None and 0.0 < score < 1.0:
        knot = int(np.searchsorted(calibration.y, score, side="right")) - 1
        step = (score - float(calibration.y[knot])) / float(calibration.slope[knot])
        score = min(float(calibration.x[knot]) + step, float(calibration.x[knot + 1]))
        score += ulps * math.ulp(score)
    if score <= 0.0:
        return -math.inf
    if score >= 1.0:
        return math.inf
    return math.log(score) - math.log1p(-score)
