"""Runs the app: listening socket, signals, and a shutdown that does not wait for open streams."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import IO, Final

import uvicorn
from fastapi import FastAPI

from dashboard.protocol import protocol_for
from dashboard.web.auth import HEAD_MAX_BYTES
from dashboard.web.sealing import Sealer
from stream_scorer.errors import UsageError

log = logging.getLogger(__name__)

_GRACEFUL_SECONDS: Final = 3  # for requests in progress; streams end immediately
_BACKLOG: Final = 512
_TICKS_PER_CHECK: Final = 10


class StateTaken(UsageError):
    """Another dashboard has locked the state folder."""


class Server(uvicorn.Server):
    """Exits with code 0 on SIGTERM and SIGINT. Calls ``on_exit`` when the shutdown starts.

    Args:
        app: the application.
        on_exit: ends what would keep the process alive.
        lock: of the state folder. If another dashboard takes it, this one ends.
    """

    def __init__(
        self, app: FastAPI, on_exit: Callable[[], None], lock: StateLock | None = None
    ) -> None:
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
        self._lock = lock
        self._sealer: Sealer = app.state.parts.sealer
        self._fault = ""  # the last one, which is logged once
        self.problem: StateTaken | None = None
        """Why the server ended by itself."""

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second. Looks once a second whether the state folder is there."""
        if counter % _TICKS_PER_CHECK == 0:
            self._check_state()
        return await super().on_tick(counter)

    def _check_state(self) -> None:
        """Make again what was deleted, and end if another dashboard uses the folder now."""
        fault = ""
        try:
            if self._lock is not None:
                self._lock.check()
            self._sealer.restore_key()
        except StateTaken as error:
            self.problem, self.should_exit = error, True
        except (UsageError, OSError) as error:
            fault = str(error)
        if fault and fault != self._fault:
            log.error("the state folder was deleted and cannot be made again: %s", fault)
        self._fault = fault

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


class StateLock:
    """The lock of a state folder: one dashboard at a time writes its files.

    Raises:
        UsageError: the folder cannot be used, or another dashboard has locked it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "lock"
        self._file = self._take()

    def check(self) -> None:
        """Lock the folder again if somebody deleted it: another dashboard could start in it.

        Raises:
            UsageError: another dashboard has done that, so this one must end.
        """
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._file.fileno()), self._path.stat()):
                return
        before, self._file = self._file, self._take()
        before.close()
        log.warning("%s was deleted while the dashboard runs: it is locked again", self._path)

    def release(self) -> None:
        """Let another dashboard use the folder."""
        self._file.close()

    def _take(self) -> IO[str]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = self._path.open("w")
        except OSError as error:
            problem = f"DASHBOARD_STATE_DIR={self._folder} cannot be used: {error}"
            raise UsageError(problem) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise StateTaken(
                f"another dashboard uses DASHBOARD_STATE_DIR={self._folder}: "
                "set a different folder for this one"
            ) from None
        return lock


@contextlib.contextmanager
def lock_state_dir(folder: Path) -> Iterator[StateLock]:
    """Lock the state folder for this process.

    Raises:
        UsageError: the folder cannot be used, or another dashboard has locked it.
    """
    lock = StateLock(folder)
    try:
        yield lock
    finally:
        lock.release()
