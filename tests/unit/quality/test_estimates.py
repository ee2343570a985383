"""Wilson score intervals against published values and against the formula in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from stream_scorer.quality.estimates import (
    FEW,
    Z,
    average_precision,
    bootstrap,
    estimate,
    estimate_weighted,
    share_difference,
    wilson,
)

# Newcombe 1998, table I, method 3 (score without continuity correction), 95 %.
PUBLISHED = [
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0000, 0.1611),
    (1, 29, 0.0061, 0.1718),
]


@pytest.mark.parametrize(("hits", "trials", "low", "high"), PUBLISHED)
def test_interval_agrees_with_published_values(
    hits: int, trials: int, low: float, high: float
) -> None:
    found = wilson(np.array([hits]), np.array([trials]))
    assert float(found[0][0]) == pytest.approx(low, abs=5e-5)
    assert float(found[1][0]) == pytest.approx(high, abs=5e-5)


def test_interval_agrees_with_the_formula_for_all_small_counts() -> None:
    for n in range(1, 61):
        low, high = wilson(np.arange(n + 1), np.full(n + 1, n))
        for k in range(n + 1):
            p, zz = k / n, Z * Z
            middle = (p + zz / (2 * n)) / (1 + zz / n)
            half = Z * math.sqrt(p * (1 - p) / n + zz / (4 * n * n)) / (1 + zz / n)
            assert low[k] == pytest.approx(max(0.0, middle - half), abs=1e-12)
            assert high[k] == pytest.approx(min(1.0, middle + half), abs=1e-12)
            assert low[k] <= p <= high[k]


def test_without_rows_nothing_is_estimated() -> None:
    found = estimate(np.array([0]), np.array([0]))
    assert np.isnan([found.value[0], found.low[0], found.high[0]]).all()
    assert not found.is_few()[0]


def test_few_rows_are_marked_up_to_the_limit() -> None:
    found = estimate(np.array([1, 1]), np.array([FEW - 1, FEW]))
    assert found.is_few().tolist() == [True, False]


def test_equal_weights_change_nothing() -> None:
    hits, rows = np.array([3.0]), np.array([40])
    plain = estimate(np.array([3]), rows)
    heavy = estimate_weighted(hits * 250, rows * 250.0, rows * 250.0**2, rows)
    for a, b in ((plain.value, heavy.value), (plain.low, heavy.low), (plain.high, heavy.high)):
        assert a[0] == pytest.approx(b[0])


def test_one_heavy_row_widens_the_interval() -> None:
    weights = np.array([100.0] + [1.0] * 99)
    heavy = estimate_weighted(
        np.array([150.0]), weights[:1] * 0 + weights.sum(), np.array([np.square(weights).sum()]),
        np.array([100]),
    )  # fmt: skip
    plain = estimate(np.array([75]), np.array([100]))
    assert heavy.high[0] - heavy.low[0] > 2 * (plain.high[0] - plain.low[0])


def test_difference_of_shares_agrees_with_published_values() -> None:
    """Newcombe 1998, table II, method 10, 95 %."""
    published = (
        (56, 70, 48, 80, 0.2000, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.6000, 0.1705, 0.8090),
        (0, 10, 0, 10, 0.0000, -0.2775, 0.2775),
    )
    for a, m, b, n, difference, low, high in published:
        found = share_difference((a, m), (b, n))
        assert found == pytest.approx((difference, low, high), abs=5e-5)


def test_difference_from_nothing_is_not_known() -> None:
    assert np.isnan(share_difference((0, 0), (3, 10))).all()
    assert np.isnan(share_difference((3, 10), (0, 0))).all()


@pytest.mark.parametrize("digits", [6, 1])
def test_average_precision_equals_the_reference_ties_and_weights_included(digits: int) -> None:
    rng = np.random.default_rng(5)
    labels = (rng.random(400) < 0.1).astype(np.int8)
    raw = rng.random(400) * 0.5 + labels.astype(np.float64) * 0.3
    scores: NDArray[np.float64] = np.round(raw, digits)
    weights = rng.random(400) * 9
    for each in (None, weights):
        expected = average_precision_score(labels, scores, sample_weight=each)
        assert average_precision(labels, scores, each) == pytest.approx(expected)
    assert average_precision(labels == 1, scores) == average_precision(labels, scores)


def test_average_precision_without_frauds_is_not_known() -> None:
    assert np.isnan(average_precision(np.zeros(3, np.int8), np.linspace(0, 1, 3)))
    assert np.isnan(average_precision(np.zeros(0, np.int8), np.zeros(0)))


def test_bootstrap_of_a_mean_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)

    def mean(times: NDArray[np.int64]) -> float:
        return float((values * times).sum() / times.sum())

    found = bootstrap(mean, len(values), seed=3, resamples=400)
    assert found is not None
    low, high = found
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * Z * values.std() / 20, rel=0.15)
    assert bootstrap(mean, len(values), seed=3, resamples=400) == found


def test_bootstrap_of_what_is_never_known_has_no_interval() -> None:
    assert bootstrap(lambda _times: float("nan"), 10, seed=1, resamples=5) is None
