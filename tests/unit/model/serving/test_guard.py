"""The guard's arithmetic: what trips it and what must not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_scorer.drift.reference import Reference, read_reference, stability_index
from stream_scorer.model.serving.guard import GuardPolicy, Sample, Trip, judge, psi_limit
from tests.support.guard_kit import promises

POLICY = GuardPolicy(min_rows=1000)


def fraud_scores(n: int, seed: int = 1) -> NDArray[np.float64]:
    """Skewed like a fraud model's scores: about 2.4 % are 0.5 or more."""
    return np.random.default_rng(seed).beta(0.35, 4.0, n)


SCORES = fraud_scores(20_000)
REFERENCE = read_reference(promises(SCORES, float(np.mean(SCORES >= 0.5))))


def judged(
    scores: NDArray[np.float64], errors: int = 0, reference: Reference = REFERENCE
) -> Trip | None:
    flagged = int((scores >= 0.5).sum())
    sample = Sample(len(scores) + errors, errors, flagged, reference.count(scores))
    return judge(sample, reference, POLICY)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1000, 30_000))
def test_scores_of_the_same_distribution_never_trip(seed: int, n: int) -> None:
    assert judged(fraud_scores(n, seed)) is None


def test_every_prefix_of_a_stable_stream_is_fine() -> None:
    scores = fraud_scores(20_000, seed=3)
    assert all(judged(scores[:n]) is None for n in range(1, len(scores), 97))


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda s: 1 - s, id="inverted"),
        pytest.param(lambda s: np.full(len(s), 0.01), id="constant"),
        pytest.param(np.sqrt, id="much higher"),
        pytest.param(lambda s: s / 20, id="much lower"),
        pytest.param(lambda s: np.random.default_rng(1).random(len(s)), id="noise"),
    ],
)
def test_other_distribution_trips_with_its_figures(broken: Any) -> None:
    trip = judged(broken(fraud_scores(1000, 5)))
    assert trip is not None
    assert trip.cause == "distribution"
    assert "stability index" in trip.reason
    assert trip.figures["psi"] > trip.figures["psi_limit"] > 0.5
    assert trip.figures["rows"] == 1000


def test_too_few_rows_decide_nothing() -> None:
    assert judged(1 - fraud_scores(999, 5)) is None
    assert judged(1 - fraud_scores(1000, 5)) is not None


def test_index_is_the_formula_by_hand() -> None:
    expected = np.array([0.5, 0.3, 0.2])
    actual = np.array([10.5, 30.5, 60.5]) / 101.5
    by_hand = sum((a - e) * np.log(a / e) for a, e in zip(actual, expected, strict=True))
    assert stability_index(np.array([10, 30, 60]), expected) == pytest.approx(by_hand)


def test_empty_bins_give_a_finite_index() -> None:
    assert np.isfinite(stability_index(np.array([0, 0, 1000]), np.array([1e-4, 1e-4, 0.9998])))


def test_limit_allows_for_chance_where_samples_are_small() -> None:
    few, many = psi_limit(1000, REFERENCE, POLICY), psi_limit(10**6, REFERENCE, POLICY)
    # The one in a million chi-squared quantile for 9 degrees of freedom is 44.81 (tables); the
    # approximation is up to 3 % higher.
    assert few - 0.5 == pytest.approx(44.81 * (1 / 1000 + 1 / 20_000), rel=0.03)
    assert 0.5 < many < few


def test_errors_trip_only_with_statistical_confidence() -> None:
    some = fraud_scores(980)
    assert judged(some, errors=19) is None  # too few to decide
    assert judged(some, errors=20) is None  # close to the limit: it may be chance
    trip = judged(some, errors=100)
    assert trip is not None
    assert trip.cause == "errors"
    assert "100 of 1080 rows could not be scored" in trip.reason
    assert judged(np.empty(0), errors=19) is None  # one client's unusual records
    alone = judged(np.empty(0), errors=20)
    assert alone is not None
    assert alone.cause == "errors"


@pytest.mark.parametrize(
    ("flagged", "trips"),
    [(0, True), (20, True), (40, False), (240, False), (1000, False), (1500, True)],
)
def test_flag_rate_trips_when_many_times_more_or_less_are_flagged(
    flagged: int, trips: bool
) -> None:
    reference = read_reference({"thresholds": {"flagged_share": 0.024}})
    trip = judge(Sample(10_000, 0, flagged, np.array([10_000])), reference, POLICY)
    assert (trip is not None) == trips
    if trip is not None:
        assert trip.cause == "flag_rate"
        assert "expected 2.40%" in trip.reason


def test_flag_rate_of_a_model_that_flags_nothing_may_rise_a_little() -> None:
    reference = read_reference({"thresholds": {"flagged_share": 0.0}})
    assert judge(Sample(5000, 0, 60, np.array([5000])), reference, POLICY) is None
    assert judge(Sample(5000, 0, 300, np.array([5000])), reference, POLICY) is not None


def test_flag_rate_on_test_rows_takes_precedence_over_validation() -> None:
    metadata = {
        "metrics": {"test": {"review": {"share": 0.03}}},
        "thresholds": {"flagged_share": 0.02},
    }
    assert read_reference(metadata).flag_rate == 0.03


@pytest.mark.parametrize(
    "scores",
    [
        None,
        [],
        {"edges": [], "counts": [5]},
        {"edges": [0.1, 0.2], "counts": [1, 2]},
        {"edges": [0.2, 0.1], "counts": [1, 2, 3]},
        {"edges": [0.1], "counts": [0, 0]},
        {"edges": [0.1], "counts": [-1, 5]},
        {"edges": [float("nan")], "counts": [1, 5]},
        {"edges": ["x"], "counts": [1, 5]},
        {"edges": [[0.1]], "counts": [1, 5]},
        {"edges": [0.1], "counts": [10**400, 5]},
        {"edges": [i / 2000 for i in range(1500)], "counts": [1] * 1501},
    ],
)
def test_invalid_reference_does_not_reject_a_model(scores: Any) -> None:
    metadata = {"reference": {"scores": scores}, "thresholds": {"flagged_share": "many"}}
    reference = read_reference(metadata)
    assert reference.rows == 0
    assert reference.flag_rate is None
    assert judged(1 - fraud_scores(5000), reference=reference) is None


def test_score_on_an_edge_is_counted_as_the_trainer_counts_it() -> None:
    repeated = np.repeat([0.1, 0.2, 0.3], [500, 300, 200])
    reference = read_reference(promises(repeated, 0.0))
    assert reference.rows == 1000
    counts = reference.count(repeated)
    assert stability_index(counts, reference.shares) == pytest.approx(0.0, abs=1e-12)
