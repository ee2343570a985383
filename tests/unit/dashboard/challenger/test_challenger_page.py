"""The challenger on the page of models, and over the API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from stream_scorer.model.store.memory_store import MemoryStore, StoreFault
from stream_scorer.shadow.compare.run import CompareOptions, run_comparison
from tests.support.dashboard_kit import make_app
from tests.support.factories import publish_only
from tests.unit.shadow.compare.kit import NOW, TOPIC, World


class Scene:
    """A dashboard, and a store with a promoted version and another one."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore()
        for seed in (1, 2):
            publish_only(self.store, {}, seed)
        self.store.promote("v1", None)
        app = make_app(folder, store=self.store)
        self.client = TestClient(app, "http://127.0.0.1:8000", client=("127.0.0.1", 5000))

    def page(self) -> str:
        response = self.client.get("/model")
        assert response.status_code == 200
        return str(response.text).partition('id="challenger-title"')[2].partition("</section>")[0]

    def publish(self, result: dict[str, Any] | bytes) -> None:
        content = result if isinstance(result, bytes) else json.dumps(result).encode()
        self.store.write_comparison("v1", "v2", content)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def make_result() -> dict[str, Any]:
    world = World(3_000, 0.05, (1.5, 2.5))
    options = CompareOptions("v1", "v2", NOW - 10**9, NOW)
    return run_comparison(options, [world.pairs()], TOPIC, world.reports()).result


def test_without_a_challenger_or_a_comparison_the_command_is_shown(scene: Scene) -> None:
    assert "No version scores in shadow" in scene.page()
    assert scene.client.get("/api/v1/challenger").json() == {
        "champion": "v1", "challenger": None, "comparison": None,
    }  # fmt: skip
    scene.store.challenge("v2", scene.store.challenger())
    assert "<code>fraud-trainer models compare v1 v2 --publish</code>" in scene.page()
    assert scene.client.get("/api/v1/challenger").json()["challenger"] == "v2"
    assert scene.client.get("/api/v1/challenger?since=1d").status_code == 400


def test_verdict_moves_and_differences_are_shown(scene: Scene) -> None:
    result = make_result()
    scene.store.challenge("v2", scene.store.challenger())
    scene.publish(result)
    page = scene.page()
    assert '<span class="tag good">Better</span>' in page
    assert "<p>Next: promote it with fraud-trainer models promote v2 --if-better.</p>" in page
    assert "from 3,000 transactions with both scores" in page.replace("\u202f", ",")
    difference = result["labels"]["matured"]["average_precision"]["difference"]
    assert f'<td class="num">{difference:+.4f}</td>' in page
    assert page.count('<td class="num">') == 9 + 6
    assert "Sampled labels: no transaction of the random lane has a label." in page
    assert scene.client.get("/api/v1/challenger").json()["comparison"] == result


def test_whatever_the_store_has_the_page_is_shown_and_escaped(scene: Scene) -> None:
    scene.store.challenge("v2", scene.store.challenger())
    result = make_result()
    scene.publish(result | {"reason": "<script>alert(1)</script>", "more_labels": 7})
    page = scene.page()
    assert "<script>" not in page
    assert "about 7 more labels would tell" in page
    scene.publish({name: value for name, value in result.items() if name != "next"})
    assert "Better" in (earlier := scene.page())  # a comparison of an earlier release
    assert "Next:" not in earlier
    for bad in (
        b"[1]", b"{", b"{}", json.dumps(result | {"decisions": []}).encode(),
        json.dumps(result | {"computed_at": 10**30}).encode(),
        json.dumps(result | {"labels": {"matured": 1, "sampled": 2}}).encode(),
    ):  # fmt: skip
        scene.publish(bad)
        assert "cannot be read" in scene.page(), bad
    scene.store.script(StoreFault("unavailable", "read comparisons/*", times=2))
    assert "The store is unavailable" in scene.page()
    assert scene.client.get("/api/v1/challenger").status_code == 503
