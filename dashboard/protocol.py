"""uvicorn's HTTP/1.1 protocol with a timeout for request headers and limits on connections.

A client that is refused while it is still sending can read the response.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import Callable
from typing import Any, ClassVar, Final

import h11
import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from dashboard.connections import Connections, Limits
from dashboard.settings import Network
from dashboard.web.auth import PROBES
from dashboard.web.headers import SECURITY_HEADERS
from dashboard.web.limits import address_key, is_proxy
from dashboard.web.problems import PROBLEM_JSON

HEAD_SECONDS: Final = 10.0
"""From the start of a connection, or the first byte of a request, to the end of its headers.
Without this timeout one client can occupy every connection by sending a byte now and then
(Slowloris)."""

PROBE_SECONDS: Final = 2.0
"""The same for a connection on which only probes are answered. They send their few headers at once.
"""

LINGER_SECONDS: Final = 10.0
LINGER_BYTES: Final = 64 * 1024 * 1024
"""What is read and discarded after a response, at most. Most clients write a whole body before they
read. If the server closed with unread bytes, the kernel would reset the connection, and the client
would see the reset instead of the response."""

MAX_LINGERING: Final = 50
"""Connections that linger at a time. Any more are closed at once."""


class LingeringTransport(asyncio.Transport):
    """Wraps the transport of one connection.

    Args:
        transport: the transport of the socket.
        is_receiving: whether the client may still be sending. If not, ``close`` closes at once.
    """

    linger_seconds = LINGER_SECONDS
    linger_bytes = LINGER_BYTES
    max_lingering = MAX_LINGERING
    _lingering: ClassVar[set[LingeringTransport]] = set()

    def __init__(self, transport: asyncio.Transport, is_receiving: Callable[[], bool]) -> None:
        super().__init__()
        self._transport = transport
        self._is_receiving = is_receiving
        self._discarded = 0
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Close, after what the client is still sending. A second call closes at once."""
        if self._timer is None and self._is_receiving():
            self.linger()
        else:
            self.close_now()

    def linger(self) -> None:
        """End the response, then discard what the client sends until it closes or a limit."""
        if self._timer is not None or self._transport.is_closing():
            return
        if len(self._lingering) >= self.max_lingering or not self._transport.can_write_eof():
            self.close_now()
            return
        self._lingering.add(self)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self.linger_seconds, self._transport.abort)
        self._transport.resume_reading()  # a large body pauses it
        try:
            self._transport.write_eof()
        except OSError:  # the client has reset the connection
            self.close_now()

    def discard(self, data: bytes) -> None:
        """Count bytes that arrived after ``close``."""
        self._discarded += len(data)
        if self._discarded > self.linger_bytes:
            self._transport.abort()

    def close_now(self) -> None:
        """Close without waiting for the client."""
        self.forget()
        self._transport.close()

    def forget(self) -> None:
        """Cancel the timer. The connection is closed or about to be."""
        self._lingering.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def is_closing(self) -> bool:
        """Whether ``close`` was called, or the connection is lost."""
        return self._timer is not None or self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Information about the socket."""
        return self._transport.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes."""
        self._transport.write(data)

    def pause_reading(self) -> None:
        """Stop reading from the socket."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Continue to read from the socket."""
        self._transport.resume_reading()

    def abort(self) -> None:
        """Close without sending what is buffered."""
        self.forget()
        self._transport.abort()


class ProbesOnly:
    """The application on a connection beyond a limit: answers probes, and refuses the rest."""

    def __init__(self, app: ASGIApp, detail: str) -> None:
        self._app = app
        self._detail = detail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. The connection closes after it."""

        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        if scope["path"] in PROBES:
            await self._app(scope, receive, send_last)
            return
        headers, body = refusal(503, self._detail)
        encoded = [(name.encode(), value.encode()) for name, value in headers]
        start = {"type": "http.response.start", "status": 503, "headers": encoded}
        await send({**start, "headers": [*encoded, (b"retry-after", b"5")]})
        await send({"type": "http.response.body", "body": body})


def refusal(status: int, detail: str) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body of a problem that is sent without calling the application."""
    title = http.HTTPStatus(status).phrase
    body = orjson.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})
    headers = [
        *((name.lower(), value) for name, value in SECURITY_HEADERS.items()),
        ("cache-control", "no-store"),
        ("content-type", PROBLEM_JSON),
        ("content-length", str(len(body))),
        ("connection", "close"),
    ]
    return headers, body


class TimeoutProtocol(H11Protocol):
    """Closes a connection whose headers do not arrive in time.

    Malformed requests get a problem response with the security headers. Beyond the limits, only
    probes are answered.
    """

    head_seconds = HEAD_SECONDS
    probe_seconds = PROBE_SECONDS
    limits = Limits()
    proxies: ClassVar[tuple[Network, ...]] = ()
    open_connections: ClassVar[Connections[TimeoutProtocol]]
    transport: LingeringTransport
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timeout for the first request. Decide which requests will be answered."""
        super().connection_made(LingeringTransport(transport, self._is_receiving_body))
        host = self.client[0] if self.client else ""
        client = None if is_proxy(host, self.proxies) else address_key(host)
        admission = self.open_connections.enter(self, client, self.limits)
        if admission.refusal is not None:
            self.app = ProbesOnly(self.app, admission.refusal)
            self.head_seconds = min(self.head_seconds, self.probe_seconds)
        if admission.displaced is not None:
            admission.displaced.transport.close_now()
        self._start_timeout()

    def data_received(self, data: bytes) -> None:
        """Feed the parser. The timeout ends when the headers are complete."""
        if self.transport.is_closing():
            self.transport.discard(data)
            return
        super().data_received(data)
        if not self._is_awaiting_request():
            self._cancel_timeout()
        elif self._head_timer is None and self.timeout_keep_alive_task is None:
            self._start_timeout()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timeout."""
        self._cancel_timeout()
        self.open_connections.leave(self)
        self.transport.forget()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Respond to a malformed request, or one whose headers are too large."""
        self._refuse(400, msg.lower())

    def _refuse(self, status: int, detail: str) -> None:
        """Respond without calling the application, and close the connection."""
        headers, body = refusal(status, detail)
        title = http.HTTPStatus(status).phrase
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            response = h11.Response(status_code=status, headers=headers, reason=title.encode())
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self._cancel_timeout()
        self.transport.linger()

    def _start_timeout(self) -> None:
        self._head_timer = self.loop.call_later(self.head_seconds, self._on_timeout)

    def _cancel_timeout(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _on_timeout(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing() and self._is_awaiting_request():
            self.transport.close_now()

    def _is_receiving_body(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY

    def _is_awaiting_request(self) -> bool:
        """Whether headers are due, or the rest of a body that no handler reads any more."""
        is_answered = self.cycle is not None and self.cycle.response_complete
        return self.conn.their_state is h11.IDLE or is_answered


def protocol_for(proxies: tuple[Network, ...]) -> type[TimeoutProtocol]:
    """The protocol of one server, whose connections are counted together."""
    own = {"proxies": proxies, "open_connections": Connections()}
    return type("ServerProtocol", (TimeoutProtocol,), own)
