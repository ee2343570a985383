"""uvicorn's HTTP/1.1 protocol with a timeout for request headers and a connection limit."""

from __future__ import annotations

import asyncio
import http
from typing import Final

import h11
import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol

from dashboard.web.headers import SECURITY_HEADERS
from dashboard.web.problems import PROBLEM_JSON

HEAD_SECONDS: Final = 10.0
"""From the start of a connection, or the first byte of a request, to the end of its headers.
Without this timeout one client can occupy every connection by sending a byte now and then
(Slowloris)."""

MAX_CONNECTIONS: Final = 900
"""Further connections get a 503. Below 1,024, the usual limit of open files per process."""


class TimeoutProtocol(H11Protocol):
    """Closes a connection whose headers do not arrive in time.

    Malformed requests get a problem response with the security headers.
    """

    head_seconds = HEAD_SECONDS
    max_connections = MAX_CONNECTIONS
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timeout for the first request, or refuse the connection."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._refuse(503, "too many open connections")
            return
        self._start_timeout()

    def data_received(self, data: bytes) -> None:
        """Feed the parser. The timeout ends when the headers are complete."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if not self._is_awaiting_request():
            self._cancel_timeout()
        elif self._head_timer is None and self.timeout_keep_alive_task is None:
            self._start_timeout()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timeout."""
        self._cancel_timeout()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Respond to a malformed request, or one whose headers are too large."""
        self._refuse(400, msg.lower())

    def _refuse(self, status: int, detail: str) -> None:
        """Respond without calling the application, and close the connection."""
        title = http.HTTPStatus(status).phrase
        body = orjson.dumps(
            {"type": "about:blank", "title": title, "status": status, "detail": detail}
        )
        headers = [
            *((name.lower(), value) for name, value in SECURITY_HEADERS.items()),
            ("cache-control", "no-store"),
            ("content-type", PROBLEM_JSON),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            response = h11.Response(status_code=status, headers=headers, reason=title.encode())
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _start_timeout(self) -> None:
        self._head_timer = self.loop.call_later(self.head_seconds, self._on_timeout)

    def _cancel_timeout(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _on_timeout(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing() and self._is_awaiting_request():
            self.transport.close()

    def _is_awaiting_request(self) -> bool:
        """Whether headers are due, or the rest of a body that no handler reads any more."""
        is_answered = self.cycle is not None and self.cycle.response_complete
        return self.conn.their_state is h11.IDLE or is_answered
