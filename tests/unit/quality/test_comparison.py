"""The paired, clustered comparison of two models: against plain formulas, and by its coverage."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from schemas.batch import build_batch
from stream_scorer.quality.comparison import MIN_FRAUD_CARDS, Comparison, _Curve, compare
from stream_scorer.quality.estimates import INTERVAL_MIN_ROWS
from trainer.evaluation.champion import card_clusters

Floats = NDArray[np.float64]
BUDGET = 0.05


def make_rows(
    n: int = 4000, seed: int = 0, rate: float = 0.05
) -> tuple[NDArray[np.int8], Floats, np.random.Generator]:
    """Labels, scores with a ROC AUC of about .92, and the generator."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < rate).astype(np.int8)
    return labels, rng.normal(0, 1, n) + 2 * labels, rng


def run(labels: Any, ours: Any, theirs: Any, clusters: Any = None, seed: int = 1) -> Comparison:
    alone = np.arange(len(labels)) if clusters is None else clusters
    return compare(labels, alone, ours, theirs, BUDGET, seed)


def plain_recall(labels: Any, scores: Any, weights: Any) -> float:
    """Recall at the budget, row by row; a group of equal scores is found in proportion."""
    left, found = BUDGET * weights.sum(), 0.0
    for score in np.unique(scores)[::-1]:
        group = scores == score
        taken = min(1.0, left / max(weights[group].sum(), 1e-300))
        found += taken * weights[group & (labels == 1)].sum()
        left -= taken * weights[group].sum()
    return float(found / weights[labels == 1].sum())


@pytest.mark.parametrize("digits", [None, 1, 0])
def test_weighted_measures_equal_the_plain_formulas_ties_included(digits: int | None) -> None:
    labels, scores, rng = make_rows(600)
    if digits is not None:
        scores = np.round(scores, digits)
    clusters = rng.integers(0, 150, 600)
    weights = rng.poisson(1.0, 150)
    precision, recall = _Curve(scores, labels, clusters).measures(weights, BUDGET)
    each = weights[clusters].astype(float)
    assert precision == pytest.approx(average_precision_score(labels, scores, sample_weight=each))
    assert recall == pytest.approx(plain_recall(labels, scores, each))


@pytest.mark.parametrize("digits", [None, 1])
def test_rows_that_stand_for_many_count_as_many(digits: int | None) -> None:
    labels, scores, rng = make_rows(600)
    if digits is not None:
        scores = np.round(scores, digits)
    clusters, rows = rng.integers(0, 150, 600), rng.choice([1.0, 2.5, 250.0], 600)
    weights = rng.poisson(1.0, 150)
    precision, recall = _Curve(scores, labels, clusters, rows).measures(weights, BUDGET)
    each = weights[clusters] * rows
    assert precision == pytest.approx(average_precision_score(labels, scores, sample_weight=each))
    assert recall == pytest.approx(plain_recall(labels, scores, each))
    found = compare(labels, clusters, scores, -scores, BUDGET, 1, 20, rows)
    expected = average_precision_score(labels, scores, sample_weight=rows)
    assert found.average_precision.candidate == pytest.approx(expected)


def test_equal_models_differ_by_nothing_at_all() -> None:
    labels, scores, _ = make_rows()
    found = run(labels, scores, scores.copy())
    for side in (found.average_precision, found.recall_at_budget):
        assert side.difference == 0.0
        assert side.interval == (0.0, 0.0)


def test_models_of_equal_quality_have_an_interval_around_zero() -> None:
    labels, _, rng = make_rows()
    ours, theirs = (rng.normal(0, 1, len(labels)) + 2 * labels for _ in range(2))
    found = run(labels, ours, theirs).average_precision
    assert found.interval is not None
    assert found.interval[0] < 0 < found.interval[1]


def test_clearly_worse_model_has_an_interval_below_zero() -> None:
    labels, scores, rng = make_rows()
    found = run(labels, scores + rng.normal(0, 1.5, len(labels)), scores)
    for side in (found.average_precision, found.recall_at_budget):
        assert side.interval is not None
        assert side.interval[0] < side.difference < side.interval[1] < 0


def test_pairing_makes_the_interval_narrow_when_models_agree() -> None:
    """Control: the same two models, one of them on other rows of the same distribution."""
    labels, scores, rng = make_rows()
    similar = scores + rng.normal(0, 0.05, len(labels))
    other = np.empty_like(scores)
    for label in (0, 1):
        other[labels == label] = rng.permutation(similar[labels == label])
    paired, unpaired = run(labels, scores, similar), run(labels, scores, other)
    assert width(paired) < width(unpaired) / 3


def width(found: Comparison) -> float:
    interval = found.average_precision.interval
    assert interval is not None
    return interval[1] - interval[0]


