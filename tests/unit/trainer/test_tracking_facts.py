"""What a version's metadata becomes in MLflow."""

from __future__ import annotations

import json
from typing import Any

from stream_scorer.tracking.identity import model_digest
from trainer.publishing.tracking_facts import data_set_of, metrics_of, params_of, tags_of

METADATA: dict[str, Any] = {
    "version": "v7",
    "files": {"model.pkl": {"sha256": "ab" * 32}},
    "features": {"names": ["x"], "fingerprint": "f00d"},
    "training": {
        "source": "s3://key:secret@bucket/in/train.csv",
        "rows": 1000,
        "frauds": 35,
        "window_seconds": [86_400, 999_999],
        "sha256": {"transactions": "cd" * 32, "identity": None},
    },
    "metrics": {
        "test": {
            "rows": 200,
            "average_precision": 0.5,
            "average_precision_interval": [0.4, 0.6],
            "top": {"0.02": {"precision": None, "recall": 0.3, "recall_interval": [0.2, 0.4]}},
        },
        "validation": {"roc_auc": 0.9},
    },
    "evaluation": {
        "gap_days": 3.0,
        "folds": [{"trees": 40, "average_precision": 0.4}, {"average_precision": 0.6}],
    },
    "calibration": {
        "method": "isotonic",
        "before": {"brier": 0.02, "reliability": [[0.0, 0.1], [0.5, 0.4]]},
        "after": {"brier": 0.01},
    },
    "thresholds": {"review": 0.2, "block": 0.9, "review_method": "most rows"},
    "gate": {
        "passed": False,
        "refusals": ["too few frauds", "worse than v6"],
        "notes": [],
        "champion": {"version": "v6", "roc_auc": 0.8},
        "comparison": {"average_precision": {"difference": -0.1, "interval": [-0.2, -0.01]}},
    },
}


def test_measures_have_their_intervals_and_the_headline_has_no_prefix() -> None:
    assert metrics_of(METADATA) == {
        "rows": 200.0,
        "average_precision": 0.5,
        "average_precision_low": 0.4,
        "average_precision_high": 0.6,
        "top.0.02.recall": 0.3,
        "top.0.02.recall_low": 0.2,
        "top.0.02.recall_high": 0.4,
        "validation.roc_auc": 0.9,
        "evaluation.gap_days": 3.0,
        "evaluation.folds.1.trees": 40.0,
        "evaluation.folds.1.average_precision": 0.4,
        "evaluation.folds.2.average_precision": 0.6,
        "calibration.before.brier": 0.02,
        "calibration.after.brier": 0.01,
        "thresholds.review": 0.2,
        "thresholds.block": 0.9,
        "gate.champion.roc_auc": 0.8,
        "gate.comparison.average_precision.difference": -0.1,
        "gate.comparison.average_precision_low": -0.2,
        "gate.comparison.average_precision_high": -0.01,
    }


def test_what_is_no_finite_number_is_no_metric() -> None:
    measures = {"a": float("nan"), "b": float("inf"), "c": True, "d": "0.5", "e": None, "f": 1}
    assert metrics_of({"metrics": {"test": measures}}) == {"f": 1.0}
    assert metrics_of({}) == {}
    assert metrics_of({"metrics": [1], "gate": "no"}) == {}


def test_tags_hold_the_verdict_and_identify_the_version() -> None:
    tags = tags_of(METADATA, "s3://key:secret@models/fraud")
    assert tags == {
        "model_version": "v7",
        "model_sha256": "ab" * 32,
        "store": "s3://****@models/fraud",
        "verdict": "refused",
        "verdict.refusals": "too few frauds; worse than v6",
        "champion_compared": "v6",
        "data_source": "s3://****@bucket/in/train.csv",
        "data_sha256": json.dumps({"identity": None, "transactions": "cd" * 32}),
        "features": "f00d",
        "thresholds.review_method": "most rows",
        "calibration.method": "isotonic",
    }
    history = {"fingerprint": "cafe", "seed": {"sha256": "ef" * 32}}
    with_history = tags_of(METADATA | {"history": history}, "")
    assert (with_history["history"], with_history["history_seed"]) == ("cafe", "ef" * 32)
    assert "history_seed" not in tags_of(METADATA | {"history": history | {"seed": None}}, "")
    assert tags_of({"gate": {"passed": True}}, "")["verdict"] == "passed"
    assert tags_of({"gate": {"passed": []}}, "")["verdict"] == "not judged"
    assert model_digest({"files": {"model.pkl": None}}) == ""


def test_data_set_has_a_digest_of_the_size_mlflow_stores() -> None:
    found = data_set_of(METADATA)
    assert found["name"] == "train.csv"
    assert found["digest"] == ("cd" * 32)[:36]
    assert json.loads(found["source"]) == {"uri": "s3://****@bucket/in/train.csv"}
    profile = json.loads(found["profile"])
    assert profile["sha256"]["transactions"] == "cd" * 32
    assert (profile["rows"], profile["first_seconds"]) == (1000, 86_400)
    assert data_set_of({}) == {
        "name": "unknown",
        "digest": "unknown",
        "source": '{"uri": "unknown"}',
        "profile": data_set_of({})["profile"],
    }


def test_parameters_are_flat_short_texts_with_names_that_mlflow_accepts() -> None:
    given = {"model": {"trees": 40, "why?": "x" * 900}, "seed": 0, "unset": None}
    assert params_of(given) == {"model.trees": "40", "model.why_": "x" * 500, "seed": "0"}
