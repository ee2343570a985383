"""Whether a new version behaves as its own metadata says it should; pure arithmetic.

Three checks, each over the rows a version has scored since it took over:

- **errors**: the share of rows whose scoring failed or did not give a finite number.
- **distribution**: the population stability index of its scores against its own reference
  histogram, ``PSI = sum((a - e) * ln(a / e))`` over the histogram's bins, ``e`` being the bins'
  shares in the reference and ``a`` those of the live rows (Siddiqi, Credit Risk Scorecards, 2006,
  where 0.25 is a major shift). Shares are smoothed by half a row in each bin (Jeffreys), so an
  empty bin does not give infinity. Two samples of ``n`` and ``m`` rows from the same distribution
  differ too: their PSI is about ``(1/n + 1/m)`` times a chi-squared variable with one degree of
  freedom fewer than there are bins (Yurdakul, Statistical Properties of Population Stability
  Index, 2018). Its one in a million quantile is added to the limit.
- **flag rate**: the share of rows at or above the review threshold, compared with the share on the
  test rows. Too many flags overload the analysts, too few let fraud pass.

Shares are judged by their Wilson score interval (1927) at ``_Z``. A share fails only when its whole
interval is beyond the limit, so a few rows never decide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from stream_scorer.drift.reference import Reference, stability_index

Cause = Literal["errors", "distribution", "flag_rate"]
CAUSES: Final[tuple[Cause, ...]] = ("errors", "distribution", "flag_rate")

_Z: Final = 4.0  # about one in 30,000 for either side of an interval
_Z_DISTRIBUTION: Final = 4.75  # one in a million
_MIN_ERRORS: Final = 20  # a few unusual records from one client are not the model's fault
_LEAST_EXPECTED: Final = 0.001  # a drop below a smaller flag rate is too hard to detect
_LEAST_LIMIT: Final = 0.02  # this share of flagged rows never overloads the analysts


@dataclass(frozen=True, slots=True)
class GuardPolicy:
    """How a version on probation is judged.

    Probation lasts at least ``seconds`` from the first row, and at least ``min_rows`` rows.
    Distribution and flag rate are judged once there are ``min_rows`` rows. The flag rate may be up
    to ``max_flag_ratio`` times higher or lower than expected.
    """

    seconds: float = 600.0
    min_rows: int = 2_000
    max_error_share: float = 0.02
    max_psi: float = 0.5
    max_flag_ratio: float = 5.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What a version has scored so far; ``rows`` includes ``errors``."""

    rows: int
    errors: int
    flagged: int
    counts: NDArray[np.int64]

    def __add__(self, other: Sample) -> Sample:
        return Sample(
            self.rows + other.rows,
            self.errors + other.errors,
            self.flagged + other.flagged,
            self.counts + other.counts,
        )


@dataclass(frozen=True, slots=True)
class Trip:
    """Why a version is rejected: the failed check, the reason as text, and the figures."""

    cause: Cause
    reason: str
    figures: Mapping[str, float]


def judge(
    sample: Sample, reference: Reference, policy: GuardPolicy, *, is_warm: bool = True
) -> Trip | None:
    """The first check that fails with statistical confidence, if any.

    Without ``is_warm`` the distribution is not compared: the test rows of the reference had a card
    history, and the live rows have none yet.
    """
    return (
        _judge_errors(sample, reference, policy)
        or (_judge_distribution(sample, reference, policy) if is_warm else None)
        or _judge_flag_rate(sample, reference, policy)
    )


def figures(sample: Sample, reference: Reference) -> dict[str, float]:
    """The figures of a sample, as shown to people and stored in markers."""
    found: dict[str, float] = {
        "rows": sample.rows,
        "errors": sample.errors,
        "error_share": sample.errors / max(1, sample.rows),
    }
    scored = sample.rows - sample.errors
    if scored:
        found["flag_rate"] = sample.flagged / scored
    if reference.flag_rate is not None:
        found["expected_flag_rate"] = reference.flag_rate
    if scored and reference.rows:
        found["psi"] = stability_index(sample.counts, reference.shares)
    return {name: round(value, 6) for name, value in found.items()}


def psi_limit(rows: int, reference: Reference, policy: GuardPolicy) -> float:
    """The PSI above which ``rows`` scores do not follow the reference distribution."""
    freedom = len(reference.edges)
    return policy.max_psi + _chi_squared(freedom) * (1 / rows + 1 / reference.rows)


def _judge_errors(sample: Sample, reference: Reference, policy: GuardPolicy) -> Trip | None:
    if sample.errors < _MIN_ERRORS:
        return None
    low, _ = _wilson(sample.errors, sample.rows)
    if low <= policy.max_error_share:
        return None
    reason = (
        f"{sample.errors} of {sample.rows} rows could not be scored, more than "
        f"{policy.max_error_share:.2%}"
    )
    return Trip("errors", reason, figures(sample, reference))


def _judge_distribution(sample: Sample, reference: Reference, policy: GuardPolicy) -> Trip | None:
    scored = sample.rows - sample.errors
    if not reference.rows or scored < max(1, policy.min_rows):
        return None
    psi = stability_index(sample.counts, reference.shares)
    limit = psi_limit(scored, reference, policy)
    if psi <= limit:
        return None
    reason = (
        f"the scores of {scored} rows do not follow the reference distribution: stability index "
        f"{psi:.3f}, limit {limit:.3f}"
    )
    return Trip("distribution", reason, figures(sample, reference) | {"psi_limit": limit})


def _judge_flag_rate(sample: Sample, reference: Reference, policy: GuardPolicy) -> Trip | None:
    scored, expected = sample.rows - sample.errors, reference.flag_rate
    if expected is None or scored < max(1, policy.min_rows):
        return None
    low, high = _wilson(sample.flagged, scored)
    most = max(expected * policy.max_flag_ratio, _LEAST_LIMIT)
    least = expected / policy.max_flag_ratio if expected >= _LEAST_EXPECTED else 0.0
    if least <= high and low <= most:
        return None
    reason = (
        f"{sample.flagged} of {scored} rows are flagged ({sample.flagged / scored:.2%}); expected "
        f"{expected:.2%}, allowed {least:.2%} to {most:.2%}"
    )
    return Trip("flag_rate", reason, figures(sample, reference))


def _wilson(hits: int, trials: int) -> tuple[float, float]:
    share, z2 = hits / trials, _Z * _Z
    middle = share + z2 / (2 * trials)
    half = _Z * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    return (middle - half) / (1 + z2 / trials), (middle + half) / (1 + z2 / trials)


def _chi_squared(freedom: int) -> float:
    """The upper one in a million quantile, by the Wilson-Hilferty approximation (1931)."""
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + _Z_DISTRIBUTION * math.sqrt(part)) ** 3)
