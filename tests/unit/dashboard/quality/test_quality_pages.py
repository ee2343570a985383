"""Live quality on the pages of models and thresholds, and over the API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dashboard.models.last_result import open_quality
from dashboard.web.quality.view import describe, version_of
from stream_scorer.errors import StoreError
from stream_scorer.model.store.file_store import FileObjects
from stream_scorer.model.store.memory_store import MemoryObjects, MemoryStore, StoreFault
from stream_scorer.model.store.names import QUALITY
from stream_scorer.quality.published import publish
from tests.support.dashboard_kit import make_app
from tests.support.factories import publish_only
from tests.support.quality.kit import NOW, make_result


class Scene:
    """A dashboard with a version in its store, and the objects of live quality."""

    def __init__(self, folder: Path) -> None:
        self.objects = FileObjects(folder / "store")
        store = MemoryStore()
        publish_only(store, {})
        app = make_app(folder / "state", store=store, model_store_uri=(folder / "store").as_uri())
        self.client = TestClient(app, "http://127.0.0.1:8000", client=("127.0.0.1", 5000))

    def page(self) -> str:
        response = self.client.get("/model?version=v1")
        assert response.status_code == 200
        return str(response.text)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    (tmp_path / "store").mkdir()
    return Scene(tmp_path)


def test_without_a_run_the_command_is_shown(scene: Scene) -> None:
    assert "No quality run yet: <code>stream-scorer quality --since 30d --publish" in scene.page()
    response = scene.client.get("/api/v1/quality")
    assert (response.status_code, response.json()["type"]) == (404, "no-quality")
    assert scene.client.get("/api/v1/quality?since=1d").status_code == 400


def test_figures_are_shown_by_version_with_their_labels_and_time(scene: Scene) -> None:
    result = make_result()
    publish(scene.objects, result)
    page = scene.page()
    assert "Computed 1970-04-11 00:00 UTC from 600 scores" in page
    figure = result["versions"][0]["precision"]["review"]["reviewed"]
    shown = re.search(
        r'Precision at review</th><td>reviewed</td><td class="num">([\d.]+) %</td><td>'
        r"([\d.]+) % to ([\d.]+) %</td>",
        page,
    )
    assert shown is not None
    expected = [figure["value"], *figure["interval"]]
    assert [float(text) / 100 for text in shown.groups()] == pytest.approx(expected, abs=6e-4)
    assert "precision at review is below the 80.0 % that its metadata promises" in page
    assert "Fraud missed</th><td>all labels</td>" in page
    assert "&lt;b&gt;W" in page
    assert "<b>W" not in page
    response = scene.client.get("/api/v1/quality")
    assert response.status_code == 200
    assert response.json()["versions"][0]["rows"] == 600


def test_recall_by_product_is_shown_with_what_it_lacks(scene: Scene) -> None:
    result = make_result()
    (product,) = result["versions"][0]["products"]
    assert "is not known" in product["recall"]["review"]["matured"]["reason"]
    publish(scene.objects, result)
    page = scene.page()
    assert "Recall at review, matured</th>" in page
    assert re.search(r"<td>Not estimable</td><td>Not estimable</td></tr>", page)
    assert "Recall, matured: not estimable from these labels: the product of" in page
    product["recall"]["review"]["matured"] = {"value": 0.5, "interval": [0.4, 0.6], "n": 9}
    described = version_of(describe(result), "v1")
    assert described is not None
    assert described["products"][0]["recall_matured"] == "50.0 % (40.0 % to 60.0 %)"
    del product["recall"]  # as an earlier release has written it
    described = version_of(describe(result), "v1")
    assert described is not None
    assert described["products"][0]["recall_matured"] == "not estimable"
    assert described["product_notes"] == []


@pytest.mark.parametrize(
    "content",
    [b"[]", b"{}", b'{"computed_at": 1e300}', b'{"computed_at": "now", "versions": 7}', b"\xff"],
)
def test_what_is_no_result_is_a_problem_and_no_fault(scene: Scene, content: bytes) -> None:
    scene.objects.overwrite(QUALITY, content)
    page = scene.page()
    assert re.search(r'(?i)<p class="banner amber">[^<]*cannot (be )?read', page)


def test_only_sources_that_say_something_have_a_row() -> None:
    version = version_of(describe(make_result()), "v1")
    assert version is not None
    rows: list[Mapping[str, Any]] = version["rows"]
    recall = [row for row in rows if row["name"] == "Recall at review"]
    assert [row["source"] for row in recall] == ["matured"]
    missed = [row for row in rows if row["name"] == "Fraud missed, estimated"]
    assert [row["value"] for row in missed] == ["Not estimable"]
    assert "random lane" in missed[0]["note"]
    assert version_of(describe(make_result()), "v2") is None


def test_result_is_read_twice_a_minute_and_not_for_each_page() -> None:
    objects, clock = MemoryObjects(), [0.0]
    quality = open_quality(objects, lambda: clock[0])
    assert quality.read() is None
    publish(objects, make_result())
    assert quality.read() is None
    clock[0] = 30.0
    first = quality.read()
    assert first is not None
    publish(objects, make_result(now=NOW + 1))
    assert quality.read() is first  # fresh: the store is not asked
    clock[0] = 60.0
    again = quality.read()
    assert again is not None
    assert again["computed_at"] == NOW + 1


def test_store_that_fails_is_not_asked_for_each_page_and_the_last_result_stays() -> None:
    objects, clock = MemoryObjects(), [0.0]
    publish(objects, make_result())
    quality = open_quality(objects, lambda: clock[0])
    objects.script([StoreFault("unavailable", "read *")])
    for _ in range(2):  # the fault is for one request: the second page asks for nothing
        with pytest.raises(StoreError):
            quality.read()
    clock[0] = 10.0
    first = quality.read()
    assert first is not None
    clock[0] = 40.0
    objects.script([StoreFault("unavailable", "read *")])
    assert quality.read() is first


def test_one_thread_reads_while_others_go_on_with_what_there_is() -> None:
    objects, clock = MemoryObjects(), [0.0]
    publish(objects, make_result())
    quality = open_quality(objects, lambda: clock[0])
    first = quality.read()
    clock[0] = 30.0
    seen: list[Any] = []
    # The slow read asks again while it is under way, as another page would.
    objects.script([StoreFault("slow", "read *", wait=lambda: seen.append(quality.read()))])
    assert quality.read() is first
    assert seen == [first]