def test_frauds_in_runs_of_one_card_widen_the_interval() -> None:
    """A card's frauds have about the same score in each model, so they are no new evidence."""
    rng = np.random.default_rng(3)
    cards = np.repeat(np.arange(300), 10)
    labels = (cards % 6 == 0).astype(np.int8)
    ours, theirs = (rng.normal(0, 1, 300)[cards] + 1.5 * labels for _ in range(2))
    clustered, rows = run(labels, ours, theirs, cards), run(labels, ours, theirs)
    assert width(clustered) > 2 * width(rows)
    assert clustered.fraud_cards == 50
    # Without runs, clusters change nothing: the control that the width comes from the frauds.
    shuffled = rng.permutation(cards)
    spread = run(labels, ours, theirs, shuffled)
    assert width(spread) == pytest.approx(width(rows), rel=0.25)


def test_interval_contains_the_true_difference_about_as_often_as_it_says() -> None:
    """Cards have frauds in runs of four; the two models are equally good, so the truth is zero."""
    rounds = 60
    inside = {"cards": 0, "rows": 0}
    cards = np.repeat(np.arange(150), 4)
    labels = (cards % 4 == 0).astype(np.int8)
    for seed in range(rounds):
        rng = np.random.default_rng(seed)
        ours, theirs = (rng.normal(0, 1, 150)[cards] + labels for _ in range(2))
        for name, clusters in (("cards", cards), ("rows", np.arange(len(cards)))):
            found = compare(labels, clusters, ours, theirs, BUDGET, seed, resamples=100)
            low, high = found.average_precision.interval or (1.0, 1.0)
            inside[name] += low <= 0 <= high
    assert inside["cards"] / rounds >= 0.88
    assert inside["rows"] / rounds <= 0.8  # the control: rows of one card are not independent


def test_intervals_are_repeatable_and_follow_the_seed() -> None:
    labels, scores, rng = make_rows(1000)
    other = scores + rng.normal(0, 0.5, 1000)
    assert run(labels, scores, other, seed=4) == run(labels, scores, other, seed=4)
    assert run(labels, scores, other, seed=4) != run(labels, scores, other, seed=5)


def test_order_of_rows_and_names_of_clusters_do_not_matter() -> None:
    labels, scores, rng = make_rows(1000)
    other = np.round(scores + rng.normal(0, 0.5, 1000), 1)
    cards = rng.integers(0, 100, 1000)
    found = run(labels, scores, other, cards)
    mixed = rng.permutation(1000)
    names = np.array([f"card {card:03d}" for card in cards])
    assert run(labels[mixed], scores[mixed], other[mixed], names[mixed]) == found


def test_constant_scores_find_what_chance_finds() -> None:
    labels, scores, _ = make_rows()
    found = run(labels, scores, np.zeros(len(labels)))
    assert found.average_precision.champion == pytest.approx(labels.mean())
    assert found.recall_at_budget.champion == pytest.approx(BUDGET)
    assert found.average_precision.interval is not None
    assert found.average_precision.interval[0] > 0


@pytest.mark.parametrize("label", [0, 1])
def test_rows_of_one_class_cannot_be_compared_on(label: int) -> None:
    labels = np.full(50, label, np.int8)
    scores = np.linspace(0, 1, 50)
    with pytest.raises(ValueError, match="cannot compare on 50 rows with"):
        run(labels, scores, scores)


@pytest.mark.parametrize(
    ("frauds", "cards", "has_interval"),
    [
        (INTERVAL_MIN_ROWS - 1, INTERVAL_MIN_ROWS - 1, False),
        (INTERVAL_MIN_ROWS, INTERVAL_MIN_ROWS, True),
        (INTERVAL_MIN_ROWS, MIN_FRAUD_CARDS - 1, False),
    ],
)
def test_few_frauds_or_frauds_of_few_cards_give_no_interval(
    frauds: int, cards: int, has_interval: bool
) -> None:
    labels = (np.arange(500) < frauds).astype(np.int8)
    clusters = np.where(labels == 1, np.arange(500) % cards, 1000 + np.arange(500))
    scores = np.random.default_rng(2).random(500)
    found = run(labels, scores, scores[::-1].copy(), clusters)
    assert found.fraud_cards == cards
    assert (found.average_precision.interval is not None) is has_interval
    assert np.isfinite(found.average_precision.difference)


def test_facts_are_plain_json_with_the_documented_names() -> None:
    labels, scores, _ = make_rows(500)
    facts = json.loads(json.dumps(run(labels, scores, -scores).facts()))
    for name in ("average_precision", "recall_at_budget"):
        assert facts[name]["difference"] == facts[name]["candidate"] - facts[name]["champion"] > 0
        assert len(facts[name]["interval"]) == 2
    assert facts["recall_at_budget"]["budget"] == BUDGET


def test_row_without_a_card_is_a_cluster_of_its_own() -> None:
    cards = (9500.0, None, 9500.0, None, 1.0)
    rows = [
        {"TransactionID": i, "TransactionDT": i, "TransactionAmt": 1.0, "card1": card}
        for i, card in enumerate(cards)
    ]
    clusters = card_clusters(build_batch(rows))
    assert clusters[0] == clusters[2]
    assert len(np.unique(clusters)) == 4
