"""An HTTP server with a bounded number of threads and a time limit for each connection."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
import time
from http.server import ThreadingHTTPServer
from typing import Any, Final

log = logging.getLogger(__name__)

OPEN_MAX: Final = 32
"""Open connections. Probes and Prometheus have one or two; more are clients that never finish."""

THREADS_MAX: Final = 2 * OPEN_MAX
"""Threads, with those of closed connections that have not noticed yet."""

CONNECTION_SECONDS: Final = 30.0
"""A connection is closed after this time, also if its client sends a byte now and then."""


class BoundedHTTPServer(ThreadingHTTPServer):
    """A thread for each connection, as its base class, but not without end.

    Where there are too many connections, the oldest one is closed for the new one: a client that
    holds connections open must not keep the probes out.
    """

    daemon_threads = True

    def __init__(self, *args: Any) -> None:
        self._lock = threading.Lock()
        self._opened: dict[socket.socket, float] = {}  # the oldest first
        self._serving: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a new thread, if there may be one more."""
        with self._lock:
            if len(self._opened) >= OPEN_MAX:
                self._end(next(iter(self._opened)))
            if is_served := len(self._serving) < THREADS_MAX:
                self._opened[request] = time.monotonic()
                self._serving.add(request)
        if is_served:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; its thread calls this when it has served it."""
        with self._lock:
            self._opened.pop(request, None)
            self._serving.discard(request)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close the connections that are open for too long; called twice a second."""
        now = time.monotonic()
        with self._lock:
            for request, since in list(self._opened.items()):
                if now - since > CONNECTION_SECONDS:
                    self._end(request)

    def handle_error(self, _request: Any, client_address: Any) -> None:
        """Log a fault of ours; a client that has gone, or was closed, is none."""
        error = sys.exception()
        if not isinstance(error, OSError):
            log.error("cannot answer the request of %s", client_address, exc_info=error)

    def _end(self, request: socket.socket) -> None:
        """Wake the thread of a connection, which then closes it."""
        self._opened.pop(request, None)
        with contextlib.suppress(OSError):  # the client has closed it
            request.shutdown(socket.SHUT_RDWR)
