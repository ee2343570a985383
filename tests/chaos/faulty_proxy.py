"""An HTTP proxy for an S3 API that can be slow, fail, or truncate answers."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

SLOW_SECONDS: Final = 1.5
_UPSTREAM_SECONDS: Final = 30.0
_HOP_BY_HOP: Final = {"connection", "transfer-encoding", "content-length", "date", "server"}


class Mode(StrEnum):
    """What the proxy does with requests."""

    OK = "ok"
    DOWN = "down"  # connections are closed without an answer
    SLOW = "slow"
    ERROR_500 = "500"
    ERROR_503 = "503"
    CUT = "cut"  # the connection ends in the middle of the body
    TORN = "torn"  # half an object that looks complete


class FaultyProxy:
    """Forwards to ``upstream`` (``http://host:port``) according to ``mode``, which may change."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.mode = Mode.OK
        self.url = ""
        self.requests: list[Mode] = []
        """The mode in effect at each request."""

    def forward(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Status, headers and body of the upstream's answer."""
        connection = http.client.HTTPConnection(self.upstream, timeout=_UPSTREAM_SECONDS)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    """Handles one request according to the proxy's mode."""

    proxy: FaultyProxy

    def _handle(self) -> None:
        mode = self.proxy.mode
        self.proxy.requests.append(mode)
        self.close_connection = True
        if mode is Mode.DOWN:
            return
        if mode in (Mode.ERROR_500, Mode.ERROR_503):
            self._answer(int(mode), [], b"<Error><Code>InternalError</Code></Error>")
            return
        if mode is Mode.SLOW:
            time.sleep(SLOW_SECONDS)
        length = int(self.headers.get("Content-Length") or 0)
        status, headers, body = self.proxy.forward(
            self.command,
            self.path,
            self.rfile.read(length) if length else None,
            dict(self.headers.items()),
        )
        # Only objects are torn, not listings or errors.
        is_object = self.command == "GET" and status == HTTPStatus.OK and is_stored(self.path)
        if is_object and mode in (Mode.TORN, Mode.CUT):
            half = body[: len(body) // 2]
            self._answer(status, headers, half, len(body) if mode is Mode.CUT else None)
        else:
            self._answer(status, headers, body)

    def _answer(
        self, status: int, headers: list[tuple[str, str]], body: bytes, length: int | None = None
    ) -> None:
        with suppress(OSError):  # the client has gone: it was killed, or its request timed out
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _handle  # noqa: N815 - http.server's names

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


def is_stored(path: str) -> bool:
    """Whether a path is that of a model's file, or of an era or snapshot."""
    return "/models/" in path or "/history/" in path


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Ignore it: scorers are killed during requests on purpose."""


@contextmanager
def faulty_proxy(upstream: str) -> Iterator[FaultyProxy]:
    """The proxy, listening on a loopback port."""
    proxy = FaultyProxy(upstream)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
