"""Fitting the calibration map, and honest figures of what it brings."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss

from stream_scorer.model.calibration import MAX_KNOTS, MIN_SLOPE, calibrate
from trainer.evaluation.calibration import (
    MIN_FRAUDS,
    Piece,
    fit_map,
    fit_pooled,
    measure_calibration,
)

Floats = NDArray[np.float64]


def sigmoid(raw: Floats) -> Floats:
    return 1 / (1 + np.exp(-raw))


def make_piece(n: int = 20_000, seed: int = 0, shift: float = 1.5, slope: float = 0.6) -> Piece:
    """Scores that are too extreme and too low: their log-odds are off by a line."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(-5, 2, n)
    labels = (rng.random(n) < sigmoid(slope * raw + shift)).astype(np.int8)
    return Piece(sigmoid(raw), labels)


def error(scores: Floats, labels: NDArray[np.int8]) -> float:
    found = measure_calibration(scores, labels)["expected_calibration_error"]
    assert isinstance(found, float)
    return found


def test_map_repairs_a_known_distortion_on_rows_it_has_not_seen() -> None:
    calibration = fit_map(*make_piece(40_000))
    later = make_piece(40_000, seed=1)
    mapped = calibrate(later.scores, calibration)
    assert error(mapped, later.labels) < error(*later) / 5
    raw = np.linspace(-8, -1, 50)
    truth = sigmoid(0.6 * raw + 1.5)
    assert np.abs(calibrate(sigmoid(raw), calibration) / truth - 1).max() < 0.25


def test_facts_measure_maps_of_earlier_pieces_on_later_ones() -> None:
    pieces = [make_piece(seed=seed) for seed in range(3)]
    calibration, facts = fit_pooled(pieces)
    assert calibration is not None
    first = fit_map(*pieces[0])
    both = fit_map(*(np.concatenate(pair) for pair in zip(*pieces[:2], strict=True)))
    mapped = np.concatenate([calibrate(pieces[1].scores, first), calibrate(pieces[2].scores, both)])
    judged = Piece(*(np.concatenate(pair) for pair in zip(*pieces[1:], strict=True)))
    assert facts["after"] == measure_calibration(mapped, judged.labels)
    assert facts["before"] == measure_calibration(*judged)
    assert (facts["method"], facts["reason"]) == ("isotonic", None)
    assert facts["rows"] == 60_000


def test_there_is_no_map_where_one_would_not_hold_in_the_next_period() -> None:
    pieces = [make_piece(seed=0), make_piece(seed=1, shift=-1.5, slope=1.4)]
    calibration, facts = fit_pooled(pieces)
    assert calibration is None
    assert facts["method"] is None
    assert facts["reason"].startswith("a map makes the scores of later windows worse: ")
    assert facts["before"]["rows"] == len(pieces[1].labels)
    assert facts["after"] is None


def test_one_piece_is_judged_on_its_later_half() -> None:
    piece = make_piece()
    _, facts = fit_pooled([piece])
    assert facts["after"]["rows"] < 0.6 * len(piece.labels)
    assert facts["after"]["frauds"] == pytest.approx(piece.labels.sum() / 2, abs=2)
    assert facts["after"]["rows"] == facts["before"]["rows"]


def test_few_frauds_give_no_map_and_the_reason() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros(3000, np.int8)
    labels[: MIN_FRAUDS - 1] = 1
    calibration, facts = fit_pooled([Piece(rng.random(3000), rng.permutation(labels))])
    assert calibration is None
    assert facts["method"] is None
    assert facts["reason"].startswith(f"{MIN_FRAUDS - 1} frauds in the test windows")
    assert facts["before"]["rows"] == 3000
    assert facts["after"] is None


ADVERSARIAL = {
    "one value": np.full(4000, 0.25),
    "only 0 and 1": np.repeat([0.0, 1.0], 2000),
    "two neighbours": np.repeat([0.5, np.nextafter(0.5, 1)], 2000),
    "subnormal": np.repeat([5e-324, 1e-310, 1e-300, 0.5], 1000),
    "close to 1": 1 - 10.0 ** -np.linspace(1, 17, 4000),
    "close to 0": 10.0 ** -np.linspace(1, 300, 4000),
    "random": np.random.default_rng(0).random(4000),
}


@pytest.mark.parametrize("name", list(ADVERSARIAL))
@pytest.mark.parametrize("rate", [0.05, 0.5, 0.97])
def test_any_scores_give_a_strictly_increasing_map(name: str, rate: float) -> None:
    labels = (np.random.default_rng(1).random(4000) < rate).astype(np.int8)
    calibration = fit_map(ADVERSARIAL[name], labels)
    assert len(calibration.x) <= MAX_KNOTS
    assert (calibration.slope > 0.99 * MIN_SLOPE).all()
    mapped = calibrate(np.sort(ADVERSARIAL[name]), calibration)
    assert (np.diff(mapped) >= 0).all()


def test_many_frauds_are_thinned_to_the_most_knots_a_bundle_may_have() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(400_000)
    labels = (rng.random(400_000) < scores).astype(np.int8)
    calibration = fit_map(scores, labels)
    assert 50 < len(calibration.x) <= MAX_KNOTS
    assert np.abs(calibrate(scores, calibration) - scores).max() < 0.05


def test_perfect_order_gives_no_certainty() -> None:
    scores = np.linspace(0.1, 0.9, 2000)
    calibration = fit_map(scores, (scores > 0.8).astype(np.int8))
    assert 0 < calibration.y[1] < calibration.y[-2] < 1


def test_measures_equal_their_definitions() -> None:
    piece = make_piece(5000)
    found = measure_calibration(*piece)
    table = found["reliability"]
    assert sum(row["rows"] for row in table) == 5000
    assert sum(row["frauds"] for row in table) == piece.labels.sum()
    means = [row["mean_score"] for row in table]
    assert means == sorted(means)
    distances = [abs(row["mean_score"] - row["frauds"] / row["rows"]) for row in table]
    rows = [row["rows"] for row in table]
    assert found["expected_calibration_error"] == pytest.approx(np.average(distances, weights=rows))
    assert found["brier"] == pytest.approx(brier_score_loss(piece.labels, piece.scores))
