"""The calibration map: strict about its knots, monotone to the last bit, the same for any batch."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from stream_scorer.errors import ArtifactCorrupt, ArtifactIncompatible
from stream_scorer.model.bundle import Bundle, Thresholds, build_files, load_bundle
from stream_scorer.model.calibration import (
    MAX_KNOTS,
    MIN_SLOPE,
    Calibration,
    calibrate,
    parse_calibration,
    to_scores,
)
from stream_scorer.model.scoring import score
from tests.support.factories import make_batch, make_bundle, make_draft, make_files

Floats = NDArray[np.float64]


def make_map(x: list[float], y: list[float]) -> Calibration:
    found = parse_calibration({"x": x, "y": y})
    assert found is not None
    return found


def make_random_map(seed: int, knots: int = 40) -> Calibration:
    """Knots at random distances, some of them tiny, and slopes from nearly none to very steep."""
    rng = np.random.default_rng(seed)
    steps = [10.0 ** rng.uniform(-8, 0, knots + 1) for _ in range(2)]
    x, y = (np.concatenate([[0.0], np.cumsum(s)[:-1] / s.sum(), [1.0]]) for s in steps)
    y = (1 - 2 * MIN_SLOPE) * y + 2 * MIN_SLOPE * x
    y[-1] = 1.0
    return make_map(x.tolist(), y.tolist())


def adversarial(calibration: Calibration) -> Floats:
    """Scores at every knot and beside it, subnormal ones, and many at random."""
    rng = np.random.default_rng(0)
    return np.unique(
        np.clip(
            np.concatenate(
                [
                    calibration.x,
                    np.nextafter(calibration.x, 0),
                    np.nextafter(calibration.x, 1),
                    [0.0, 5e-324, 1e-310, 2.0**-1022, 0.5, 1 - 2.0**-53, 1.0],
                    10.0 ** rng.uniform(-300, 0, 2000),
                    rng.random(2000),
                    1 - 10.0 ** rng.uniform(-16, 0, 500),
                ]
            ),
            0.0,
            1.0,
        )
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 40, MAX_KNOTS - 2]))
def test_map_never_decreases_and_keeps_distant_scores_apart(seed: int, knots: int) -> None:
    calibration = make_random_map(seed, knots)
    scores = adversarial(calibration)
    mapped = calibrate(scores, calibration)
    assert (np.diff(mapped) >= 0).all()
    assert mapped[0] == 0.0
    assert 1 - 2.0**-52 <= mapped[-1] <= 1.0
    apart = np.diff(scores) >= 2.0**-40
    assert apart.sum() > 1000
    assert (np.diff(mapped)[apart] > 0).all()


def test_map_agrees_with_linear_interpolation() -> None:
    calibration = make_random_map(3)
    scores = np.random.default_rng(1).random(1000)
    expected = np.interp(scores, calibration.x, calibration.y)
    assert np.abs(calibrate(scores, calibration) - expected).max() < 1e-12
    assert np.array_equal(calibrate(calibration.x, calibration), calibration.y)


def test_order_and_average_precision_stay_with_ties_and_saturated_scores() -> None:
    rng = np.random.default_rng(2)
    raw = np.concatenate([np.round(rng.normal(-3, 2, 3000), 1), [-800.0, -40.0, 40.0, 800.0]])
    labels = (rng.random(len(raw)) < 0.2).astype(int)
    before = to_scores(raw)
    for seed in range(10):
        after = to_scores(raw, make_random_map(seed))
        assert np.array_equal(np.unique(before, return_inverse=True)[1],
                              np.unique(after, return_inverse=True)[1])  # fmt: skip
        assert average_precision_score(labels, after) == average_precision_score(labels, before)


def test_score_has_the_same_bits_alone_and_in_any_batch() -> None:
    calibration = make_random_map(5)
    raw = np.random.default_rng(3).normal(-3, 3, 700)
    whole = to_scores(raw, calibration)
    order = np.random.default_rng(4).permutation(len(raw))
    assert np.array_equal(to_scores(raw[order], calibration), whole[order])
    alone = [to_scores(raw[i : i + 1], calibration)[0] for i in range(len(raw))]
    assert alone == whole.tolist()


HOSTILE: dict[str, Any] = {
    "a list": [[0.0, 1.0], [0.0, 1.0]],
    "y is missing": {"x": [0.0, 1.0]},
    "one key more": {"x": [0.0, 1.0], "y": [0.0, 1.0], "z": []},
    "x is a text": {"x": "01", "y": [0.0, 1.0]},
    "no knots": {"x": [], "y": []},
    "one knot": {"x": [0.0], "y": [0.0]},
    "too many knots": {"x": np.linspace(0, 1, 257).tolist(), "y": np.linspace(0, 1, 257).tolist()},
    "different lengths": {"x": [0.0, 0.5, 1.0], "y": [0.0, 1.0]},
    "a boolean": {"x": [0.0, True], "y": [0.0, 1.0]},
    "an integer": {"x": [0, 1], "y": [0.0, 1.0]},
    "a huge integer": {"x": [0.0, 10**400, 1.0], "y": [0.0, 0.5, 1.0]},
    "nan": {"x": [0.0, float("nan"), 1.0], "y": [0.0, 0.5, 1.0]},
    "infinity": {"x": [0.0, float("inf"), 1.0], "y": [0.0, 0.5, 1.0]},
    "a nested list": {"x": [0.0, [0.5], 1.0], "y": [0.0, 0.5, 1.0]},
    "not from 0": {"x": [0.1, 1.0], "y": [0.0, 1.0]},
    "not to 1": {"x": [0.0, 1.0], "y": [0.0, 0.9]},
    "negative": {"x": [0.0, 1.0], "y": [-1.0, 1.0]},
    "x repeats": {"x": [0.0, 0.5, 0.5, 1.0], "y": [0.0, 0.2, 0.3, 1.0]},
    "y repeats": {"x": [0.0, 0.4, 0.5, 1.0], "y": [0.0, 0.2, 0.2, 1.0]},
    "y decreases": {"x": [0.0, 0.4, 0.5, 1.0], "y": [0.0, 0.3, 0.2, 1.0]},
    "almost flat": {"x": [0.0, 0.4, 0.8, 1.0], "y": [0.0, 0.2, 0.2 + 1e-9, 1.0]},
    "an infinite slope": {"x": [0.0, 5e-324, 1.0], "y": [0.0, 0.5, 1.0]},
}  # fmt: skip


@pytest.mark.parametrize("what", list(HOSTILE))
def test_hostile_map_is_refused_and_so_is_its_bundle(what: str) -> None:
    with pytest.raises(ValueError, match="calibration"):
        parse_calibration(HOSTILE[what])
    with pytest.raises(ArtifactCorrupt, match=r"calibration|more than 64 bits"):
        load_bundle(files_with(HOSTILE[what]), "v1")


def files_with(calibration: object) -> dict[str, bytes]:
    """The files of a version whose model.pkl holds this value as its map."""
    import hashlib
    import json

    files = make_files()
    held = pickle.loads(files["model.pkl"])
    content = pickle.dumps({**held, "calibration": calibration}, 5)
    metadata = json.loads(files["metadata.json"])
    digest = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    metadata["files"]["model.pkl"] = digest
    return files | {"model.pkl": content, "metadata.json": json.dumps(metadata).encode()}


def calibrated_bundle(calibration: Calibration | None) -> Bundle:
    model, rest = build_files(replace(make_draft(), calibration=calibration))
    return load_bundle({"model.pkl": model, **rest("v1")}, "v1")


def test_map_comes_through_the_bundle_and_changes_scores_only() -> None:
    calibration = make_random_map(8)
    bundle, plain = calibrated_bundle(calibration), make_bundle()
    assert bundle.calibration is not None
    assert bundle.calibration.state() == calibration.state()
    assert plain.calibration is None
    batch = make_batch(150, 5)
    everything = Thresholds(0.0, 1.0)
    ours = score(batch, replace(bundle, thresholds=everything))
    theirs = score(batch, replace(plain, thresholds=everything))
    assert np.array_equal(ours.raw, theirs.raw)
    assert ours.reasons == theirs.reasons
    assert np.array_equal(ours.scores, calibrate(theirs.scores, calibration))
    assert (ours.scores != theirs.scores).any()


def test_decisions_follow_the_calibrated_score() -> None:
    calibration = make_map([0.0, 0.5, 1.0], [0.0, 0.01, 1.0])
    found = score(make_batch(200, 5), replace(make_bundle(), calibration=calibration))
    assert found.flagged.tolist() == (found.scores >= make_bundle().thresholds.review).tolist()
    assert set(found.reasons) == set(np.flatnonzero(found.flagged).tolist())
    assert found.flagged.sum() < score(make_batch(200, 5), make_bundle()).flagged.sum()


def test_bundle_whose_golden_scores_are_without_its_map_is_refused() -> None:
    state = make_map([0.0, 0.5, 1.0], [0.0, 0.25, 1.0]).state()
    with pytest.raises(ArtifactIncompatible, match="golden rows"):
        load_bundle(files_with(state), "v1")


def test_map_that_a_loader_would_refuse_is_not_published() -> None:
    flat = Calibration(np.array([0.0, 1.0]), np.array([0.0, 0.5]), np.array([0.5]))
    with pytest.raises(ValueError, match="does not go from 0 to 1"):
        build_files(replace(make_draft(), calibration=flat))
