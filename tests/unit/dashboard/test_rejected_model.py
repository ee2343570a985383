"""The dashboard shows that the promoted version is rejected, why, and which one serves instead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dashboard.model_status import describe_model
from stream_scorer.model.serving.cache import BundleCache
from stream_scorer.model.serving.status import FallBack
from stream_scorer.model.serving.watcher import ModelWatcher
from stream_scorer.model.store.memory_store import MemoryStore
from tests.support.dashboard_kit import StaticModel, make_app, tiny_bundle
from tests.support.factories import publish

REASON = "120 of 2000 rows are <b>flagged</b>"


def rolled_back_model() -> StaticModel:
    model = StaticModel(tiny_bundle())
    model.status = replace(model.status, rolled_back=FallBack("v2", "v1", REASON))
    return model


def test_page_and_health_show_the_rejected_model(tmp_path: Path) -> None:
    with TestClient(make_app(tmp_path, model=rolled_back_model()), "http://127.0.0.1") as client:
        page = client.get("/").text
        assert "<b>Model v2 rejected</b>: 120 of 2000 rows are &lt;b&gt;flagged" in page
        assert "v1 is serving instead." in page
        checks = client.get("/health").json()["checks"]
    assert checks["model"]["ok"]
    assert checks["model"]["rejected"] == {"rejected": "v2", "serving": "v1", "reason": REASON}


@pytest.mark.parametrize("model", [StaticModel(tiny_bundle()), StaticModel(problem="down")])
def test_no_banner_without_a_rejected_model(tmp_path: Path, model: StaticModel) -> None:
    assert describe_model(model)["rejected"] is None
    with TestClient(make_app(tmp_path, model=model), "http://127.0.0.1") as client:
        page = client.get("/")
        assert page.status_code == 200
        assert "rejected" not in page.text.partition('id="rows"')[0]


def test_dashboard_follows_the_rejection_marker_in_the_store(tmp_path: Path) -> None:
    store = MemoryStore()
    publish(store)
    publish(store, seed=2)
    watcher = ModelWatcher(store, BundleCache(tmp_path))  # like the dashboard's: it has no guard
    watcher.tick()
    assert describe_model(watcher)["rejected"] is None
    MemoryStore(store.objects).reject(
        "v2", {"reason": "scores are inverted", "host": "pod-3", "at": "2024-01-01T00:00:00+00:00"}
    )
    watcher.tick()
    described = describe_model(watcher)
    assert described["version"] == "v1"
    assert described["rejected"] == {
        "rejected": "v2",
        "serving": "v1",
        "reason": "scores are inverted (by pod-3 at 2024-01-01T00:00:00+00:00)",
    }
    MemoryStore(store.objects).readmit("v2", {})
    watcher.tick()
    assert describe_model(watcher)["rejected"] is None
