"""The headers of ``/predict`` that say what a client may still send."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from dashboard.web import predict
from dashboard.web.limits import RateLimiter
from tests.support.dashboard_kit import StaticModel, make_app, make_transaction, tiny_bundle


def predicting(folder: Path, rows_per_second: int) -> FastAPI:
    return make_app(
        folder,
        model=StaticModel(tiny_bundle()),
        dashboard_predict_rows_per_second=rows_per_second,
    )


def body(rows: int) -> bytes:
    return orjson.dumps({"transactions": [make_transaction(i) for i in range(rows)]})


def test_headers_say_what_is_left_and_when_to_go_on() -> None:
    now = 100.0
    limiter = RateLimiter(10.0, 20.0, lambda: now)
    policy = '"rows";q=20;w=2'
    for charged, left in ((0, "r=20;t=0"), (5, "r=15;t=1"), (15, "r=0;t=1"), (30, "r=0;t=4")):
        limiter.charge("ana", charged)
        expected = {"RateLimit-Policy": policy, "RateLimit": f'"rows";{left}'}
        assert limiter.headers_of("ana") == expected
    assert limiter.headers_of("bob")["RateLimit"] == '"rows";r=20;t=0'
    now += 3.05  # half a row: not enough for one
    assert limiter.headers_of("ana")["RateLimit"] == '"rows";r=0;t=1'
    assert RateLimiter(0, 0).headers_of("ana") == {}


def test_every_answer_of_predict_has_the_headers_of_its_limit(tmp_path: Path) -> None:
    app = predicting(tmp_path, 10)
    with TestClient(app, "http://127.0.0.1") as client:
        scored = client.post("/predict", content=body(8))
        invalid = client.post("/predict", content=b"{}")
        assert (scored.status_code, invalid.status_code) == (200, 422)
        for answer in (scored, invalid):
            assert answer.headers["ratelimit-policy"] == '"rows";q=20;w=2'
            assert re.fullmatch(r'"rows";r=1[0-9];t=1', answer.headers["ratelimit"])
        assert client.post("/predict", content=body(300)).status_code == 200
        refused = client.post("/predict", content=body(1))
        assert refused.status_code == 429
        assert refused.headers["ratelimit"] == f'"rows";r=0;t={refused.headers["retry-after"]}'
    (route,) = predict.router.routes
    assert isinstance(route, APIRoute)
    for status in (200, 429):
        assert route.responses[status]["headers"].keys() == {"RateLimit-Policy", "RateLimit"}
