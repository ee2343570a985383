"""HTTP/1.1 with little patience for requests that never come whole, on top of uvicorn's."""

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
"""From a connection's start, or a request's first byte, to the end of its headers. Without it one
client can hold every connection by sending a byte now and then (slow loris)."""

MAX_CONNECTIONS: Final = 900
"""More are answered 503: below the 1,024 files most systems let a process open."""


class PatientProtocol(H11Protocol):
    """Cuts connections whose headers do not arrive in time, and refuses what is no HTTP as a
    problem with the security headers.
    """  # noqa: D205 - one sentence

    head_seconds = HEAD_SECONDS
    max_connections = MAX_CONNECTIONS
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for the first request."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._refuse(503, "as many connections are open as this process serves")
            return
        self._head_timer = self.loop.call_later(self.head_seconds, self._cut)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; the wait ends with the headers."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if not self._is_waiting():
            self._stop_waiting()
        elif self._head_timer is None and self.timeout_keep_alive_task is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self._cut)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the wait."""
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP request, or has headers without end."""
        self._refuse(400, msg.lower())

    def _refuse(self, status: int, detail: str) -> None:
        """Answer without the application, and close."""
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

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _cut(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing() and self._is_waiting():
            self.transport.close()

    def _is_waiting(self) -> bool:
        """For headers, or for the rest of a body that nobody reads any more."""
        is_answered = self.cycle is not None and self.cycle.response_complete
        return self.conn.their_state is h11.IDLE or is_answered
