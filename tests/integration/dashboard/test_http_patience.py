"""Clients that send half a request, too much of one, or none, over real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboard.protocol import PatientProtocol
from dashboard.web import body
from dashboard.web.auth import HEAD_MAX_BYTES
from dashboard.web.headers import SECURITY_HEADERS
from tests.support.dashboard_kit import StaticModel, make_app, serve, tiny_bundle
from tests.support.waiting import wait_until

_DEADLINE_SECONDS = 120.0
_SHORT_SECONDS = 0.3
_LONG_SECONDS = 3600.0


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """A dashboard that cuts nobody short within a test, however slow this machine is."""
    monkeypatch.setattr(PatientProtocol, "head_seconds", _LONG_SECONDS)
    monkeypatch.setattr(body, "BODY_SECONDS", _LONG_SECONDS)
    with serve(make_app(tmp_path, model=StaticModel(tiny_bundle()))) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        yield host, int(port)


@pytest.fixture
def short_heads(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """It has little patience with headers."""
    monkeypatch.setattr(PatientProtocol, "head_seconds", _SHORT_SECONDS)
    return address


@pytest.fixture
def short_bodies(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """It has little patience with bodies."""
    monkeypatch.setattr(body, "BODY_SECONDS", _SHORT_SECONDS)
    return address


def connected(address: tuple[str, int]) -> socket.socket:
    """Its calls end within this machine's patience."""
    return socket.create_connection(address, _DEADLINE_SECONDS)


def answer_of(client: socket.socket) -> bytes:
    """One whole answer, of which we know that it is an object."""
    answer = b""
    while not answer.endswith(b"}"):
        part = client.recv(65_536)
        assert part, answer
        answer += part
    return answer


def exchange(address: tuple[str, int], *sent: bytes) -> str:
    """What comes back until the server closes the connection; it must."""
    with connected(address) as client:
        answer = b""
        try:
            for part in sent:
                client.sendall(part)
            while data := client.recv(65_536):
                answer += data
        except ConnectionError:  # closed while we still had something to say
            pass
        return answer.decode("latin-1")


@pytest.mark.parametrize(
    "sent", [b"", b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"GET /livez HTT", b"P"]
)
def test_headers_that_never_end_cost_a_connection_for_a_moment_only(
    short_heads: tuple[str, int], sent: bytes
) -> None:
    assert exchange(short_heads, sent) == ""


def test_second_request_of_a_connection_is_waited_for_no_longer(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(address) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert answer_of(client).startswith(b"HTTP/1.1 200")
        monkeypatch.setattr(PatientProtocol, "head_seconds", _SHORT_SECONDS)
        client.sendall(b"GET /livez HTTP/1.1\r\nX-Slow: ")
        assert client.recv(65_536) == b""


def test_body_that_never_comes_is_answered_408(short_bodies: tuple[str, int]) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{"
    answer = exchange(short_bodies, head)
    assert answer.startswith("HTTP/1.1 408")
    assert "application/problem+json" in answer


def test_chunks_without_end_are_answered_413(address: tuple[str, int]) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    answer = exchange(address, head, *[chunk] * 12)
    assert answer == "" or answer.startswith("HTTP/1.1 413")


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 100_000,
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nA: b\x00c\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
    ids=["no HTTP", "endless header", "control character", "two lengths"],
)
def test_what_is_no_request_gets_a_problem_with_the_security_headers(
    address: tuple[str, int], sent: bytes
) -> None:
    answer = exchange(address, sent)
    assert answer.startswith("HTTP/1.1 400")
    assert "application/problem+json" in answer
    for name in SECURITY_HEADERS:
        assert f"\r\n{name.lower()}: " in answer.lower()


def test_headers_that_come_at_once_are_limited_too(address: tuple[str, int]) -> None:
    long = b"X-Long: " + b"x" * HEAD_MAX_BYTES + b"\r\n"
    head = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    assert exchange(address, head + long + b"\r\n").startswith("HTTP/1.1 431")
    assert exchange(address, head + b"\r\n").startswith("HTTP/1.1 200")


def test_both_lengths_at_once_are_no_way_to_smuggle_a_request(address: tuple[str, int]) -> None:
    sent = (
        b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert exchange(address, sent).count("HTTP/1.1 200") <= 1


def test_body_that_nobody_reads_holds_no_connection(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    head = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n"
    with connected(address) as client:
        client.sendall(head)
        answer_of(client)
        monkeypatch.setattr(PatientProtocol, "head_seconds", _SHORT_SECONDS)
        client.sendall(b"x")  # ends the wait for the next request, and begins another
        assert client.recv(65_536) == b""


def test_connections_are_limited_and_the_rest_told(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PatientProtocol, "max_connections", 2)
    with socket.create_connection(address), socket.create_connection(address):
        answer = exchange(address)
    assert answer.startswith("HTTP/1.1 503")
    assert "content-security-policy" in answer.lower()
    whole = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    wait_until(lambda: exchange(address, whole).startswith("HTTP/1.1 200"), what="room again")


def test_patient_client_is_served_as_ever(address: tuple[str, int]) -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with connected(address) as client:
        for _ in range(50):
            client.sendall(request)
            assert answer_of(client).startswith(b"HTTP/1.1 200")
