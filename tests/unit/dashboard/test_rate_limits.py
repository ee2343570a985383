"""Rate limits: token buckets, too many rows, and too many wrong tokens."""

from __future__ import annotations

import gzip
import ipaddress
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from dashboard.web.auth import is_cross_site
from dashboard.web.body import read_body
from dashboard.web.headers import SECURITY_HEADERS
from dashboard.web.limits import RateLimiter, client_key
from dashboard.web.tokens import hash_token, make_token
from tests.support.dashboard_kit import StaticModel, make_app, make_transaction, tiny_bundle

PROBLEM = "application/problem+json"
BOARD = "http://board.example"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_bucket_allows_its_burst_and_then_its_rate(clock: Clock) -> None:
    limiter = RateLimiter(2.0, 5.0, clock)
    for _ in range(5):
        assert limiter.wait_seconds("ana") == 0
        limiter.charge("ana", 1)
    assert limiter.wait_seconds("ana") == pytest.approx(0.5)
    assert limiter.wait_seconds("bob") == 0
    clock.now += 0.5
    assert limiter.wait_seconds("ana") == 0
    limiter.charge("ana", 1)
    assert limiter.wait_seconds("ana") > 0
    clock.now += 1e6
    for _ in range(5):
        limiter.charge("ana", 1)
    assert limiter.wait_seconds("ana") > 0  # idle time refills no more than the burst


def test_negative_level_must_be_refilled_in_full(clock: Clock) -> None:
    limiter = RateLimiter(10.0, 10.0, clock)
    limiter.charge("ana", 1000)
    assert limiter.wait_seconds("ana") == pytest.approx(99.1)
    clock.now += 99.2
    assert limiter.wait_seconds("ana") == 0


def test_rate_of_zero_is_no_limit(clock: Clock) -> None:
    limiter = RateLimiter(0, 0, clock)
    limiter.charge("ana", 1e9)
    assert limiter.wait_seconds("ana") == 0
    assert len(limiter) == 0


def test_memory_is_bounded_and_the_least_recently_used_key_is_forgotten(clock: Clock) -> None:
    limiter = RateLimiter(1.0, 1.0, clock, max_keys=100)
    for i in range(10_000):
        limiter.charge(f"address {i}", 5)
        limiter.charge("guesser", 5)
    assert len(limiter) == 100
    assert limiter.wait_seconds("guesser") > 0
    assert limiter.wait_seconds("address 0") == 0


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ("testclient", "testclient"),
    ],
)
def test_client_key_is_the_address_or_the_ipv6_network(host: str, key: str) -> None:
    assert client_key(Request({"type": "http", "client": (host, 1), "headers": []})) == key


