"""Clients that write a whole body before they read get the response, and not a reset."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from dashboard.predicting import MAX_BODY_BYTES
from dashboard.protocol import LingeringTransport, TimeoutProtocol
from tests.support.dashboard_kit import (
    StaticModel,
    make_app,
    make_transaction,
    serve,
    tiny_bundle,
)
from tests.support.waiting import wait_until

_DEADLINE_SECONDS = 120.0
_LONG_SECONDS = 3600.0
_ELEVEN_MB = 11 * 1024 * 1024
_WHOLE = [b"Content-Length: %d\r\n\r\n" % _ELEVEN_MB, b" " * _ELEVEN_MB]
HEAD = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(TimeoutProtocol, "head_seconds", _LONG_SECONDS)
    monkeypatch.setattr(LingeringTransport, "linger_seconds", _LONG_SECONDS)
    with serve(make_app(tmp_path, model=StaticModel(tiny_bundle()))) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        yield host, int(port)
    assert not LingeringTransport._lingering


def connected(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, _DEADLINE_SECONDS)


def send_then_read(address: tuple[str, int], *parts: bytes) -> str:
    """Write everything, then read until the server closes. A reset fails the test."""
    with connected(address) as client:
        for part in parts:
            client.sendall(part)
        response = b""
        while data := client.recv(65_536):
            response += data
    return response.decode("latin-1")


def _chunks(count: int) -> list[bytes]:
    return [b"100000\r\n" + b" " * 0x100000 + b"\r\n"] * count


@pytest.mark.parametrize(
    ("status", "parts"),
    [
        (413, _WHOLE),
        (413, [b"Transfer-Encoding: chunked\r\n\r\n", *_chunks(12), b"0\r\n\r\n"]),
        (413, [b"Transfer-Encoding: chunked\r\n\r\n", *_chunks(40)]),
        (415, [b"Content-Encoding: br\r\n", *_WHOLE]),
        (403, [b"Sec-Fetch-Site: cross-site\r\nConnection: close\r\n", *_WHOLE]),
    ],
    ids=["length", "chunked", "chunked without an end", "coding", "cross-site"],
)
def test_client_that_writes_before_it_reads_gets_the_response(
    address: tuple[str, int], status: int, parts: list[bytes]
) -> None:
    response = send_then_read(address, HEAD, *parts)
    assert response.startswith(f"HTTP/1.1 {status}")
    assert response.endswith("}")


def test_headers_beyond_the_limit_get_the_response(address: tuple[str, int]) -> None:
    response = send_then_read(address, b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 8_000_000)
    assert response.startswith("HTTP/1.1 400")


def _send_until_reset(client: socket.socket, most: int) -> int:
    sent = 0
    try:
        while sent < most:
            sent += client.send(b" " * 1_000_000)
    except ConnectionError:
        pass
    return sent


def test_client_that_never_stops_sending_is_cut_off(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LingeringTransport, "linger_bytes", 4 * 1024 * 1024)
    with connected(address) as client:
        client.sendall(HEAD + b"Content-Length: 100000000000\r\n\r\n")
        sent = _send_until_reset(client, 1024 * MAX_BODY_BYTES)
    assert sent < 64 * 1024 * 1024  # the limit and what the sockets buffer


def test_client_that_keeps_the_connection_open_is_cut_off_after_a_time(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LingeringTransport, "linger_seconds", 0.1)
    with connected(address) as client:
        client.sendall(HEAD + b"Content-Length: 100000000000\r\n\r\n ")
        while client.recv(65_536):
            pass
        wait_until(lambda: _is_reset(client), what="the connection to be closed")


def _is_reset(client: socket.socket) -> bool:
    try:
        client.send(b" ")
    except ConnectionError:
        return True
    return False


def test_lingering_connections_are_limited(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LingeringTransport, "max_lingering", 1)
    refused = HEAD + b"Content-Length: 100000000000\r\n\r\n"
    with connected(address) as first, connected(address) as second:
        for client in (first, second):
            client.sendall(refused)
            while client.recv(65_536):
                pass
        wait_until(lambda: _is_reset(second), what="the second connection to be closed")
        assert len(LingeringTransport._lingering) == 1
        first.send(b" ")


def test_shutdown_does_not_wait_for_lingering_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LingeringTransport, "linger_seconds", _LONG_SECONDS)
    with serve(make_app(tmp_path, model=StaticModel(tiny_bundle()))) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        client = connected((host, int(port)))
        client.sendall(HEAD + b"Content-Length: 100000000000\r\n\r\n")
        while client.recv(65_536):
            pass
        assert LingeringTransport._lingering
    # `serve` has joined the server's thread, with the client still connected.
    client.close()
    wait_until(lambda: not LingeringTransport._lingering, what="no lingering connection")


def test_compressed_request_is_scored_over_a_socket(address: tuple[str, int]) -> None:
    body = gzip.compress(orjson.dumps({"transactions": [make_transaction()]}))
    head = b"Content-Encoding: gzip\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    response = send_then_read(address, HEAD + head % len(body), body)
    assert response.startswith("HTTP/1.1 200")
    assert '"transaction_id":1' in response


def test_slow_upload_is_refused_while_others_are_served(address: tuple[str, int]) -> None:
    """A refused upload that goes on does not keep the loop from serving others."""
    stop = threading.Event()

    def upload() -> None:
        with connected(address) as client:
            client.sendall(HEAD + b"Content-Length: 100000000000\r\n\r\n")
            try:
                while not stop.is_set():
                    client.sendall(b" " * 65_536)
            except ConnectionError:
                pass

    thread = threading.Thread(target=upload)
    thread.start()
    try:
        request = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        for _ in range(20):
            assert send_then_read(address, request).startswith("HTTP/1.1 200")
    finally:
        stop.set()
        thread.join(_DEADLINE_SECONDS)
    assert not thread.is_alive()
