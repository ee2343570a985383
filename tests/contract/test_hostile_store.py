"""Stores that report wrong sizes, never end, or contain entries that are not files."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from urllib3 import HTTPResponse

from stream_scorer.errors import StoreError
from stream_scorer.model.store import file_store, s3_store
from stream_scorer.model.store.file_store import FileObjects, FileStore
from stream_scorer.model.store.s3_store import S3Store
from tests.support.stores import S3Place, rest, s3_place

POINTER_LIMIT = 64 * 1024


class Endless(io.RawIOBase):
    """An endless stream of bytes; ``given`` counts the bytes read."""

    def __init__(self, byte: bytes = b"1") -> None:
        super().__init__()
        self.byte, self.given = byte, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.given += len(buffer)
        assert self.given < 50_000_000, "read without a limit"
        buffer[:] = self.byte * len(buffer)
        return len(buffer)


def answering(place: S3Place, headers: dict[str, str], body: Any) -> S3Store:
    """A store that answers its next reads with this response."""

    def answer(**_: Any) -> Any:
        raw: Any = HTTPResponse(body, preload_content=False)
        given: Any = {"ETag": '"e"'} | headers
        return AWSResponse("http://s3", 200, given, raw)

    store = place.open()
    store.publish(b"m", rest)
    place.client.meta.events.register("before-send.s3.GetObject", answer)
    assert isinstance(store, S3Store)
    return store


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "2"}], ids=["chunked", "too little"])
def test_response_with_no_or_too_small_a_length_is_read_up_to_the_limit(
    s3_endpoint: str, headers: dict[str, str]
) -> None:
    body = Endless()
    store = answering(s3_place(s3_endpoint), headers, body)
    with pytest.raises(StoreError, match=f"more than {POINTER_LIMIT} bytes"):
        store.current()
    assert body.given < 3 * s3_store.READ_BLOCK_BYTES


def test_response_with_too_large_a_length_is_refused_unread(s3_endpoint: str) -> None:
    body = Endless()
    store = answering(s3_place(s3_endpoint), {"Content-Length": str(2**50)}, body)
    with pytest.raises(StoreError, match=f"{2**50} bytes; the limit is {POINTER_LIMIT}"):
        store.current()
    assert body.given == 0


def test_response_without_a_length_is_read_completely(s3_endpoint: str) -> None:
    store = answering(s3_place(s3_endpoint), {}, io.BytesIO(b"v1"))
    pointer = store.current()
    assert pointer is not None
    assert pointer.version == "v1"


def test_server_that_ignores_a_range_is_read_no_further_than_its_end(s3_endpoint: str) -> None:
    body = Endless()
    place = s3_place(s3_endpoint)
    answering(place, {"Content-Length": str(2**50)}, body)
    assert place.objects.read_head("history/x", 1000) == b"1" * 1000
    assert body.given < 3 * s3_store.READ_BLOCK_BYTES


def test_response_that_never_ends_times_out(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_store, "READ_SECONDS", -1.0)
    store = answering(s3_place(s3_endpoint), {}, io.BytesIO(b"v1"))
    with pytest.raises(StoreError, match=r"reading .* took more than"):
        store.current()


def test_endless_listing_is_refused(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = s3_place(s3_endpoint)
    store = place.open()
    store.publish(b"m", rest)
    monkeypatch.setattr(s3_store, "KEYS_MAX", 2)
    with pytest.raises(StoreError, match="more than 2 objects in models/"):
        store.versions()


def test_endless_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(tmp_path)
    store.publish(b"m", rest)
    monkeypatch.setattr(file_store, "KEYS_MAX", 2)
    with pytest.raises(StoreError, match="more than 2 files"):
        store.versions()


def test_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.publish(b"m", rest)
    (tmp_path / "models/v1/metadata.json").unlink()
    os.mkfifo(tmp_path / "models/v1/metadata.json")
    with pytest.raises(StoreError, match="not a regular file"):
        store.fetch("v1")


def test_head_of_a_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.snap")
    with pytest.raises(StoreError, match=r"x\.snap is not a regular file"):
        FileObjects(tmp_path).read_head("x.snap", 1000)


def test_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests/latest.txt").symlink_to("/dev/zero")
    with pytest.raises(StoreError, match="not a regular file"):
        FileStore(tmp_path).current()
