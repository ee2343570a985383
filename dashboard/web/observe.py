"""Request ids, log lines, metrics, traces, and the response to an unexpected error."""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import Final

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.metrics import Metrics
from dashboard.web.problems import Problem, render_problem
from stream_scorer.runtime.tracing import Tracing

log = logging.getLogger(__name__)

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET: Final = ("/livez", "/readyz", "/health", "/metrics", "/static/")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_STREAM: Final = "/api/v1/stream"
_PREDICT: Final = "/predict"
_CLIENT_LEFT: Final = 499  # in logs and metrics, as nginx has it; nobody receives it


class ObservabilityMiddleware:
    """Middleware: sets ``request_id`` in ``scope["state"]``, and logs and counts each request.

    Handlers may set ``transaction_count`` in the same state for the log line.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        state = scope.setdefault("state", {})
        state["request_id"] = _request_id(request.headers.get("x-request-id", ""))
        started = time.monotonic()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-request-id", state["request_id"].encode()),
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = _CLIENT_LEFT  # while its body was read: nobody is there to answer
        except Exception:
            log.exception(
                "unexpected error in a request", extra={"request_id": state["request_id"]}
            )
            if status:
                raise  # part of the response was sent, so the server must close the connection
            problem = Problem(500, "unexpected error; the server log has it under this trace_id")
            await render_problem(request, problem)(scope, receive, send_with_id)
        finally:
            self._count(scope, status, time.monotonic() - started)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        route = getattr(scope.get("route"), "path", None) or "unmatched"
        if scope["path"].startswith("/static/"):
            route = "/static"
        self._metrics.request_count.labels(method, route, str(status)).inc()
        if route != _STREAM:
            self._metrics.request_latency.labels(method, route).observe(seconds)
        if self._tracing is not None and route == _PREDICT:
            self._trace(self._tracing, scope, status, seconds)
        quiet = scope["path"].startswith(_QUIET) and status < 500
        extra = {"request_id": scope["state"]["request_id"], "latency_ms": round(seconds * 1e3, 1)}
        if (count := scope["state"].get("transaction_count")) is not None:
            extra["transaction_count"] = count
        log.log(
            logging.DEBUG if quiet else logging.INFO,
            "%s %s %d", method, route, status, extra=extra,
        )  # fmt: skip

    @staticmethod
    def _trace(tracing: Tracing, scope: Scope, status: int, seconds: float) -> None:
        attributes = {
            "http.request.method": scope["method"],
            "http.route": _PREDICT,
            "http.response.status_code": status,
            "fraud_scorer.transactions": scope["state"].get("transaction_count", 0),
        }
        parent = next((value for name, value in scope["headers"] if name == b"traceparent"), None)
        tracing.request(f"{scope['method']} {_PREDICT}", parent, seconds, attributes)


def _request_id(given: str) -> str:
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
