"""The stored report in a frame of the model page: checked, without rights, and never required."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dashboard.web.headers import CSP, SECURITY_HEADERS
from stream_scorer.model.store.memory_store import MemoryStore, StoreFault
from stream_scorer.model.store.promotions import Override
from stream_scorer.model.versions.reports import describe_report
from stream_scorer.model.versions.thresholds import publish_thresholds
from tests.support.factories import make_files, publish_only
from tests.support.stores import store_settings
from tests.unit.dashboard.admin.test_models import Desk

PAGE = b"<!doctype html><title>r</title><h1>Fraud model v1</h1><script>alert(1)</script>"


def publish_with_report(store: MemoryStore) -> None:
    """Version v1 with a report, as a trainer publishes it."""
    files = make_files("v1")
    metadata = json.loads(files["metadata.json"])
    metadata["files"]["report.html"] = describe_report(PAGE, "v1").as_json()
    rest = {"preprocessor.pkl": files["preprocessor.pkl"], "report.html": PAGE}
    store.publish(
        files["model.pkl"], lambda _: {**rest, "metadata.json": json.dumps(metadata).encode()}
    )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    publish_with_report(made.store)
    return made


def framed(desk: Desk, path: str) -> Any:
    headers = {"x-forwarded-user": "ana", "x-role": "viewer", "sec-fetch-dest": "iframe",
               "accept": "text/html"}  # fmt: skip
    return desk.client.get(path, headers=headers)


def test_report_is_served_as_published_and_may_do_nothing(desk: Desk) -> None:
    answer = desk.get("/model/v1/report")
    assert (answer.status_code, answer.content) == (200, PAGE)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = {words.split()[0]: words.split()[1:]
              for words in answer.headers["content-security-policy"].split("; ")}  # fmt: skip
    assert policy == {
        "default-src": ["'none'"], "style-src": ["'unsafe-inline'"], "base-uri": ["'none'"],
        "form-action": ["'none'"], "frame-ancestors": ["'self'"], "sandbox": [],
    }  # fmt: skip
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    own = ("Content-Security-Policy", "X-Frame-Options")
    for name, value in SECURITY_HEADERS.items():
        assert name in own or answer.headers[name] == value
    assert answer.headers["cache-control"] == "no-store"
    assert "content-disposition" not in answer.headers


def test_download_is_named_after_the_version_that_was_evaluated(desk: Desk) -> None:
    publish_thresholds(desk.store, store_settings(), "v1", 0.6, None, Override("ana", "why"))
    answer = desk.get("/model/v2/report?download=yes")
    assert answer.content == PAGE
    assert answer.headers["content-disposition"] == 'attachment; filename="report-v1.html"'
    assert desk.get("/model/v2/report?inline=yes").status_code == 400


def test_only_the_page_with_a_report_may_frame_and_only_its_own_origin(desk: Desk) -> None:
    publish_only(desk.store, {})
    shown, other = desk.get("/model?version=v1"), desk.get("/model?version=v2")
    assert shown.headers["content-security-policy"] == f"{CSP}; frame-src 'self'"
    assert shown.headers["x-frame-options"] == "DENY"
    frame = shown.text.partition("<iframe ")[2].partition(">")[0]
    assert 'src="/model/v1/report"' in frame
    assert 'loading="lazy"' in frame
    assert " sandbox " in frame
    assert 'href="/model/v1/report?download=yes"' in shown.text
    assert other.headers["content-security-policy"] == CSP
    assert "<iframe" not in other.text
    assert "No report is stored with v2" in other.text
    assert desk.get("/model/v2/report").json()["type"] == "no-report"
    details = [desk.get(f"/api/v1/models/{v}").json()["report"] for v in ("v1", "v2")]
    assert details == [{"version": "v1", "bytes": len(PAGE), "href": "/model/v1/report"}, None]


def test_page_of_other_thresholds_says_whose_evaluation_it_is(desk: Desk) -> None:
    assert "This is the evaluation of" not in desk.get("/model?version=v1").text
    publish_thresholds(desk.store, store_settings(), "v1", 0.6, None, Override("ana", "why"))
    page = desk.get("/model?version=v2").text
    assert "This is the evaluation of <b>v1</b>. v2 has its model with other thresholds" in page
    assert 'src="/model/v2/report"' in page


@pytest.mark.parametrize("change", [b"<script>alert(1)</script>", None])
def test_report_that_is_not_the_published_one_is_not_served(
    desk: Desk, change: bytes | None
) -> None:
    if change is None:
        desk.store.objects.remove("models/v1/report.html")
    else:
        desk.store.objects.overwrite("models/v1/report.html", change)
    answer = desk.get("/model/v1/report")
    assert (answer.status_code, answer.json()["type"]) == (422, "corrupt-report")
    assert "fraud-trainer report v1" in answer.json()["detail"]
    notice = framed(desk, "/model/v1/report")
    assert notice.status_code == 422
    assert "is not the one that was published" in notice.text
    assert "alert" not in notice.text
    assert notice.headers["x-frame-options"] == "SAMEORIGIN"
    assert desk.get("/model?version=v1").status_code == 200  # the page stays


def test_notice_in_the_frame_escapes_what_was_asked_for(desk: Desk) -> None:
    notice = framed(desk, "/model/%3Cimg%20src=x%3E/report")
    assert notice.status_code == 404
    assert "<img" not in notice.text
    assert "&lt;img src=x&gt;" in notice.text
    assert framed(desk, "/model/v9/report").status_code == 404


def test_store_that_does_not_answer_is_named_and_may_answer_later(desk: Desk) -> None:
    desk.store.script(StoreFault("unavailable", "read models/v1/report.html"))
    answer = desk.get("/model/v1/report")
    assert (answer.status_code, answer.json()["type"]) == (503, "store-unavailable")
    assert answer.headers["retry-after"] == "5"
    assert desk.get("/model/v1/report").status_code == 200
