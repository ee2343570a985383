"""The dashboard says whether a score is a probability."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dashboard.model_status import describe_model
from stream_scorer.model.calibration import parse_calibration
from tests.support.dashboard_kit import StaticModel, make_app, tiny_bundle

MAP = {"x": [0.0, 0.5, 1.0], "y": [0.0, 0.2, 1.0]}
PROBABILITY = "A score of v1 is an estimated probability of fraud"


@pytest.mark.parametrize("is_calibrated", [False, True])
def test_pages_call_a_score_a_probability_only_with_a_calibrated_model(
    tmp_path: Path, is_calibrated: bool
) -> None:
    bundle = replace(tiny_bundle(), calibration=parse_calibration(MAP if is_calibrated else None))
    model = StaticModel(bundle)
    assert describe_model(model)["is_calibrated"] is is_calibrated
    with TestClient(make_app(tmp_path, model=model), "http://127.0.0.1") as client:
        pages = [client.get(path).text for path in ("/", "/check")]
    for page in pages:
        assert (PROBABILITY in page) is is_calibrated
        assert ("A score is not a probability" in page) is not is_calibrated


def test_pages_without_a_model_promise_no_probability(tmp_path: Path) -> None:
    with TestClient(make_app(tmp_path, model=StaticModel()), "http://127.0.0.1") as client:
        assert "A score is not a probability" in client.get("/").text
