"""The server of probes and metrics, with clients that never finish."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from stream_scorer.observability import http_server, probes
from stream_scorer.observability.http_server import OPEN_MAX, THREADS_MAX
from stream_scorer.observability.probes import Health, HealthServer
from tests.support.waiting import wait_until

METRICS = b"some_metric 1\n"


class Blocked:
    """Metrics that take until ``released``."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.waiting = 0

    def __call__(self) -> bytes:
        self.waiting += 1
        assert self.released.wait(60)
        return METRICS


@pytest.fixture
def server() -> Iterator[HealthServer]:
    server = HealthServer("127.0.0.1", 0, Health(lambda: True), lambda: METRICS)
    server.start()
    yield server
    server.stop()


def ask(server: HealthServer, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def serving_threads() -> int:
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def test_clients_that_never_finish_keep_no_probe_out(server: HealthServer) -> None:
    with ExitStack() as clients:
        for _ in range(4 * OPEN_MAX):
            client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
            clients.enter_context(client)
            client.sendall(b"GET /livez HTTP/1.0\r\nX: ")  # and no more
        assert ask(server, "/livez")[0] == 200
        assert ask(server, "/metrics") == (200, METRICS)
        wait_until(lambda: serving_threads() <= OPEN_MAX, what="the end of the oldest connections")


def test_number_of_threads_is_bounded_while_each_is_busy() -> None:
    metrics = Blocked()
    server = HealthServer("127.0.0.1", 0, Health(lambda: True), metrics)
    server.start()
    with ExitStack() as clients:
        for _ in range(2 * THREADS_MAX):
            client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
            clients.enter_context(client)
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        wait_until(lambda: metrics.waiting == THREADS_MAX, what="a busy thread for each")
        assert client.recv(1) == b""  # the last one was refused at once
        assert serving_threads() == THREADS_MAX
        metrics.released.set()
        wait_until(lambda: serving_threads() == 0, what="the end of the threads")
    assert ask(server, "/metrics") == (200, METRICS)
    server.stop()


def test_connection_that_lasts_too_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "CONNECTION_SECONDS", 0.1)
    monkeypatch.setattr(probes, "_CLIENT_SECONDS", 3600)  # the client's silence does not end it
    server = HealthServer("127.0.0.1", 0, Health(lambda: True), lambda: METRICS)
    server.start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=90) as client:
        client.sendall(b"GET /livez HTTP/1.0\r\n")
        assert client.recv(1) == b""
    server.stop()


def test_each_request_gives_its_place_back(server: HealthServer) -> None:
    for _ in range(3 * THREADS_MAX):
        assert ask(server, "/readyz")[0] in (200, 503)
