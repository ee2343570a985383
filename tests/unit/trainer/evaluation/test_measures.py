"""Measures compared with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from stream_scorer.quality.estimates import INTERVAL_MIN_ROWS
from trainer.evaluation.measures import (
    above,
    average_precision,
    intervals,
    log_loss,
    rank,
    roc_auc,
    top,
    wilson,
)
from trainer.evaluation.reference import histogram


def make_scores(
    n: int = 4000, seed: int = 0, steps: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.05).astype(np.int8)
    raw = rng.normal(0, 1, n) + 2.5 * labels
    scores = 1 / (1 + np.exp(3 - 1.5 * raw))
    return (np.round(scores * steps) / steps if steps else scores), labels


@pytest.mark.parametrize("steps", [0, 7, 1])
def test_ranking_measures_equal_the_reference_ties_included(steps: int) -> None:
    scores, labels = make_scores(steps=steps)
    ranking = rank(scores, labels)
    assert average_precision(ranking) == pytest.approx(average_precision_score(labels, scores))
    assert roc_auc(ranking) == pytest.approx(roc_auc_score(labels, scores))


def test_weighted_measures_equal_the_reference() -> None:
    scores, labels = make_scores(500)
    weights = np.random.default_rng(1).poisson(1.0, 500).astype(float)
    order = np.argsort(-scores, kind="stable")
    ranking = rank(scores, labels)
    expected = average_precision_score(labels, scores, sample_weight=weights)
    assert average_precision(ranking, weights[order]) == pytest.approx(expected)
    expected = roc_auc_score(labels, scores, sample_weight=weights)
    assert roc_auc(ranking, weights[order]) == pytest.approx(expected)


def test_log_loss_equals_the_reference() -> None:
    scores, labels = make_scores()
    assert log_loss(scores, labels) == pytest.approx(sklearn_log_loss(labels, scores))


def test_interval_contains_the_estimate_and_is_repeatable() -> None:
    ranking = rank(*make_scores(1000))
    found = intervals(ranking, seed=5)
    assert found["average_precision"] is not None
    low, high = found["average_precision"]
    assert low < average_precision(ranking) < high
    assert found == intervals(ranking, seed=5)


@pytest.mark.parametrize("frauds", [0, 1, INTERVAL_MIN_ROWS - 1, 400 - INTERVAL_MIN_ROWS + 1, 400])
def test_few_rows_of_a_class_give_no_interval_instead_of_a_misleading_one(frauds: int) -> None:
    labels = (np.arange(400) < frauds).astype(np.int8)
    ranking = rank(np.random.default_rng(1).random(400), labels)
    assert intervals(ranking, seed=5) == {"average_precision": None, "roc_auc": None}


def test_least_number_of_frauds_gives_an_interval() -> None:
    labels = (np.arange(400) < INTERVAL_MIN_ROWS).astype(np.int8)
    found = intervals(rank(np.random.default_rng(1).random(400), labels), seed=5)
    assert found["roc_auc"] is not None
    assert found["roc_auc"][0] < 0.5 < found["roc_auc"][1]


def test_wilson_interval_of_known_values() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)


def test_top_and_threshold_count_the_same_rows() -> None:
    scores, labels = make_scores()
    ranking = rank(scores, labels)
    best = top(ranking, 0.02)
    assert best["rows"] == 80
    assert above(ranking, float(ranking.scores[79])) == best
    assert above(ranking, 2.0)["precision"] is None


def test_histogram_counts_every_value_once() -> None:
    values = np.array([1.0, 2.0, 2.0, 3.0, np.nan, 10.0, 11.0, 12.0])
    found = histogram(values)
    assert sum(found["counts"]) == 7
    assert found["missing"] == 1
    assert len(found["counts"]) == len(found["edges"]) + 1
    assert histogram(np.array([np.nan, np.nan])) == {"edges": [], "counts": [0], "missing": 2}
