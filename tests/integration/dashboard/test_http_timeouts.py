"""Clients that send incomplete, oversized or malformed requests, over real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dashboard.connections import CLIENT_CONNECTIONS, Limits
from dashboard.protocol import TimeoutProtocol
from dashboard.web import body
from dashboard.web.auth import HEAD_MAX_BYTES
from dashboard.web.headers import SECURITY_HEADERS
from dashboard.web.tokens import make_token
from tests.support.dashboard_kit import StaticModel, make_app, serve, tiny_bundle
from tests.support.waiting import wait_until

_DEADLINE_SECONDS = 120.0
_SHORT_SECONDS = 0.3
_LONG_SECONDS = 3600.0


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """A dashboard whose timeouts are longer than any test, however slow this machine is."""
    monkeypatch.setattr(TimeoutProtocol, "head_seconds", _LONG_SECONDS)
    monkeypatch.setattr(body, "BODY_SECONDS", _LONG_SECONDS)
    with serve(make_app(tmp_path, model=StaticModel(tiny_bundle()))) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        yield host, int(port)


@pytest.fixture
def short_heads(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """The same dashboard with a short timeout for headers."""
    monkeypatch.setattr(TimeoutProtocol, "head_seconds", _SHORT_SECONDS)
    return address


@pytest.fixture
def short_bodies(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """The same dashboard with a short timeout for bodies."""
    monkeypatch.setattr(body, "BODY_SECONDS", _SHORT_SECONDS)
    return address


def connected(address: tuple[str, int]) -> socket.socket:
    """A connection whose calls have a long timeout."""
    return socket.create_connection(address, _DEADLINE_SECONDS)


def read_response(client: socket.socket) -> bytes:
    """One complete response whose body is a JSON object."""
    response = b""
    while not response.endswith(b"}"):
        part = client.recv(65_536)
        assert part, response
        response += part
    return response


def exchange(address: tuple[str, int], *sent: bytes) -> str:
    """What the server sends until it closes the connection."""
    with connected(address) as client:
        response = b""
        try:
            for part in sent:
                client.sendall(part)
            while data := client.recv(65_536):
                response += data
        except ConnectionError:  # closed before everything was sent
            pass
        return response.decode("latin-1")


@pytest.mark.parametrize(
    "sent", [b"", b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"GET /livez HTT", b"P"]
)
def test_connection_with_incomplete_headers_is_closed_after_the_timeout(
    short_heads: tuple[str, int], sent: bytes
) -> None:
    assert exchange(short_heads, sent) == ""


def test_timeout_applies_to_later_requests_of_a_connection(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(address) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert read_response(client).startswith(b"HTTP/1.1 200")
        monkeypatch.setattr(TimeoutProtocol, "head_seconds", _SHORT_SECONDS)
        client.sendall(b"GET /livez HTTP/1.1\r\nX-Slow: ")
        assert client.recv(65_536) == b""


def test_incomplete_body_gets_a_408_after_the_timeout(short_bodies: tuple[str, int]) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{"
    response = exchange(short_bodies, head)
    assert response.startswith("HTTP/1.1 408")
    assert "application/problem+json" in response


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
def test_malformed_request_gets_a_problem_with_the_security_headers(
    address: tuple[str, int], sent: bytes
) -> None:
    response = exchange(address, sent)
    assert response.startswith("HTTP/1.1 400")
    assert "application/problem+json" in response
    for name in SECURITY_HEADERS:
        assert f"\r\n{name.lower()}: " in response.lower()


def test_headers_that_arrive_in_one_part_are_limited_too(address: tuple[str, int]) -> None:
    long = b"X-Long: " + b"x" * HEAD_MAX_BYTES + b"\r\n"
    head = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    assert exchange(address, head + long + b"\r\n").startswith("HTTP/1.1 431")
    assert exchange(address, head + b"\r\n").startswith("HTTP/1.1 200")


def test_content_length_with_chunked_encoding_cannot_smuggle_a_request(
    address: tuple[str, int],
) -> None:
    sent = (
        b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert exchange(address, sent).count("HTTP/1.1 200") <= 1


def test_connection_with_an_unread_body_is_closed_after_the_timeout(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    head = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n"
    with connected(address) as client:
        client.sendall(head)
        read_response(client)
        monkeypatch.setattr(TimeoutProtocol, "head_seconds", _SHORT_SECONDS)
        client.sendall(b"x")  # ends the keep-alive timeout and starts the header timeout
        assert client.recv(65_536) == b""


def request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()


def test_connections_beyond_the_limit_answer_probes_alone(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TimeoutProtocol, "limits", Limits(total=2))
    with connected(address), connected(address):
        wait_until(
            lambda: exchange(address, request("/api/v1/meta")).startswith("HTTP/1.1 503"),
            what="the limit",
        )
        response = exchange(address, request("/login"))
        assert "too many open connections" in response
        assert "content-security-policy" in response.lower()
        assert exchange(address, request("/livez")).startswith("HTTP/1.1 200")
        assert exchange(address, request("/metrics")).startswith("HTTP/1.1 200")
    wait_until(
        lambda: exchange(address, request("/api/v1/meta")).startswith("HTTP/1.1 200"),
        what="a free connection",
    )


def test_hundreds_of_slow_bodies_of_one_client_leave_room_for_probes_and_others(
    tmp_path: Path,
) -> None:
    path, token = tmp_path / "tokens", make_token("ana", "analyst")
    path.write_text(token[1] + "\n")
    head = b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nt"
    app = make_app(
        tmp_path,
        model=StaticModel(tiny_bundle()),
        dashboard_auth="token",
        dashboard_tokens_file=path,
    )
    with serve(app) as url, ExitStack() as stack:
        host, _, port = url.removeprefix("http://").partition(":")
        slow = []
        for _ in range(CLIENT_CONNECTIONS + 100):
            client = stack.enter_context(connected((host, int(port))))
            client.sendall(head)
            slow.append(client)
        refused = read_response(slow[-1])
        assert refused.startswith(b"HTTP/1.1 503")
        assert b"this address has 300 open connections" in refused
        wait_until(lambda: app.state.parts.board.status.state == "live", what="the feed")
        for probe in ("/livez", "/readyz", "/metrics"):
            assert exchange((host, int(port)), request(probe)).startswith("HTTP/1.1 200"), probe
        bearer = request("/api/v1/meta").replace(
            b"\r\n\r\n", f"\r\nAuthorization: Bearer {token[0]}\r\n\r\n".encode()
        )
        other = stack.enter_context(
            socket.create_connection(
                (host, int(port)), _DEADLINE_SECONDS, source_address=("127.0.0.2", 0)
            )
        )
        other.sendall(bearer)
        assert other.recv(65_536).startswith(b"HTTP/1.1 200")


def test_keep_alive_client_is_served_many_times(address: tuple[str, int]) -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with connected(address) as client:
        for _ in range(50):
            client.sendall(request)
            assert read_response(client).startswith(b"HTTP/1.1 200")
