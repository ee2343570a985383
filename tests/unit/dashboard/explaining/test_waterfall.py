"""A waterfall adds up: base, pushes and rest give the raw score and the score of the model."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dashboard.explain import waterfall
from dashboard.explaining.raw_scores import raw_of, raw_range, score_of
from stream_scorer.model.bundle import Bundle, Thresholds
from stream_scorer.model.calibration import Calibration, parse_calibration, to_scores
from stream_scorer.model.scoring import Reason, Scores, score
from tests.support.factories import make_batch, make_bundle


def random_calibration(seed: int) -> Calibration:
    pick = random.Random(seed)
    count = pick.randint(2, 30)
    x, y = ([0.0, *sorted(pick.uniform(0.001, 0.999) for _ in range(count)), 1.0] for _ in range(2))
    y = [(a + b) / 2 for a, b in zip(x, y, strict=True)]  # no slope is nearly flat
    found = parse_calibration({"x": x, "y": y})
    assert found is not None
    return found


def all_flagged(calibration: Calibration | None) -> Bundle:
    return replace(make_bundle(), thresholds=Thresholds(0.0, 0.9), calibration=calibration)


def flag_of(scores: Scores, row: int) -> dict[str, Any]:
    return {
        "model_version": scores.version,
        "score": float(scores.scores[row]),
        "reasons": [reason._asdict() for reason in scores.reasons[row]],
    }


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_waterfall_of_a_record_adds_up_to_what_the_model_computed(seed: int | None) -> None:
    calibration = None if seed is None else random_calibration(seed)
    bundle = all_flagged(calibration)
    scores = score(make_batch(120, 7 + (seed or 0)), bundle)
    for row in range(120):
        found = waterfall(flag_of(scores, row), bundle)
        assert found.reason is None
        assert found.raw_score == pytest.approx(scores.raw[row], abs=1e-9)
        base, *pushes, rest = found.steps
        assert base.contribution == base.raw == bundle.predictor.base
        assert [p.contribution for p in pushes] == [r.contribution for r in scores.reasons[row]]
        total = math.fsum(step.contribution for step in found.steps)
        assert total == pytest.approx(scores.raw[row], abs=1e-9)
        assert rest.raw == found.raw_score
        assert rest.score == pytest.approx(scores.scores[row], abs=1e-12)
        for before, step in zip(found.steps, found.steps[1:], strict=False):
            assert step.raw - before.raw == pytest.approx(step.contribution, abs=1e-12)
            assert step.score == pytest.approx(score_of(step.raw, calibration), rel=1e-12)


def test_rest_is_what_the_other_features_contribute() -> None:
    bundle = all_flagged(None)
    batch = make_batch(40, 3)
    scores = score(batch, bundle)
    contributions = bundle.predictor.contributions(bundle.features.transform(batch))
    for row in range(40):
        listed = {bundle.features.names.index(r.feature) for r in scores.reasons[row]}
        others = [c for i, c in enumerate(contributions[row].tolist()) if i not in listed]
        step = waterfall(flag_of(scores, row), bundle).steps[-1]
        assert step.contribution == pytest.approx(math.fsum(others), abs=1e-9)
        assert step.text == f"{len(others):,} other features"


def test_bars_lie_inside_the_plot_and_follow_each_other() -> None:
    bundle = replace(make_bundle(), thresholds=Thresholds(0.3, 0.8))
    scores = score(make_batch(150, 5), bundle)
    assert scores.reasons
    for row in scores.reasons:
        found = waterfall(flag_of(scores, row), bundle)
        assert found.review is not None
        assert found.end is not None
        ends = [found.steps[0].left]
        for step in found.steps[1:]:
            assert 0 <= step.left <= step.left + step.width <= 100.01
            is_up = step.contribution >= 0
            start, end = step.left, step.left + step.width
            assert (start if is_up else end) == pytest.approx(ends[-1], abs=0.021)
            ends.append(end if is_up else start)
        assert found.end == pytest.approx(ends[-1], abs=0.021)
        assert found.review <= found.end + 0.01


def test_other_version_and_no_model_are_explained_in_words() -> None:
    scores = score(make_batch(1, 1), all_flagged(None))
    flag = flag_of(scores, 0)
    other = waterfall(flag, replace(make_bundle(), version="v8"))
    assert (other.steps, other.raw_score) == ((), None)
    assert other.reason == (
        "The score is from model v1, and this dashboard has v8 loaded: only the recorded reasons "
        "are known."
    )
    assert waterfall(flag, None).reason is not None
    assert waterfall(flag, None).as_json()["steps"] == ()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1.0, "at least 3"),
        (0.0, "at most -"),
        (1 - 2**-53, "at least 3"),
        (1 - 2e-13, "between 29.2"),
        (float("nan"), "which no model gives"),
        (float("inf"), "which no model gives"),
        (-0.5, "which no model gives"),
    ],
)
def test_score_that_reached_an_end_is_not_explained(value: float, words: str) -> None:
    flag = {"model_version": "v1", "score": value, "reasons": []}
    found = waterfall(flag, make_bundle())
    assert found.steps == ()
    assert words in str(found.reason)


@pytest.mark.parametrize("contribution", [float("nan"), float("inf"), 1e308, -1e7])
def test_contributions_that_no_model_gives_are_not_drawn(contribution: float) -> None:
    reason = Reason("C1", "3", contribution)._asdict()
    flag = {"model_version": "v1", "score": 0.6, "reasons": [reason, reason]}
    found = waterfall(flag, make_bundle())
    assert found.steps == ()
    assert found.reason == "The recorded contributions are not plausible numbers."


def test_score_without_reasons_has_a_base_and_a_rest() -> None:
    flag = {"model_version": "v1", "score": 0.5, "reasons": []}
    found = waterfall(flag, make_bundle())
    assert [step.kind for step in found.steps] == ["base", "rest"]
    assert found.raw_score == pytest.approx(0.0, abs=1e-12)


def test_raw_range_contains_the_raw_score_that_gave_the_score() -> None:
    pick = random.Random(4)
    for seed in range(20):
        calibration = random_calibration(seed) if seed % 4 else None
        raws = np.array([pick.uniform(-25, 25) for _ in range(200)] + [0.0])
        for raw, value in zip(raws.tolist(), to_scores(raws, calibration).tolist(), strict=True):
            found = raw_range(value, calibration)
            assert found.low <= raw <= found.high
            assert found.low <= found.value <= found.high
            if abs(raw) < 20:
                assert found.is_known
                assert score_of(found.value, calibration) == pytest.approx(value, rel=1e-12)


def test_steep_and_flat_parts_of_a_calibration_are_inverted() -> None:
    calibration = parse_calibration({"x": [0.0, 0.5, 0.5 + 1e-6, 1.0], "y": [0.0, 0.01, 0.9, 1.0]})
    for raw in (-20.0, -0.5, 0.0, 1e-6, 3e-6, 1.0, 20.0):
        found = raw_range(score_of(raw, calibration), calibration)
        assert found.low <= raw <= found.high


def test_threshold_above_every_score_has_no_raw_score() -> None:
    assert raw_of(1.5, None) is None
    assert raw_of(0.0, None) is None
    assert raw_of(0.5, None) == 0.0


def test_reason_of_an_unknown_feature_is_shown_by_its_name() -> None:
    reason, long = Reason("gone", "3", 0.5), Reason("x" * 1_000_000, "3", 0.5)
    flag = {"model_version": "v1", "score": 0.6, "reasons": [reason._asdict(), long._asdict()]}
    push, other = waterfall(flag, make_bundle()).steps[1:3]
    assert (push.text, push.percentile, push.sentence) == ("gone", None, "gone is 3.")
    assert len(other.text) == 160