@pytest.mark.parametrize(
    ("peer", "forwarded", "key"),
    [
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),  # the first is not trusted
        ("10.0.0.1", "198.51.100.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9:50123", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1:1, 203.0.113.9:50124, 10.0.0.2:80", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8:1:2::3]:50125", "2001:db8:1:2::"),
        ("10.0.0.1", "[2001:db8:1:2::3]", "2001:db8:1:2::"),
        ("10.0.0.1", "2001:db8:1:2::3", "2001:db8:1:2::"),
        ("10.0.0.1", "fe80::1%eth7", "fe80::"),
        ("10.0.0.1", "203.0.113.9, ,", "203.0.113.9"),
        ("10.0.0.1", "x" * 500, "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, _hidden, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "[", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
    ],
)
def test_forwarded_for_is_trusted_only_from_a_proxy(peer: str, forwarded: str, key: str) -> None:
    headers = [(b"x-forwarded-for", forwarded.encode())]
    request = Request({"type": "http", "client": (peer, 1), "headers": headers})
    assert client_key(request, [ipaddress.ip_network("10.0.0.0/8")]) == key


def predicting(folder: Path, **settings: Any) -> FastAPI:
    return make_app(folder, model=StaticModel(tiny_bundle()), **settings)


def body(rows: int) -> bytes:
    return orjson.dumps({"transactions": [make_transaction(i) for i in range(rows)]})


def test_predict_is_limited_by_rows(tmp_path: Path) -> None:
    app = predicting(tmp_path, dashboard_predict_rows_per_second=10)  # a burst of 20
    with TestClient(app, "http://127.0.0.1") as client:
        assert client.post("/predict", content=body(100)).status_code == 200
        refused = client.post("/predict", content=body(1))
        assert refused.status_code == 429
        assert refused.headers["content-type"] == PROBLEM
        assert 7 <= int(refused.headers["retry-after"]) <= 9
        assert refused.json()["type"] == "too-many-requests"
        assert "DASHBOARD_PREDICT_ROWS_PER_SECOND=10" in refused.json()["detail"]
        assert client.get("/livez").status_code == 200


def test_explanation_is_charged_for_the_time_that_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.predicting.ROW_SECONDS", 1e-7)  # nothing takes that little
    for method, status in ((None, 200), ("path", 429), ("shap", 429)):
        app = predicting(tmp_path, dashboard_predict_rows_per_second=10)
        with TestClient(app, "http://127.0.0.1") as client:
            request = {"transactions": [make_transaction()], "explain": method}
            assert client.post("/predict", json=request).status_code == 200
            assert client.post("/predict", content=body(1)).status_code == status


def test_paid_tokens_count_for_the_request_itself(clock: Clock) -> None:
    limiter = RateLimiter(10.0, 20.0, clock)
    limiter.charge("ana", 100)
    assert limiter.wait_seconds("ana") == pytest.approx(8.1)
    assert limiter.wait_seconds("ana", paid=100) == 0
    limiter.charge("ana", 30)
    assert limiter.wait_seconds("ana", paid=100) == pytest.approx(1.1)


def test_request_that_waited_is_checked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = predicting(tmp_path, dashboard_predict_rows_per_second=10)
    parts = app.state.parts

    async def wait(*given: Any) -> bytes:
        """Others of the same client are charged while this request waits."""
        content = await read_body(*given)
        parts.predict_rate.charge("address testclient", len(content))
        return content

    monkeypatch.setattr("dashboard.web.predict.read_body", wait)
    with TestClient(app, "http://127.0.0.1") as client:
        assert client.post("/predict", content=body(1)).status_code == 429
        assert client.get("/metrics").text.count("prediction_count_total 0.0") == 1
    assert parts.scoring.borrowed_tokens == 0
    assert parts.bodies.held == 0


def test_invalid_requests_are_charged_by_their_size(tmp_path: Path) -> None:
    app = predicting(tmp_path, dashboard_predict_rows_per_second=10)
    with TestClient(app, "http://127.0.0.1") as client:
        assert client.post("/predict", content=b"[" * 8192 * 30).status_code == 422
        assert client.post("/predict", content=body(1)).status_code == 429


def test_compressed_body_is_charged_by_what_it_decompresses_to(tmp_path: Path) -> None:
    app = predicting(tmp_path, dashboard_predict_rows_per_second=10)
    headers = {"Content-Encoding": "gzip"}
    with TestClient(app, "http://127.0.0.1") as client:
        content = gzip.compress(b"[" * 8192 * 30)
        assert len(content) < 8192
        assert client.post("/predict", content=content, headers=headers).status_code == 422
        assert client.post("/predict", content=body(1)).status_code == 429


def test_damaged_compressed_body_is_charged_too(tmp_path: Path) -> None:
    app = predicting(tmp_path, dashboard_predict_rows_per_second=10)
    headers = {"Content-Encoding": "gzip"}
    with TestClient(app, "http://127.0.0.1") as client:
        content = gzip.compress(b" " * 8192 * 1000)[:-1]
        assert client.post("/predict", content=content, headers=headers).status_code == 400
        assert client.post("/predict", content=body(1)).status_code == 429


def test_default_rate_does_not_limit_typical_use(tmp_path: Path) -> None:
    with TestClient(predicting(tmp_path), "http://127.0.0.1") as client:
        content = body(1000)
        assert {client.post("/predict", content=content).status_code for _ in range(20)} == {200}


def test_each_user_has_a_separate_rate_limit(tmp_path: Path) -> None:
    app = predicting(
        tmp_path,
        dashboard_auth="proxy",
        dashboard_proxy_addresses="10.0.0.1",
        dashboard_predict_rows_per_second=10,
    )
    with TestClient(app, BOARD, client=("10.0.0.1", 5000)) as client:
        for user, status in (("ana", 200), ("ana", 429), ("bob", 200)):
            headers = {"x-forwarded-user": user}
            answer = client.post("/predict", content=body(100), headers=headers)
            assert answer.status_code == status, user


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[TestClient, str]]:
    token, line = make_token("ana", "analyst")
    path = tmp_path / "tokens"
    path.write_text(line + "\n")
    app = make_app(
        tmp_path,
        dashboard_auth="token",
        dashboard_tokens_file=path,
        dashboard_failed_logins_per_minute=3,
    )
    with TestClient(app, BOARD, follow_redirects=False) as client:
        yield client, token


