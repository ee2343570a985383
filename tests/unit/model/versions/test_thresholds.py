"""Other thresholds make a new version with the same bytes of model and preprocessor."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_scorer.drift.reference import read_reference
from stream_scorer.errors import ArtifactCorrupt
from stream_scorer.model.bundle import Thresholds, load_bundle
from stream_scorer.model.scoring import score
from stream_scorer.model.serving.guard import GuardPolicy, Sample, judge
from stream_scorer.model.signing import generate_key_pair, parse_trusted_keys
from stream_scorer.model.store.memory_store import MemoryStore
from stream_scorer.model.store.promotions import Override
from stream_scorer.model.versions.listing import UnknownVersion
from stream_scorer.model.versions.promoting import CannotServe, NeedsForce, promote_version
from stream_scorer.model.versions.threshold_figures import estimate_figures
from stream_scorer.model.versions.thresholds import (
    Rethresholded,
    UnusableThresholds,
    publish_thresholds,
)
from tests.support.factories import make_batch, publish_only
from tests.support.stores import store_settings

SETTINGS = store_settings(model_store_uri="file:///nowhere")
ANA = Override("ana", "too many reviews")
EDGES = np.linspace(-10, 10, 41)
FACTS: dict[str, Any] = {
    "gate": {"passed": True, "refusals": []},
    "created_at": "2026-01-31T00:00:00+00:00",
    "promotion": {"wanted": True, "expected": None, "token": None, "last": None},
    "thresholds": {"review_method": "budget", "saving_curve": [[1, 2]], "flagged_share": 0.2},
    "metrics": {
        "test": {
            "average_precision": 0.6,
            "review": {"share": 0.2, "precision": 0.4, "recall": 0.9},
            "block": {"share": 0.05, "precision": 0.9, "recall": 0.5},
        },
        "validation": {"rows": 5, "review": {"share": 0.2}},
    },
    "plots": {
        "score_histogram": {
            "edges": EDGES.tolist(),
            "honest": [100] * 20 + [10] * 20,
            "fraud": [0] * 20 + [5] * 20,
        }
    },
}


def filled(**facts: Any) -> MemoryStore:
    store = MemoryStore()
    publish_only(store, FACTS | facts)
    return store


def change(
    store: MemoryStore, review: float | None = 0.6, block: float | None = None, **settings: Any
) -> Rethresholded:
    return publish_thresholds(store, SETTINGS.model_copy(update=settings), "v1", review, block, ANA)


def metadata_of(store: MemoryStore, version: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(store.read_metadata(version))
    return found


def test_new_version_scores_the_same_and_decides_by_the_new_thresholds() -> None:
    store = filled()
    before = store.fetch("v1")
    done = change(store, 0.31, 0.82)
    assert (done.version, done.origin) == ("v2", "v1")
    after = store.fetch("v2")
    assert {n: after[n] for n in ("model.pkl", "preprocessor.pkl")} == {
        n: before[n] for n in ("model.pkl", "preprocessor.pkl")
    }
    assert store.fetch("v1") == before
    old, new = (load_bundle(store.fetch(v), v) for v in ("v1", "v2"))
    assert new.thresholds == Thresholds(0.31, 0.82)
    batch = make_batch(200)
    found, was = score(batch, new), score(batch, old)
    assert np.array_equal(found.raw, was.raw)
    assert np.array_equal(found.flagged, was.scores >= 0.31)


def test_metadata_has_the_origin_and_nothing_about_the_old_thresholds() -> None:
    store = filled()
    change(store)
    found, was = metadata_of(store, "v2"), metadata_of(store, "v1")
    origin = found.pop("origin")
    assert origin.pop("at").startswith("20")
    assert origin == {"kind": "thresholds", "version": "v1", "by": "ana", "review": 0.5,
                      "block": 0.9, "reason": "too many reviews"}  # fmt: skip
    assert found["thresholds"] == {
        "review": 0.6, "block": 0.9,
        "review_method": "set by ana instead of the one of v1: too many reviews",
    }  # fmt: skip
    assert "promotion" not in found  # resume would promote it
    test = found["metrics"]["test"]
    assert test["block"] == was["metrics"]["test"]["block"]  # that threshold is the same
    assert test["average_precision"] == 0.6
    assert test["review"]["is_estimate"] is True
    assert "review" not in found["metrics"]["validation"]
    kept = set(was) - {"promotion", "thresholds", "metrics", "version"}
    assert {name: found[name] for name in kept} == {name: was[name] for name in kept}


def test_figures_are_those_of_the_histogram() -> None:
    figures = estimate_figures(FACTS, 0.5)  # log-odds 0: an edge
    assert figures == {"is_estimate": True, "rows": 300, "frauds": 100, "share": 300 / 2300,
                       "precision": pytest.approx(1 / 3), "recall": 1.0}  # fmt: skip
    inside = estimate_figures(FACTS, 1 / (1 + math.exp(-0.25)))  # the middle of a bin
    assert inside is not None
    assert inside["share"] == pytest.approx((300 - 7.5) / 2300)
    never = estimate_figures(FACTS, 1.5)
    assert never is not None
    assert (never["rows"], never["precision"], never["recall"]) == (0, None, 0.0)


@pytest.mark.parametrize(
    "histogram",
    [
        None, [], {}, {"edges": [0, 1], "honest": [1], "fraud": ["x"]},
        {"edges": [1, 0], "honest": [1], "fraud": [1]},
        {"edges": [0, 1], "honest": [1, 2], "fraud": [1]},
        {"edges": [0, 1], "honest": [-1], "fraud": [1]},
        {"edges": [0, 1], "honest": [0], "fraud": [0]},
        {"edges": [0, float("inf")], "honest": [1], "fraud": [1]},
    ],
)  # fmt: skip
def test_metadata_without_a_usable_histogram_gives_no_figures(histogram: Any) -> None:
    """The guard then does not judge the flag rate: the old one would be wrong."""
    facts = {"plots": {"score_histogram": histogram}}
    assert estimate_figures(facts, 0.5) is None
    store = filled(**facts)
    change(store)
    assert read_reference(metadata_of(store, "v2")).flag_rate is None


def test_guard_expects_the_flag_rate_of_the_new_threshold() -> None:
    store = filled()
    change(store, 0.9, 0.99)
    reference = read_reference(metadata_of(store, "v2"))
    assert reference.flag_rate is not None
    assert reference.flag_rate < 0.11
    scored = np.array([10_000])
    as_expected = Sample(10_000, 0, int(10_000 * reference.flag_rate), scored)
    assert judge(as_expected, reference, GuardPolicy()) is None
    trip = judge(Sample(10_000, 0, 9_000, scored), reference, GuardPolicy())
    assert trip is not None
    assert trip.cause == "flag_rate"


@pytest.mark.parametrize(
    ("review", "block", "reason"),
    [
        (0.95, None, r"the review threshold 0.95 is above the block threshold 0.9"),
        (None, 0.4, r"the review threshold 0.5 is above the block threshold 0.4"),
        (0.5, 0.9, r"v1 has these thresholds already: 0.5 \(review\) and 0.9 \(block\)"),
        (0.0, None, "the review threshold is 0.0, but it must be above 0"),
        (-0.1, None, "the review threshold is -0.1"),
        (None, 2.1, "the block threshold is 2.1"),
        (None, math.inf, "the block threshold is inf"),
        (math.nan, None, "the review threshold is nan"),
    ],
)
def test_thresholds_that_cannot_be_are_refused_and_nothing_is_published(
    review: float | None, block: float | None, reason: str
) -> None:
    store = filled()
    with pytest.raises(UnusableThresholds, match=reason):
        change(store, review, block)
    assert store.versions() == ["v1"]


def test_never_is_a_threshold() -> None:
    store = filled()
    assert change(store, None, 1.5).after == Thresholds(0.5, 1.5)


def test_unknown_and_damaged_origins_are_refused() -> None:
    store = filled()
    with pytest.raises(UnknownVersion, match="no version v9"):
        publish_thresholds(store, SETTINGS, "v9", 0.6, None, ANA)
    store.objects.overwrite("models/v1/model.pkl", b"x")
    with pytest.raises(CannotServe, match="cannot use v1"):
        change(store)
    assert store.versions() == ["v1"]


def test_new_version_is_signed_with_the_key_that_is_set(tmp_path: Path) -> None:
    pair, store = generate_key_pair(), filled()
    path = tmp_path / "key.pem"
    path.write_bytes(pair.private_pem)
    change(store, model_signing_key_file=path)
    trusted = parse_trusted_keys(pair.public_base64)
    assert load_bundle(store.fetch("v2"), "v2", trusted).version == "v2"
    with pytest.raises(ArtifactCorrupt, match="is not signed"):
        load_bundle(store.fetch("v1"), "v1", trusted)
    with pytest.raises(UnusableThresholds, match="set MODEL_SIGNING_KEY_FILE"):
        change(store, model_trusted_keys=pair.public_base64)
    assert store.versions() == ["v1", "v2"]


def test_new_version_is_promoted_like_any_other_and_inherits_the_verdict_of_the_gate() -> None:
    store = filled()
    promote_version(store, SETTINGS, change(store).version)
    pointer = store.current()
    assert pointer is not None
    assert pointer.version == "v2"
    refused = filled(gate={"passed": False, "refusals": ["worse"]})
    with pytest.raises(NeedsForce, match="worse"):
        promote_version(refused, SETTINGS, change(refused).version)


def test_chain_of_changes_names_its_last_origin() -> None:
    store = filled()
    change(store)
    done = publish_thresholds(store, SETTINGS, "v2", 0.7, None, ANA)
    assert metadata_of(store, done.version)["origin"]["version"] == "v2"
