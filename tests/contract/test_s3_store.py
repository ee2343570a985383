"""Behaviour specific to the store in a bucket: conditional requests and error responses."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from urllib3 import HTTPResponse

from stream_scorer.errors import SettingsError, StoreError
from stream_scorer.model.store.opening import open_store
from stream_scorer.model.store.s3_store import S3Store
from tests.support.stores import S3Place, rest, s3_client, s3_place, store_settings


def test_unchanged_pointer_costs_no_body_on_s3(s3_endpoint: str) -> None:
    place = s3_place(s3_endpoint)
    statuses: list[int] = []
    place.client.meta.events.register(
        "after-call.s3.GetObject",
        lambda http_response, **_: statuses.append(http_response.status_code),
    )
    store = place.open()
    store.publish(b"m", rest)
    promoted = store.promote("v1", None)
    statuses.clear()
    store.current()
    assert store.current() == promoted
    assert statuses[-1] == 304


def test_missing_bucket_is_named(s3_endpoint: str) -> None:
    store = S3Store(s3_client(s3_endpoint), "no-such-bucket")
    attempts: list[Callable[[], object]] = [
        store.current,
        store.versions,
        lambda: store.fetch("v1"),
        lambda: store.publish(b"m", rest),
        lambda: store.promote("v1", None),
        store.rejected,
        lambda: store.reject("v1", {}),
    ]
    for attempt in attempts:
        with pytest.raises(StoreError, match="bucket 'no-such-bucket' does not exist"):
            attempt()


def test_unreachable_endpoint_is_named(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_scorer.runtime.s3.ATTEMPTS", 1)
    client = s3_client("http://127.0.0.1:1")
    with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:1 is not reachable"):
        S3Store(client, "models").current()


def answer_with(
    place: S3Place, operation: str, *answers: tuple[int, str], of: str = ""
) -> list[int]:
    """Answer the next calls of an operation with errors; returns the list of remaining statuses.

    Only calls whose address ends with ``of`` are affected.
    """
    left = [status for status, _ in answers]
    codes = [code for _, code in answers]

    def answer(request: Any, **_: Any) -> Any:
        if not left or not request.url.endswith(of):
            return None
        body = f"<Error><Code>{codes.pop(0)}</Code><Message>m</Message></Error>".encode()
        return response(left.pop(0), {}, body)

    place.client.meta.events.register(f"before-send.s3.{operation}", answer)
    return left


def response(status: int, headers: Any, body: bytes) -> AWSResponse:
    raw: Any = HTTPResponse(io.BytesIO(body), preload_content=False)
    return AWSResponse("http://s3", status, headers, raw)


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "AccessDenied", "access denied: s3:GetObject"),
        (403, "SignatureDoesNotMatch", "check AWS_SECRET_ACCESS_KEY"),
        (403, "", "access denied"),
        (501, "NotImplemented", "does not support conditional writes"),
    ],
)
def test_refusal_says_what_to_do(s3_endpoint: str, status: int, code: str, message: str) -> None:
    place = s3_place(s3_endpoint)
    answer_with(place, "PutObject", (status, code))
    with pytest.raises(StoreError, match=message):
        place.open().publish(b"m", rest)


def test_conditional_write_is_retried_after_a_409(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_scorer.model.store.s3_store.CONFLICT_WAIT_SECONDS", 0.001)
    place = s3_place(s3_endpoint)
    left = answer_with(place, "PutObject", *[(409, "ConditionalRequestConflict")] * 3)
    assert place.open().publish(b"m", rest) == "v1"
    assert left == []


def test_promotion_whose_response_was_lost_is_recognised_as_ours(s3_endpoint: str) -> None:
    place = s3_place(s3_endpoint)
    store = place.open()
    store.publish(b"m", rest)
    store.publish(b"m", rest)
    expected = store.promote("v1", None)
    # The first response is a 503 although the write happened; then the client's retry fails.
    place.objects.overwrite("manifests/latest.txt", b"v2")
    answer_with(place, "PutObject", (503, "SlowDown"), of="latest.txt")
    promoted = store.promote("v2", expected)
    assert store.current() == promoted


def test_truncated_object_is_an_error(s3_endpoint: str) -> None:
    def cut_off(**_: Any) -> Any:
        return response(200, {"Content-Length": "100", "ETag": '"e"'}, b"m" * 50)

    place = s3_place(s3_endpoint)
    store = place.open()
    store.publish(b"m" * 100, rest)
    place.client.meta.events.register("before-send.s3.GetObject", cut_off)
    with pytest.raises(StoreError, match=r"metadata\.json"):
        store.fetch("v1")


def test_endpoint_that_is_not_a_url_is_refused(s3_endpoint: str) -> None:
    with pytest.raises(SettingsError, match="AWS_ENDPOINT_URL_S3='localhost'"):
        open_store(store_settings(model_store_uri="s3://bucket", aws_endpoint_url_s3="localhost"))
