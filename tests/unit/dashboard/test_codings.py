"""Compressed request bodies: decompressed within a limit, or refused by name."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from fastapi.testclient import TestClient

from dashboard.predicting import MAX_BODY_BYTES
from dashboard.web.body import MAX_MEMBERS, MAX_RATIO, inflate
from dashboard.web.problems import Problem
from tests.support.dashboard_kit import StaticModel, make_app, make_transaction, tiny_bundle

BODY = orjson.dumps({"transactions": [make_transaction()]})


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(
        make_app(tmp_path, model=StaticModel(tiny_bundle())), "http://127.0.0.1"
    ) as client:
        yield client


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", " gzip "])
def test_compressed_body_has_the_same_scores(client: TestClient, coding: str) -> None:
    plain = client.post("/predict", content=BODY)
    headers = {"Content-Encoding": coding}
    answer = client.post("/predict", content=gzip.compress(BODY, mtime=0), headers=headers)
    assert (answer.status_code, answer.json()) == (200, plain.json())


@pytest.mark.parametrize("coding", ["", "identity"])
def test_body_without_a_coding_is_read_as_it_is(client: TestClient, coding: str) -> None:
    answer = client.post("/predict", content=BODY, headers={"Content-Encoding": coding})
    assert answer.status_code == 200


@pytest.mark.parametrize("coding", ["deflate", "br", "zstd", "gzip, gzip", "x" * 500])
def test_other_codings_are_refused_and_the_accepted_one_is_named(
    client: TestClient, coding: str
) -> None:
    answer = client.post("/predict", content=BODY, headers={"Content-Encoding": coding})
    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "gzip"
    assert answer.json()["detail"] == (
        f"Content-Encoding {coding[:40]!r} is not supported: send gzip, or no Content-Encoding"
    )


def test_form_takes_no_coding(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("alice:viewer:" + "0" * 64 + "\n", "utf-8")
    app = make_app(tmp_path, dashboard_auth="token", dashboard_tokens_file=tokens)
    with TestClient(app, "http://127.0.0.1") as client:
        headers = {"Content-Encoding": "gzip", "Origin": "http://127.0.0.1"}
        answer = client.post("/login", content=gzip.compress(b"token=x", mtime=0), headers=headers)
    assert answer.status_code == 415
    assert answer.json()["detail"].endswith("send no Content-Encoding")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (BODY, "incorrect header check"),
        (b"", "the body ends early"),
        (gzip.compress(BODY, mtime=0)[:-1], "the body ends early"),
        (gzip.compress(BODY, mtime=0) + b"x", "the body ends early"),
        (gzip.compress(BODY, mtime=0) + b"xyz", "incorrect header check"),
        (gzip.compress(BODY, mtime=0)[:-8] + b"\0" * 8, "incorrect data check"),
        (gzip.compress(b"", mtime=0) * (MAX_MEMBERS + 1), "more than 64 members"),
    ],
)
def test_damaged_body_is_refused_with_the_reason(
    client: TestClient, body: bytes, reason: str
) -> None:
    answer = client.post("/predict", content=body, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("the body is not valid gzip: ")
    assert reason in answer.json()["detail"]


def test_content_is_limited_to_the_byte() -> None:
    content = random.Random(1).randbytes(1000)
    halves = gzip.compress(content[:600], mtime=0) + gzip.compress(content[600:], mtime=0)
    for body in (gzip.compress(content, mtime=0), halves):
        assert inflate(body, 1000) == content
        with pytest.raises(Problem) as caught:
            inflate(body, 999)
        assert caught.value.status == 413
        assert "larger than 999 bytes" in caught.value.detail


def test_decompression_bomb_costs_no_more_memory_than_the_limit(client: TestClient) -> None:
    bomb = gzip.compress(b" " * (8 * MAX_BODY_BYTES), 1, mtime=0)
    assert len(bomb) * MAX_RATIO >= 8 * MAX_BODY_BYTES
    tracemalloc.start()
    try:
        answer = client.post("/predict", content=bomb, headers={"Content-Encoding": "gzip"})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.status_code == 413
    assert "decompressed" in answer.json()["detail"]
    assert peak < 4 * MAX_BODY_BYTES


def test_zlib_stream_is_not_taken_for_gzip() -> None:
    with pytest.raises(Problem, match="not valid gzip"):
        inflate(zlib.compress(BODY), 1000)


@pytest.mark.parametrize(
    ("sent", "place"),
    [
        (b'{"transactions": [{"card4": "vi\xffsa"}]}', "line 1 column 32 (byte 31)"),
        ('{\n "é": "'.encode() + b'\xff"}', "line 2 column 8 (byte 10)"),
        (b'{"a": NaN, "b": "\xff"}', "line 1 column 18 (byte 17)"),
        (b"\xff", "line 1 column 1 (byte 0)"),
    ],
)
def test_byte_that_is_not_utf8_is_named_at_its_place(
    client: TestClient, sent: bytes, place: str
) -> None:
    answer = client.post("/predict", content=sent)
    assert answer.status_code == 422
    assert f"byte 0xff is not valid UTF-8: {place}" in answer.json()["detail"]


def test_wrong_character_is_named_at_its_place(client: TestClient) -> None:
    answer = client.post("/predict", content=b'{\n "transactions": [}')
    assert answer.status_code == 422
    assert "line 2 column 19" in answer.json()["detail"]
