"""The HTTP interface: predictions, list, probes, problems, headers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dashboard.predicting import MAX_BODY_BYTES, MAX_ROWS
from dashboard.web.tokens import make_token
from stream_scorer.model.serving.status import FallBack
from tests.support.dashboard_kit import (
    MemoryTopic,
    StaticModel,
    encode_score,
    make_app,
    make_context,
    make_score,
    make_transaction,
    tiny_bundle,
)
from tests.support.waiting import wait_until

LOCAL = "http://127.0.0.1"
PROBLEM = "application/problem+json"


def fill(topic: MemoryTopic) -> None:
    """Ten flagged transactions with scores from 0.5 to 0.95, and five that are not flagged."""
    for i in range(10):
        context = make_context(ProductCD="W" if i % 2 else "C", DeviceInfo="<script>alert(1)")
        source = {"topic": "transactions", "partition": 0, "offset": i}
        more = {"context": context, "source": source, "scored_at": 1_700_000_000_000 + i}
        topic.append(encode_score(make_score(0.5 + i * 0.05, transaction_id=i, **more)))
        if i % 2:
            topic.append(encode_score(make_score(0.1)))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    topic = MemoryTopic(1)
    fill(topic)
    app = make_app(tmp_path_factory.mktemp("http"), topic, StaticModel(tiny_bundle()))
    with TestClient(app, LOCAL) as client:
        wait_until(lambda: client.get("/health").status_code == 200)
        yield client


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[TestClient]:
    """A dashboard without a model, whose Kafka is down."""
    topic = MemoryTopic(1)
    topic.is_down = True
    app = make_app(tmp_path, topic, StaticModel(problem="artifact store: not there"))
    with TestClient(app, LOCAL) as client:
        wait_until(lambda: "no broker" in client.get("/health").text)
        yield client


def items(client: TestClient, query: str = "") -> list[dict[str, Any]]:
    answer = client.get(f"/api/v1/flags{query}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def test_predict_response_follows_the_contract(client: TestClient) -> None:
    rows = [make_transaction(1), make_transaction(2, 990.0, C13=40.0)]
    answer = client.post("/predict", json={"transactions": rows})
    assert answer.status_code == 200
    body = answer.json()
    assert body.keys() == {"predictions", "results", "model_version"}
    assert body["model_version"] == "v1"
    assert [r["transaction_id"] for r in body["results"]] == [1, 2]
    assert body["results"][1].keys() == {
        "transaction_id", "score", "decision", "is_flagged", "review_threshold",
        "block_threshold", "reasons", "model_version",
    }  # fmt: skip
    assert body["results"][1]["is_flagged"]
    assert body["results"][1]["reasons"][0].keys() == {"feature", "value", "contribution"}


def test_invalid_row_is_a_problem_that_names_row_and_field(client: TestClient) -> None:
    rows = [make_transaction(), make_transaction() | {"card1": "x"}]
    answer = client.post("/predict", json={"transactions": rows})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == PROBLEM
    body = answer.json()
    assert body["errors"] == [
        {"row": 1, "field": "card1", "reason": "card1 must be a number, not a string"}
    ]
    assert body["status"] == 422
    assert "row 1" in body["detail"]
    assert body["trace_id"] == answer.headers["x-request-id"]


def test_body_is_counted_while_it_streams(client: TestClient) -> None:
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        while sent < 3 * MAX_BODY_BYTES:
            sent += 1 << 20
            yield b" " * (1 << 20)

    answer = client.post("/predict", content=chunks())
    assert answer.status_code == 413
    assert answer.headers["content-type"] == PROBLEM


def test_request_whose_end_is_ambiguous_is_refused_and_its_connection_closed(
    client: TestClient,
) -> None:
    both = {"content-length": "2", "transfer-encoding": "chunked"}
    for path in ("/predict", "/livez"):
        answer = client.request("POST", path, content=b"{}", headers=both)
        assert (answer.status_code, answer.headers["connection"]) == (400, "close")
        assert "Transfer-Encoding" in answer.json()["detail"]


def test_content_length_and_row_count_are_limited(client: TestClient) -> None:
    assert client.post("/predict", content=b" " * (MAX_BODY_BYTES + 1)).status_code == 413
    rows = [make_transaction()] * (MAX_ROWS + 1)
    assert client.post("/predict", content=orjson.dumps({"transactions": rows})).status_code == 413
    at_limit = orjson.dumps({"transactions": rows[:-1]})
    assert client.post("/predict", content=at_limit).status_code == 200


def test_predict_without_a_model_is_503_with_retry_after(bare: TestClient) -> None:
    answer = bare.post("/predict", json={"transactions": [make_transaction()]})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["type"] == "model-not-loaded"
    assert "artifact store: not there" in answer.json()["detail"]


def test_health_is_503_with_the_reasons_while_the_page_still_works(bare: TestClient) -> None:
    health = bare.get("/health")
    assert health.status_code == 503
    checks = health.json()["checks"]
    assert checks["feed"]["state"] == "waiting"
    assert checks["feed"]["detail"] == "Kafka does not answer"
    assert checks["feed"]["reason"] == "kafka: no broker answers"
    assert checks["model"]["detail"] == "artifact store: not there"
    assert bare.get("/livez").status_code == 200
    assert bare.get("/readyz").status_code == 503
    page = bare.get("/")
    assert page.status_code == 200
    assert "Kafka does not answer" in page.text
    assert "no broker" not in page.text  # the words of Kafka's client are for operators
    assert "artifact store: not there" not in page.text
    assert "a problem with the artifact store" in page.text
    assert "No scores yet" in page.text


def test_health_is_ok_when_every_check_passes(client: TestClient) -> None:
    body = client.get("/health").json()
    assert body["status"] == "ok"
    assert body["model_version"] == "v1"
    assert body["checks"]["feed"]["stream"]["model_version"] == "v7"
    assert client.get("/readyz").json() == {"status": "ready", "desk": "live"}


SECRET = "s3cr3t"


def failing_with_secrets(folder: Path) -> tuple[FastAPI, str]:
    """A dashboard whose failure reasons contain secrets, and a token for it."""
    topic = MemoryTopic(1)
    topic.exists = False
    model = StaticModel(problem=f"artifact store: http://user:{SECRET}@store is not reachable")
    model.status = replace(model.status, rolled_back=FallBack("v2", "v1", f"by {SECRET}"))
    token, line = make_token("olga", "ops")
    (folder / "tokens").write_text(line)
    app = make_app(
        folder,
        topic,
        model,
        dashboard_auth="token",
        dashboard_tokens_file=folder / "tokens",
        dashboard_failed_logins_per_minute=1,
        kafka_bootstrap_servers=f"{SECRET}.example:9092",
        output_topic=SECRET,
    )
    return app, token


def test_probes_hide_the_reasons_from_unauthenticated_callers(tmp_path: Path) -> None:
    app, token = failing_with_secrets(tmp_path)
    right, wrong = ({"authorization": f"Bearer {t}"} for t in (token, "guess"))
    with TestClient(app, "http://board.example") as client:
        wait_until(lambda: client.get("/health").json()["checks"]["feed"]["state"] == "waiting")
        for headers in ({}, wrong, wrong, wrong):
            health, ready = (client.get(p, headers=headers) for p in ("/health", "/readyz"))
            assert (health.status_code, ready.status_code) == (503, 503)
            assert SECRET not in health.text + ready.text
            checks = health.json()["checks"]
            assert (checks["feed"]["ok"], checks["model"]["ok"]) == (False, False)
            assert "problem with Kafka or the scores topic" in checks["feed"]["detail"]
            assert "problem with the artifact store" in checks["model"]["detail"]
            assert checks["model"]["rejected"]["rejected"] == "v2"
            assert "problem with the artifact store" in ready.json()["detail"]
        known = client.get("/health", headers=right)
        assert known.status_code == 503
    assert known.json()["checks"].keys() == checks.keys()


def test_probes_show_the_reasons_to_operators(tmp_path: Path) -> None:
    app, token = failing_with_secrets(tmp_path)
    with TestClient(app, "http://board.example") as client:
        client.headers["authorization"] = f"Bearer {token}"
        wait_until(lambda: "does not exist yet" in client.get("/health").text)
        checks = client.get("/health").json()["checks"]
        assert checks["feed"]["brokers"] == f"{SECRET}.example:9092"
        assert "is not reachable" in checks["model"]["detail"]
        assert checks["model"]["rejected"]["reason"] == f"by {SECRET}"
        assert "is not reachable" in client.get("/readyz").json()["detail"]


def test_wrong_token_at_a_probe_counts_as_a_failed_login(tmp_path: Path) -> None:
    app, _ = failing_with_secrets(tmp_path)
    with TestClient(app, "http://board.example") as client:
        wrong = {"authorization": "Bearer guess"}
        assert client.get("/health", headers=wrong).status_code == 503
        assert client.get("/api/v1/flags", headers=wrong).status_code == 429
        assert client.get("/livez", headers=wrong).status_code == 200


def test_metrics_have_the_documented_names(client: TestClient) -> None:
    client.post("/predict", json={"transactions": [make_transaction()] * 3})
    text = client.get("/metrics").text
    for line in (
        'model_version{version="v1"} 1.0',
        "model_load_time_seconds 0.25",
        'request_latency_seconds_count{method="POST",route="/predict"}',
        'request_count_total{method="POST",route="/predict",status="200"}',
        "prediction_count_total ",
        "fraud_scorer_dashboard_lag_records 0.0",
        "fraud_scorer_dashboard_flagged_total 10.0",
    ):
        assert line in text
    assert 'route="/api/v1/flags/{flag_id}"' not in text
    client.get("/api/v1/flags/0-1")
    assert 'route="/api/v1/flags/{flag_id}"' in client.get("/metrics").text


def test_list_is_newest_first_and_pages_are_contiguous(client: TestClient) -> None:
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        more = f"&cursor={cursor}" if cursor else ""
        body = client.get(f"/api/v1/flags?limit=4{more}").json()
        seen += [item["id"] for item in body["items"]]
        cursor = body["next_cursor"]
    assert seen == [f"0-{i}" for i in range(9, -1, -1)]


def test_list_filters_by_score_product_and_transaction(client: TestClient) -> None:
    assert [i["transaction_id"] for i in items(client, "?min_score=0.85")] == [9, 8, 7]
    assert [i["transaction_id"] for i in items(client, "?max_score=0.55")] == [1, 0]
    assert [i["transaction_id"] for i in items(client, "?product=C&min_score=0.8")] == [8, 6]
    assert [i["transaction_id"] for i in items(client, "?transaction_id=4")] == [4]
    assert items(client, "?product=none") == []


def test_altered_cursor_or_cursor_of_another_filter_is_rejected(client: TestClient) -> None:
    cursor = client.get("/api/v1/flags?limit=2").json()["next_cursor"]
    assert client.get(f"/api/v1/flags?limit=3&cursor={cursor}").status_code == 200
    for query in (f"product=C&cursor={cursor}", f"cursor={cursor[:-2]}AA", "cursor=%C3%A9"):
        answer = client.get(f"/api/v1/flags?{query}")
        assert answer.status_code == 400, query
        assert answer.headers["content-type"] == PROBLEM


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("colour=red", 400, "colour"),
        ("limit=5&limit=6", 400, "limit"),
        ("limit=0", 422, "limit"),
        ("limit=201", 422, "limit"),
        ("min_score=high", 422, "min_score"),
        ("min_score=nan", 422, "min_score"),
        ("max_score=1.1", 422, "max_score"),
    ],
)
def test_invalid_query_parameter_is_a_problem(
    client: TestClient, query: str, status: int, field: str
) -> None:
    answer = client.get(f"/api/v1/flags?{query}")
    assert answer.status_code == status
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("path", ["/", "/api/v1/flags"])
@pytest.mark.parametrize("digits", [19, 20, 5000])
def test_transaction_id_beyond_64_bits_is_a_problem(
    client: TestClient, path: str, digits: int
) -> None:
    answer = client.get(path, params={"transaction_id": "9" * digits})
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == ["transaction_id"]
    assert client.get(path, params={"transaction_id": str(2**63 - 1)}).status_code == 200


def test_flag_is_found_by_its_source_coordinates(client: TestClient) -> None:
    flag = client.get("/api/v1/flags/0-7").json()
    assert flag["transaction_id"] == 7
    assert flag["source"] == {"topic": "transactions", "partition": 0, "offset": 7}
    assert flag["delivery"]["topic"] == "fraud-scores"
    for wrong in ("0-77", "x", "0-7-1"):
        assert client.get(f"/api/v1/flags/{wrong}").status_code == 404


def test_meta_has_model_topics_and_counts(client: TestClient) -> None:
    meta = client.get("/api/v1/meta").json()
    assert meta["counts"] == {"scored": 15, "flagged": 10, "unreadable": 0}
    assert meta["topics"]["scores"] == "fraud-scores"
    assert meta["model"]["version"] == "v1"
    assert meta["stream"]["review_threshold"] == 0.4


def test_pages_work_without_javascript_and_escape_values(client: TestClient) -> None:
    page = client.get("/?min_score=0.6").text
    assert page.count("<tr tabindex") == 8
    assert "Score ≥ 0.6" in page
    detail = client.get("/t/0-7").text
    assert "&lt;script&gt;alert(1)" in detail
    assert "<script>alert" not in detail + page


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/docs", 404),
        ("GET", "/redoc", 404),
        ("DELETE", "/predict", 405),
        ("GET", "/predict", 405),
        ("GET", "/static/nothing.js", 404),
        ("GET", "/login", 404),
    ],
)
def test_every_error_is_a_problem(client: TestClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["status"] == status


def test_browser_gets_an_html_page_instead_of_problem_json(client: TestClient) -> None:
    answer = client.get("/t/9-9", headers={"accept": "text/html"})
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "Flagged transaction &#39;9-9&#39; not found." in answer.text


def test_unexpected_error_is_a_problem_without_a_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(tmp_path)

    @app.get("/api/broken")
    def broken() -> None:
        raise RuntimeError("secret inner state")

    with TestClient(app, LOCAL) as client:
        answer = client.get("/api/broken")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == PROBLEM
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "secret" not in answer.text
    assert [r.levelname for r in caplog.records if r.exc_info] == ["ERROR"]


@pytest.mark.parametrize("path", ["/", "/nothing", "/livez", "/static/style.css", "/api/v1/flags"])
def test_security_headers_are_on_every_response(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"


def test_openapi_describes_predict_in_full(client: TestClient) -> None:
    spec = client.get("/openapi.json").json()
    post = spec["paths"]["/predict"]["post"]
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    row = schema["properties"]["transactions"]["items"]
    assert len(row["properties"]) == 3 + 399 + 31 + 1
    assert row["required"] == ["TransactionID", "TransactionDT", "TransactionAmt"]
    assert {"200", "413", "422", "503"} <= post["responses"].keys()
    references = {
        part.split('"')[0]
        for part in orjson.dumps(spec).decode().split('"#/components/schemas/')[1:]
    }
    assert references <= spec["components"]["schemas"].keys()
    assert "/" not in spec["paths"]


def test_host_names_other_than_loopback_are_rejected(client: TestClient) -> None:
    for host in ("evil.example", "evil.example:8000", "[", ""):
        assert client.get("/api/v1/flags", headers={"host": host}).status_code == 421, host
    for host in ("localhost:8000", "[::1]:8000", "127.0.0.1"):
        assert client.get("/api/v1/flags", headers={"host": host}).status_code == 200, host
    assert client.get("/livez", headers={"host": "10.1.2.3"}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1"}, 200),
        ({"origin": "http://127.0.0.1"}, 200),
        ({}, 200),
    ],
)
def test_cross_site_post_is_rejected(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    body = {"transactions": [make_transaction()]}
    assert client.post("/predict", json=body, headers=headers).status_code == status
