"""HTTP servers that do not work, each on a loopback port: for tests of what waits for them."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_POLL_SECONDS = 0.05
_BLOCK = 16 * 1024

Answer = Callable[[socket.socket, threading.Event], None]


def hang(_: socket.socket, stop: threading.Event) -> None:
    """Accepts the request and never answers."""
    stop.wait()


def drip(connection: socket.socket, stop: threading.Event) -> None:
    """Answers one byte at a time, for as long as anybody listens."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Wait: ")
    while not stop.wait(_POLL_SECONDS):
        connection.sendall(b"x")


def close(connection: socket.socket, stop: threading.Event) -> None:
    """Ends the connection without an answer."""


def refuse(status: str, *headers: str) -> Answer:
    """Answers every request with this status."""

    def answer(connection: socket.socket, stop: threading.Event) -> None:
        lines = (f"HTTP/1.1 {status}", "Content-Length: 2", "Connection: close", *headers)
        connection.sendall("\r\n".join((*lines, "", "no")).encode())

    return answer


@contextmanager
def bad_server(answer: Answer) -> Iterator[int]:
    """Run a server that answers every connection like this; yields its port."""

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(_BLOCK)
            answer(connection, stop)

    stop = threading.Event()
    with _listening(stop, serve) as port:
        yield port


@contextmanager
def slow_link(port: int, bytes_per_second: int) -> Iterator[int]:
    """Run a proxy to ``port`` that forwards requests only so fast; yields its port."""
    step = int(bytes_per_second * _POLL_SECONDS)

    def serve(connection: socket.socket) -> None:
        with (
            connection,
            suppress(OSError),
            socket.create_connection(("127.0.0.1", port)) as server,
            selectors.DefaultSelector() as selector,
        ):
            selector.register(connection, selectors.EVENT_READ)
            selector.register(server, selectors.EVENT_READ)
            while not stop.is_set():
                for key, _ in selector.select(_POLL_SECONDS):
                    is_request = key.fileobj is connection
                    source, target = (connection, server) if is_request else (server, connection)
                    block = source.recv(step if is_request else _BLOCK)
                    if not block:
                        return
                    target.sendall(block)
                    if is_request:
                        stop.wait(len(block) / bytes_per_second)

    stop = threading.Event()
    with _listening(stop, serve) as port_of_link:
        yield port_of_link


@contextmanager
def _listening(stop: threading.Event, serve: Callable[[socket.socket], None]) -> Iterator[int]:
    threads: list[threading.Thread] = []

    def accept() -> None:
        while not stop.is_set():
            with suppress(TimeoutError):
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    with socket.socket() as listener:
        # Little room, so that what the other end has sent is what has been read here.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BLOCK)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(_POLL_SECONDS)
        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            stop.set()
            acceptor.join(30)
            for thread in threads:
                thread.join(30)
