"""A real Apache Kafka on this machine, from PyPI packages only: for tests, demo and development.

One node, on the loopback interface, without security. It survives kill -9 without losing committed
records.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from stream_scorer.errors import FatalError, UsageError
from stream_scorer.local.broker_log import last_errors, read_from, rotate
from stream_scorer.local.folders import check_path, claim_folder, find_fullness, using_folder
from stream_scorer.local.jars import Progress, cache_folder, ensure_jars
from stream_scorer.local.jvm import aot_cache_path, find_java, kafka_command
from stream_scorer.local.node import Listener, write_node
from stream_scorer.local.probe import (
    is_port_free,
    pick_free_port,
    plain_settings,
    wait_until_ready,
)
from stream_scorer.local.progress_lines import ProgressLines
from stream_scorer.runtime.processes import start_child
from stream_scorer.runtime.settings import KafkaSettings

log = logging.getLogger(__name__)

START_TIMEOUT_SECONDS: Final = 180.0  # usually 1-5 s; the wait ends early if the JVM exits
STOP_TIMEOUT_SECONDS: Final = 10.0  # usually 0.3-0.8 s; Kafka's own limit is five minutes
_PORT_ATTEMPTS: Final = 5
_PORT_TAKEN: Final = re.compile(r"Socket server failed to bind|Address already in use")


class EmbeddedBroker:
    """One Kafka process with its data below ``folder``.

    As a context manager it starts on entry and stops on exit. Start it from the main thread: on
    Linux it then ends when this process ends, even by kill -9
    (:func:`stream_scorer.runtime.processes.start_child`).

    Args:
        folder: the folder for configuration, log and data, which is kept; None: a temporary
            folder, removed on exit from the context (or by :meth:`close`).
        port: the port for clients; 0 picks a free port at the first start. Restarts keep the port.
        log_level: the level of ``broker.log`` in the folder.
        properties: broker settings added to :data:`stream_scorer.local.node.NODE_PROPERTIES`.
        heap_mib: the size of the JVM's heap.
        jvm_flags: further JVM flags.
        use_aot_cache: start with the AOT cache if it exists (three times as fast).
        listeners: further listeners, name → security protocol (``SASL_SSL``, …). Their other
            settings go into ``properties``. :meth:`bootstrap_of` returns their addresses.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        port: int = 0,
        log_level: str = "INFO",
        properties: Mapping[str, str] | None = None,
        heap_mib: int = 256,
        jvm_flags: Sequence[str] = (),
        use_aot_cache: bool = True,
        listeners: Mapping[str, str] | None = None,
    ) -> None:
        self._given_folder = folder.absolute() if folder else None
        self._folder: Path | None = self._given_folder
        self._port = port
        self._log_level = log_level
        self._properties = dict(properties or {})
        self._heap_mib = heap_mib
        self._jvm_flags = tuple(jvm_flags)
        self._use_aot_cache = use_aot_cache
        self._protocols = dict(listeners or {})
        self._listeners: tuple[Listener, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port for clients; 0 before the first start if it is picked then."""
        return self._port

    @property
    def bootstrap_servers(self) -> str:
        """``127.0.0.1:port``, the same after every restart."""
        return f"127.0.0.1:{self._port}"

    def bootstrap_of(self, listener: str) -> str:
        """``127.0.0.1:port`` of a further listener, the same after every restart.

        Raises:
            LookupError: there is no such listener, or the broker was not started.
        """
        for one in self._listeners:
            if one.name == listener:
                return f"127.0.0.1:{one.port}"
        raise LookupError(f"no listener {listener}")

    @property
    def settings(self) -> KafkaSettings:
        """Client settings for this broker, independent of the environment."""
        return plain_settings(self.bootstrap_servers)

    @property
    def folder(self) -> Path:
        """The folder with the configuration, ``broker.log`` and the data.

        Raises:
            RuntimeError: the folder is temporary and the broker was not started yet.
        """
        if self._folder is None:
            raise RuntimeError("the broker was not started")
        return self._folder

    @property
    def pid(self) -> int:
        """The process id of the JVM.

        Raises:
            RuntimeError: the broker is not running.
        """
        if self._process is None:
            raise RuntimeError("the broker is not started")
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process is running."""
        return self._process is not None and self._process.poll() is None

    def start(self, on_progress: Progress | None = None) -> None:
        """Start the broker; returns once a record was produced and acknowledged.

        Args:
            on_progress: called for each jar if the jars must be downloaded first.

        Raises:
            UsageError: Java or the jars are missing, the port or the folder is in use, or the
                folder cannot be used.
            FatalError: Kafka did not start; the message has the last errors of its log.
        """
        if self.is_alive:
            raise RuntimeError("the broker is already running")
        if self._given_folder is not None:
            check_path(self._given_folder)
        java = find_java()
        with using_folder(cache_folder(), "Kafka's jars"):
            jars = ensure_jars(on_progress=on_progress)
        if self._port and not is_port_free(self._port):
            raise UsageError(_port_in_use(self._port))
        with using_folder(self._folder or Path(tempfile.gettempdir()), "the broker's data"):
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="stream-scorer-kafka-"))
            self._folder.mkdir(parents=True, exist_ok=True)
            for _ in range(_PORT_ATTEMPTS):
                if self._start_once(java, jars):
                    return
        raise FatalError(f"kafka found no free port in {_PORT_ATTEMPTS} attempts")

    def stop(self, timeout: float = STOP_TIMEOUT_SECONDS) -> None:
        """Shut down cleanly (SIGTERM), or with SIGKILL after ``timeout`` seconds."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout)
            self._process = None
        except subprocess.TimeoutExpired:
            log.warning("kafka did not stop within %.0f s; killing it", timeout)
            self.kill()

    def kill(self) -> None:
        """Send SIGKILL and wait until the process has ended."""
        if self._process is not None:
            if self._process.poll() is None:
                # including its children: a JVM that writes an AOT cache has one
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_TIMEOUT_SECONDS)
            self._process = None

    def restart(self) -> None:
        """Stop if running, then start again with the same port and data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop, and remove the folder if it is temporary."""
        self.stop()
        if self._given_folder is None and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _start_once(self, java: Path, jars: Sequence[Path]) -> bool:
        """Start and wait; False if another process took a port, so that a retry may succeed."""
        port, controller_port = self._port or pick_free_port(), pick_free_port()
        if not self._port:  # a restart keeps them
            self._listeners = tuple(
                Listener(name, protocol, pick_free_port())
                for name, protocol in self._protocols.items()
            )
        aot = aot_cache_path(jars)
        flags = [f"-XX:AOTCache={aot}"] if self._use_aot_cache and aot.exists() else []
        command = kafka_command(java, jars, self.folder, self._heap_mib, [*flags, *self._jvm_flags])
        with claim_folder(self.folder) as claim:  # before any file of a running broker is changed
            cluster_id = write_node(
                self.folder,
                port,
                controller_port,
                self._log_level,
                self._properties,
                self._listeners,
            )
            log_begins = rotate(self.folder / "broker.log")
            with (self.folder / "java.log").open("wb") as stderr:
                # Java names files as the locale says: in C, as in many containers, characters of
                # other languages would become question marks.
                environment = os.environ | {"LC_ALL": "C.UTF-8"}
                self._process = start_child(command, stderr, environment, inherited=[claim])
        try:
            ready = wait_until_ready(
                plain_settings(f"127.0.0.1:{port}"),
                START_TIMEOUT_SECONDS,
                cluster_id=cluster_id,
                is_alive=lambda: self.is_alive,
            )
        except BaseException:
            self.kill()
            raise
        if ready:
            self._port = port
            return True
        exit_code = self._process.poll()
        self.kill()
        written = read_from(self.folder / "broker.log", log_begins)
        if _PORT_TAKEN.search(written):
            if self._port and not is_port_free(self._port):
                raise UsageError(_port_in_use(self._port))
            return False
        raise self._failure(exit_code, written)

    def _failure(self, exit_code: int | None, written: str) -> UsageError | FatalError:
        what = (
            f"kafka did not become ready in {START_TIMEOUT_SECONDS:.0f} s"
            if exit_code is None
            else f"kafka exited with code {exit_code} while starting"
        )
        if full := find_fullness(self.folder):
            return UsageError(f"{what}: {full}")
        java_log = self.folder / "java.log"
        errors = [*last_errors(written), *read_from(java_log, 0).splitlines()[-3:]]
        where = self.folder / "broker.log" if written else java_log
        return FatalError("\n  ".join([f"{what} ({where})", *errors]))


def run_broker(folder: Path | None, port: int) -> int:
    """``stream-scorer broker``: run a broker in the foreground until Ctrl-C or SIGTERM.

    Args:
        folder: the folder for its data, which is kept; default: ``broker`` in the cache folder.
        port: the port to listen on.

    Returns:
        The exit code: 0 after a clean stop, 1 if Kafka exited unexpectedly.
    """
    stop_requested = threading.Event()
    handlers = {
        number: signal.signal(number, lambda *_: stop_requested.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    broker = EmbeddedBroker(folder or cache_folder() / "broker", port=port)
    try:
        lines = ProgressLines(_write, sys.stdout.isatty())
        broker.start(
            lambda done, total: lines.show(
                f"downloading Apache Kafka (only once): {done} of {total} jars"
            )
        )
        lines.end()
        _print_line(f"Apache Kafka at {broker.bootstrap_servers}, data in {broker.folder}")
        _print_line(f"  export KAFKA_BOOTSTRAP_SERVERS={broker.bootstrap_servers}")
        _print_line("stop with Ctrl-C; the data is kept")
        while not stop_requested.wait(0.2):
            if not broker.is_alive:
                why = find_fullness(broker.folder) or f"see {broker.folder / 'broker.log'}"
                _print_line(f"Kafka exited unexpectedly; {why}")
                return 1
        _print_line("stopping")
        return 0
    finally:
        broker.close()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _print_line(line: str) -> None:
    _write(line + "\n")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _port_in_use(port: int) -> str:
    return f"another process uses port {port} on 127.0.0.1; stop it or choose another port"
