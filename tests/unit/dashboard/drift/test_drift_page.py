"""The page ``/drift``, and its API: the last result of ``stream-scorer drift``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient

from dashboard.models.last_result import open_drift
from stream_scorer.errors import StoreError
from stream_scorer.model.store.file_store import FileObjects
from tests.support.dashboard_kit import make_app
from tests.support.drift.report import make_report, put_report


def get(folder: Path, path: str, uri: str) -> Any:
    app = make_app(folder, model_store_uri=uri)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        return client.get(path)


def test_page_shows_both_histograms_and_a_table_of_what_moved_most(tmp_path: Path) -> None:
    answer = get(tmp_path, "/drift", put_report(tmp_path))
    assert answer.status_code == 200
    page = answer.text
    assert page.index("D1") < page.index("C13") < page.index("TransactionAmt")
    assert page.count('class="drift-bars"') == 4
    rows = re.findall(
        r'<th scope="row">2\.5 to 10</th><td class="num">([^<]+)</td><td class="num">([^<]+)</td>',
        page,
    )
    assert rows[0] == ("28.6 %", "10.5 %")
    assert "it needs every earlier input of its card" in page
    assert "3 inputs cannot be decoded" in page
    assert "style=" not in page.split("<main", 1)[1].split("</main", 1)[0]


def test_api_has_the_report_as_it_was_written(tmp_path: Path) -> None:
    answer = get(tmp_path, "/api/v1/drift", put_report(tmp_path))
    assert answer.json() == make_report().as_json()


def test_page_says_what_to_run_before_the_first_result(tmp_path: Path) -> None:
    uri = f"file://{tmp_path / 'store'}"
    assert "stream-scorer drift --since 7d --publish" in get(tmp_path, "/drift", uri).text
    answer = get(tmp_path, "/api/v1/drift", uri)
    assert (answer.status_code, answer.json()["type"].split("/")[-1]) == (404, "no-drift")


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"format": 1}', b'{"format": 9}', b"\xff"])
def test_object_that_is_no_result_is_a_problem_and_no_error(tmp_path: Path, content: bytes) -> None:
    uri = put_report(tmp_path, content)
    page = get(tmp_path, "/drift", uri)
    assert page.status_code == 200
    assert "The last result cannot be read" in page.text
    assert get(tmp_path, "/api/v1/drift", uri).status_code == 503


def test_names_are_escaped(tmp_path: Path) -> None:
    report = make_report(("<img src=x onerror=alert(1)>",)).as_json()
    uri = put_report(tmp_path, orjson.dumps(report))
    page = get(tmp_path, "/drift", uri).text
    assert "<img" not in page
    assert "&lt;img" in page


def test_unknown_parameter_is_refused(tmp_path: Path) -> None:
    assert get(tmp_path, "/drift?x=1", put_report(tmp_path)).status_code == 400


def test_result_is_read_again_after_half_a_minute(tmp_path: Path) -> None:
    now = 0.0
    put_report(tmp_path)
    last = open_drift(FileObjects(tmp_path / "store"), lambda: now)
    place = tmp_path / "store/drift/latest.json"
    first = last.read()
    assert first is not None
    newer = make_report(("A",)).as_json()
    place.write_bytes(orjson.dumps(newer))
    assert last.read() is first
    now = 31.0
    found = last.read()
    assert found is not None
    assert found.as_json() == newer
    place.write_bytes(b"{}")
    now = 62.0
    assert last.read() is found  # what was read last is better than none
    place.unlink()
    now = 93.0
    assert last.read() is None
    place.write_bytes(b"{}")
    now = 124.0
    with pytest.raises(StoreError, match=r"cannot read drift/latest\.json"):
        last.read()
