"""Runs the app: the listening socket, signals, and an end that does not wait for open streams."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from dashboard.protocol import PatientProtocol
from dashboard.web.auth import HEAD_MAX_BYTES
from stream_scorer.errors import UsageError

_GRACEFUL_SECONDS: Final = 3  # for requests under way; streams are ended at once
_BACKLOG: Final = 512


class Server(uvicorn.Server):
    """Ends with exit code 0 on SIGTERM and SIGINT; ``on_exit`` is called when one comes."""

    def __init__(self, app: FastAPI, on_exit: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                # The client's address decides whom to believe: no header may change it.
                proxy_headers=False,
                http=PatientProtocol,
                h11_max_incomplete_event_size=HEAD_MAX_BYTES,
                ws="none",
                timeout_graceful_shutdown=_GRACEFUL_SECONDS,
            )
        )
        self._on_exit = on_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's
        """Note the signal; a second one ends without waiting."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End open streams first: they would keep the process alive."""
        self._on_exit()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals without raising them again at the end, as uvicorn would."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only a process's main thread gets signals
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {sig: signal.signal(sig, self.handle_exit) for sig in signals}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        UsageError: the address is taken or none of this machine's.
    """
    is_ipv6 = ":" in host
    try:
        listener = socket.create_server(
            (host.strip("[]"), port),
            family=socket.AF_INET6 if is_ipv6 else socket.AF_INET,
            backlog=_BACKLOG,
        )
        # Connections inherit it. asyncio sets it only where the protocol is named, which it is
        # not here; without it a kept-alive client waits 40 ms for the body of each answer.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UsageError(
            f"cannot listen on {host}:{port}: {reason}; DASHBOARD_PORT or --port chooses another"
        ) from error


def address_of(listener: socket.socket) -> str:
    """The URL people open."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - recognised here, not bound
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def hold_state(folder: Path) -> Iterator[None]:
    """Keep the state folder for this process alone.

    Raises:
        UsageError: it cannot be used, or another dashboard has it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise UsageError(f"DASHBOARD_STATE_DIR={folder} cannot be used: {error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"another dashboard uses DASHBOARD_STATE_DIR={folder}: give this one its own"
            ) from None
        yield
