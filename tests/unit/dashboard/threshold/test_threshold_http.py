"""The threshold page and its API over HTTP."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dashboard.cases.log import Channel
from tests.support.dashboard_kit import MemoryTopic, StaticModel, encode_score, make_app
from tests.support.desk.desk_kit import MemoryLog
from tests.support.listing.scored_month import DAY_MS, REVIEW, make_month
from tests.support.waiting import wait_until

LOCAL = "http://127.0.0.1"
HTML = {"accept": "text/html"}
MONTH = make_month(int(time.time() * 1000) // DAY_MS)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    topic, log = MemoryTopic(1), MemoryLog()
    for row in MONTH:
        topic.append(encode_score(row.record()))
    flagged = [row for row in MONTH if row.score >= REVIEW]
    for row in flagged[::2]:
        log.put_label(row.transaction, "FRAUD", "CHARGEBACK")
    log.put_label(1, "FRAUD", "CHARGEBACK")  # of a transaction that was not flagged
    app = make_app(tmp_path_factory.mktemp("http"), topic, StaticModel(), desk_log=log)
    with TestClient(app, LOCAL) as client:
        parts = app.state.parts
        wait_until(lambda: parts.board.counts.flagged == len(flagged))
        wait_until(lambda: len(parts.desk.standing_labels()) == len(flagged[::2]) + 1)
        yield client


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(make_app(tmp_path), LOCAL) as client:
        yield client


def test_labels_of_the_desk_reach_the_measures(client: TestClient) -> None:
    body = client.get("/api/v1/threshold?window=10d&maturity=0d&threshold=0.7").json()
    assert (body["model"], body["models"], body["labels"]) == ("v7", ["v7", "v6"], "matured")
    rows = [row for row in MONTH if row.version == "v7"]
    reported = {row.transaction for row in [r for r in MONTH if r.score >= REVIEW][::2]}
    for name, threshold in (("live", REVIEW), ("proposed", 0.7)):
        above = [row for row in rows if row.score >= threshold]
        assert body[name]["alerts"] == len(above)
        assert body[name]["labelled"] == sum(row.transaction in reported for row in above)
    assert body["live"]["recall"]["value"] is None
    assert body["labels_state"] == "live"
    assert "the score of 1 reported fraud is not known here" in body["recall_reason"]
    assert body["curve"].keys() >= {"threshold", "precision_low", "recall_high", "alerts_per_day"}
    assert {len(column) for column in body["curve"].values()} == {1001}


def test_page_shows_both_thresholds_and_the_words_for_a_new_version(client: TestClient) -> None:
    page = client.get("/threshold?window=10d&labels=reviewed&threshold=0.7004", headers=HTML)
    assert page.status_code == 200
    text = re.sub(r"<[^>]+>", "", page.text)
    assert "In use ≥ 0.6237" in text
    assert "Proposed ≥ 0.7000" in text
    assert "Rounded to 0.7000" in text
    assert "Analysts have decided 0 of" in text
    rows = [row for row in MONTH if row.version == "v7"]
    share = sum(row.score >= 0.7 for row in rows) / len(rows)
    assert f"fraud-trainer train --review-budget {share:.4g}" in text


def test_page_without_scores_in_the_window_leads_on(client: TestClient) -> None:
    page = client.get("/threshold?window=1d&labels=matured&maturity=20&model=v7", headers=HTML)
    assert "No scores of v7 on these days" in page.text
    assert "labels=reviewed" in page.text


def test_invalid_questions_are_refused(client: TestClient) -> None:
    for query, status, field in (
        ("threshold=2", 422, "threshold"),
        ("window=forever", 422, "window"),
        ("minutes=4", 400, "minutes"),
        ("model=v9", 404, "model"),
        ("window=7d&window=8d", 400, "window"),
    ):
        answer = client.get(f"/api/v1/threshold?{query}")
        assert answer.status_code == status, query
        assert answer.headers["content-type"] == "application/problem+json"
        assert [fault["field"] for fault in answer.json()["errors"]] == [field]
    page = client.get("/threshold?model=<b>", headers=HTML)
    assert page.status_code == 404
    assert "&lt;b&gt;" in page.text


def test_missing_labels_topic_is_said(tmp_path: Path) -> None:
    topic, log = MemoryTopic(1), MemoryLog()
    topic.append(encode_score(MONTH[-1].record()))
    log.exist.discard(Channel.LABELS)
    app = make_app(tmp_path, topic, StaticModel(), desk_log=log)
    with TestClient(app, LOCAL) as client:
        parts = app.state.parts
        wait_until(lambda: parts.board.counts.scored == 1 and parts.desk.status().missing)
        assert client.get("/api/v1/threshold").json()["labels_state"] == "missing"
        page = client.get("/threshold", headers=HTML).text
        assert "<b>No labels</b>: the topic fraud-labels does not exist" in page
        assert "No whole day yet" in page


def test_before_the_first_score_the_page_says_so_and_the_api_refuses(empty: TestClient) -> None:
    assert "No scores yet" in empty.get("/threshold", headers=HTML).text
    answer = empty.get("/api/v1/threshold")
    assert (answer.status_code, answer.json()["type"]) == (404, "no-scores")


def test_nothing_but_reading_is_possible(client: TestClient) -> None:
    for path in ("/threshold", "/api/v1/threshold"):
        assert client.post(path).status_code == 405


def test_contract_of_the_api_names_every_measure(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    body = client.get("/api/v1/threshold?window=10d&labels=reviewed").json()
    assert schemas["ThresholdModel"]["properties"].keys() == body.keys()
    assert schemas["MeasuresModel"]["properties"].keys() == body["live"].keys()
    assert schemas["EstimateModel"]["properties"].keys() == body["live"]["precision"].keys()
