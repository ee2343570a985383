"""``/livez``, ``/readyz`` and ``/metrics`` of the scorer process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

from stream_scorer.errors import SettingsError
from stream_scorer.observability.http_server import BoundedHTTPServer

_STALLED_SECONDS: Final = 120.0
"""A loop without a heartbeat for this long is stuck: every call in it has a shorter timeout."""

_CLIENT_SECONDS: Final = 10.0
"""A client that sends nothing for this long is disconnected."""

METRICS_TYPE: Final = "text/plain; version=1.0.0; charset=utf-8"


class Health:
    """What the probes report. Liveness depends only on the loop, never on Kafka's availability."""

    def __init__(self, is_model_loaded: Callable[[], bool]) -> None:
        self._is_model_loaded = is_model_loaded
        self._heartbeat_at = time.monotonic()
        self._joined = False
        self.problem: str | None = None
        self.outage: str | None = None
        """Why Kafka or one of its topics cannot be used now."""
        self.stuck: Mapping[int, str] = {}
        """Assigned partitions that make no progress, each with a description for the operator."""
        self.history: Callable[[], str | None] = lambda: None
        """What waits for its card history, for the operator."""
        self.without_history: Callable[[], Mapping[int, str]] = dict
        """Assigned partitions that have waited too long for their card history, and why."""

    def heartbeat(self) -> None:
        """The loop has begun an iteration."""
        self._heartbeat_at = time.monotonic()

    def joined(self) -> None:
        """The member has subscribed: it has partitions, or is waiting for some."""
        self._joined = True

    def seconds_since_heartbeat(self) -> float:
        """Seconds since the last heartbeat."""
        return time.monotonic() - self._heartbeat_at

    def is_live(self) -> bool:
        """Whether the last heartbeat is recent."""
        return self.seconds_since_heartbeat() < _STALLED_SECONDS

    def report(self) -> dict[str, Any]:
        """Readiness, and the conditions it depends on."""
        without = self.without_history()
        stuck = {str(p): why for p, why in sorted({**self.stuck, **without}.items())}
        outage = self.outage
        ready = (
            self.is_live()
            and self._joined
            and self._is_model_loaded()
            and not stuck
            and outage is None
        )
        return {
            "ready": ready,
            "model_loaded": self._is_model_loaded(),
            "joined_group": self._joined,
            "seconds_since_heartbeat": round(self.seconds_since_heartbeat(), 1),
            "problem": outage or self.problem or self.history(),
            "stuck_partitions": stuck,
        }


class HealthServer:
    """Serves the probes and metrics in threads of their own, a bounded number of them."""

    def __init__(self, host: str, port: int, health: Health, metrics: Callable[[], bytes]) -> None:
        routes: Mapping[str, Callable[[], tuple[int, str, bytes]]] = {
            "/livez": lambda: _json(200 if health.is_live() else 503, {"live": health.is_live()}),
            "/readyz": lambda: _json(200 if health.report()["ready"] else 503, health.report()),
            "/metrics": lambda: (200, METRICS_TYPE, metrics()),
        }

        class Handler(BaseHTTPRequestHandler):
            timeout = _CLIENT_SECONDS

            def do_GET(self) -> None:
                route = routes.get(self.path.partition("?")[0])
                status, kind, body = route() if route else _json(404, {"error": "not found"})
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Log nothing: probes arrive every few seconds."""

        try:
            self._server = BoundedHTTPServer((host, port), Handler)
        except OSError as error:
            raise SettingsError(f"METRICS_PORT={port}: cannot listen on {host}: {error}") from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="health", daemon=True
        )

    @property
    def port(self) -> int:
        """The port in use; if port 0 was requested, the one chosen."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving."""
        if self._thread.is_alive():  # else shutdown would wait forever
            self._server.shutdown()
        self._server.server_close()


def _json(status: int, body: Mapping[str, Any]) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps(body).encode()
