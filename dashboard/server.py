"""Runs the app: listening socket, signals, and a shutdown that does not wait for open streams."""

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

from dashboard.protocol import protocol_for
from dashboard.web.auth import HEAD_MAX_BYTES
from stream_scorer.errors import UsageError

_GRACEFUL_SECONDS: Final = 3  # for requests in progress; streams end immediately
_BACKLOG: Final = 512


class Server(uvicorn.Server):
    """Exits with code 0 on SIGTERM and SIGINT. Calls ``on_exit`` when the shutdown starts."""

    def __init__(self, app: FastAPI, on_exit: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                # Access control uses the client address, so a header must not change it.
                proxy_headers=False,
                http=protocol_for(app.state.parts.settings.proxy_networks),
                h11_max_incomplete_event_size=HEAD_MAX_BYTES,
                ws="none",
                timeout_graceful_shutdown=_GRACEFUL_SECONDS,
            )
        )
        self._on_exit = on_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's
        """Request the shutdown. A second signal skips the grace period."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End open streams first, because they would keep the process alive."""
        self._on_exit()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals. Unlike uvicorn, do not raise them again after the shutdown."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread receives signals
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
        UsageError: the address is in use, or does not belong to this machine.
    """
    is_ipv6 = ":" in host
    try:
        listener = socket.create_server(
            (host.strip("[]"), port),
            family=socket.AF_INET6 if is_ipv6 else socket.AF_INET,
            backlog=_BACKLOG,
        )
        # Accepted connections inherit this. asyncio sets it only for sockets whose protocol is
        # IPPROTO_TCP, and this one has 0. Without it a keep-alive client waits 40 ms for each body.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UsageError(
            f"cannot listen on {host}:{port}: {reason}; "
            "choose another port with DASHBOARD_PORT or --port"
        ) from error


def address_of(listener: socket.socket) -> str:
    """The URL to open in a browser."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - recognised here, not bound
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def lock_state_dir(folder: Path) -> Iterator[None]:
    """Lock the state folder for this process.

    Raises:
        UsageError: the folder cannot be used, or another dashboard has locked it.
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
                f"another dashboard uses DASHBOARD_STATE_DIR={folder}: "
                "set a different folder for this one"
            ) from None
        yield
