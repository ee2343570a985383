"""Measures compared with scikit-learn; thresholds and the gate against their rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from trainer.evaluation.gate import judge_candidate
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
from trainer.evaluation.thresholds import NEVER, choose_thresholds
from trainer.fitting.plan import DecisionPlan, GatePlan


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
    low, high = found["average_precision"]
    assert low < average_precision(ranking) < high
    assert found == intervals(ranking, seed=5)


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


def test_review_threshold_uses_the_budget_and_never_exceeds_it() -> None:
    for steps in (0, 50, 10, 3):
        scores, labels = make_scores(steps=steps)
        thresholds, _ = choose_thresholds(scores, labels, DecisionPlan(review_budget=0.03))
        flagged = float(np.mean(scores >= thresholds.review))
        assert flagged <= 0.03
        lower = scores[scores < thresholds.review]
        assert np.mean(scores >= lower.max()) > 0.03


def test_block_threshold_is_the_lowest_with_confident_precision() -> None:
    scores, labels = make_scores(20_000)
    thresholds, chosen = choose_thresholds(scores, labels, DecisionPlan(block_precision=0.8))
    assert thresholds.review <= thresholds.block < NEVER
    assert "80" in chosen["block_method"] or "0.8" in chosen["block_method"]
    blocked = scores >= thresholds.block
    assert labels[blocked].mean() > 0.8


def test_block_threshold_falls_back_and_says_so() -> None:
    scores, labels = make_scores()
    _, chosen = choose_thresholds(
        scores, labels, DecisionPlan(block_precision=0.9, confidence=0.999999)
    )
    assert "too few for" in chosen["block_method"]
    noise = np.random.default_rng(2).random(len(labels))
    thresholds, chosen = choose_thresholds(noise, labels, DecisionPlan())
    assert thresholds.block == NEVER
    assert chosen["block_method"].startswith("nothing is blocked")


def make_measures(**changes: Any) -> dict[str, Any]:
    return {
        "average_precision": 0.5,
        "roc_auc": 0.9,
        "roc_auc_interval": (0.85, 0.95),
        "log_loss": 0.1,
        "fraud_rate": 0.035,
        "top": {"0.02": {"recall": 0.4}},
    } | changes


def test_gate_passes_a_good_candidate_without_a_champion() -> None:
    assert judge_candidate(make_measures(), None, GatePlan()).has_passed


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"average_precision": float("nan")}, "average_precision is not a finite number"),
        ({"average_precision": 0.06}, "2 times chance"),
        ({"roc_auc": 0.55}, "ROC AUC 0.5500 is below 0.6"),
        ({"roc_auc_interval": (0.49, 1.0)}, "ROC AUC may be no better than chance"),
    ],
)
def test_gate_refuses_a_candidate_no_better_than_chance(
    changes: dict[str, Any], reason: str
) -> None:
    verdict = judge_candidate(make_measures(**changes), None, GatePlan())
    assert any(reason in refusal for refusal in verdict.refusals)


def test_gate_says_when_the_champion_could_not_be_compared_with() -> None:
    verdict = judge_candidate(make_measures(), None, GatePlan(), "v4")
    assert verdict.has_passed
    assert verdict.notes == ("not compared with v4: this code cannot load it",)


def test_gate_compares_with_the_champion_beyond_a_tolerance() -> None:
    champion = make_measures(average_precision=0.51)
    assert judge_candidate(make_measures(), champion, GatePlan(), "v1").has_passed
    champion = make_measures(average_precision=0.53, top={"0.02": {"recall": 0.5}})
    verdict = judge_candidate(make_measures(), champion, GatePlan(), "v1")
    assert len(verdict.refusals) == 2
    assert "worse than v1's 0.5300" in verdict.refusals[0]


def test_histogram_counts_every_value_once() -> None:
    values = np.array([1.0, 2.0, 2.0, 3.0, np.nan, 10.0, 11.0, 12.0])
    found = histogram(values)
    assert sum(found["counts"]) == 7
    assert found["missing"] == 1
    assert len(found["counts"]) == len(found["edges"]) + 1
    assert histogram(np.array([np.nan, np.nan])) == {"edges": [], "counts": [0], "missing": 2}