def test_wrong_tokens_are_limited_by_bearer_and_by_form(
    guarded: tuple[TestClient, str], caplog: pytest.LogCaptureFixture
) -> None:
    client, token = guarded
    right = {"authorization": f"Bearer {token}"}
    assert client.get("/api/v1/meta", headers=right).status_code == 200
    with caplog.at_level(logging.WARNING):
        for i in range(3):
            wrong = {"authorization": f"Bearer guess-{i}"}
            assert client.get("/api/v1/meta", headers=wrong).status_code == 401
    assert "guess-" not in caplog.text
    wrong = {"authorization": "Bearer guess-9"}
    refused = client.get("/api/v1/meta", headers=wrong)
    assert refused.status_code == 429
    assert refused.headers["content-type"] == PROBLEM
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    form = client.post("/login", data={"token": "guess-9"})
    assert form.status_code == 429
    assert int(form.headers["retry-after"]) >= 1
    assert "try again in" in form.text
    # A token that was valid before still works from the same address.
    assert client.get("/api/v1/meta", headers=right).status_code == 200


def test_login_form_is_limited_and_open_sessions_continue(guarded: tuple[TestClient, str]) -> None:
    client, token = guarded
    assert client.post("/login", data={"token": token}).status_code == 303
    codes = [client.post("/login", data={"token": "guess"}).status_code for _ in range(5)]
    assert codes == [401, 401, 401, 429, 429]
    assert client.get("/api/v1/meta").status_code == 200


def test_valid_token_gets_in_while_others_guess_at_the_same_address(
    guarded: tuple[TestClient, str], caplog: pytest.LogCaptureFixture
) -> None:
    client, token = guarded
    wrong = {"authorization": f"Bearer {token[:-4]}____"}
    codes = [client.get("/api/v1/meta", headers=wrong).status_code for _ in range(50)]
    assert codes == [401] * 3 + [429] * 47
    assert len(caplog.records) == 3  # nobody fills the log either
    right = {"authorization": f"Bearer {token}"}
    assert client.get("/api/v1/meta", headers=right).status_code == 200
    assert client.post("/login", data={"token": token}).status_code == 303
    assert client.get("/api/v1/meta", headers=wrong).status_code == 429


def test_short_token_that_somebody_made_up_is_not_checked_beyond_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"ana:analyst:{hash_token('secret')}\nbo:lead:{hash_token('swordfish')}\n")
    app = make_app(
        tmp_path,
        dashboard_auth="token",
        dashboard_tokens_file=path,
        dashboard_failed_logins_per_minute=3,
    )
    with TestClient(app, BOARD) as client:

        def ask(token: str) -> int:
            headers = {"authorization": f"Bearer {token}"}
            return client.get("/api/v1/meta", headers=headers).status_code

        assert ask("secret") == 200
        assert [ask(f"guess-{i}") for i in range(4)] == [401, 401, 401, 429]
        assert ask("swordfish") == 429
        assert ask("secret") == 200  # valid before


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/static/nothing", "/static/../app.py", "/static/%2e%2e/app.py",
             "/static/..%2f..%2fpyproject.toml", "/static//etc/passwd", "/login", "/api/v1/flags",
             "/t/0-1", "/health", "/metrics", "//evil.example/login/", "/login/"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "TRACE"])
def test_every_response_has_the_security_headers(
    guarded: tuple[TestClient, str], method: str, path: str
) -> None:
    client, token = guarded
    answer = client.request(method, path, headers={"authorization": f"Bearer {token}"})
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers[name] == value
    assert answer.headers["cache-control"] in ("no-store", "no-cache")
    assert "location" not in answer.headers or answer.headers["location"].startswith("/login")
    if ".." in path or "%" in path or "etc" in path:
        assert answer.status_code in (403, 404, 405)


def test_content_security_policy_forbids_inline_code_and_frames() -> None:
    policy = SECURITY_HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert SECURITY_HEADERS["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("origin", ["null", "http://[", "http://evil.example", "https://board", ""])
def test_any_other_origin_is_cross_site(origin: str) -> None:
    assert is_cross_site({"origin": origin, "host": "board.example"})


def test_malformed_origin_is_rejected_with_a_403(guarded: tuple[TestClient, str]) -> None:
    client, _ = guarded
    answer = client.post("/login", data={"token": "x"}, headers={"origin": "http://["})
    assert answer.status_code == 403


def test_user_names_that_are_too_long_are_rejected(tmp_path: Path) -> None:
    app = make_app(tmp_path, dashboard_auth="proxy", dashboard_proxy_addresses="10.0.0.1")
    client = TestClient(app, BOARD, client=("10.0.0.1", 5000))
    for length, status in ((254, 200), (255, 401)):
        headers = {"x-forwarded-user": "a" * length}
        assert client.get("/api/v1/meta", headers=headers).status_code == status
