"""Several scorers on one machine: one process each, started and stopped together."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from stream_scorer.runtime.processes import start_child

log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.2
_GRACE_SECONDS: Final = 30.0


def run_workers(count: int, metrics_port: int, arguments: Sequence[str] = ()) -> int:
    """Run ``count`` scorers; their metrics are on consecutive ports from ``metrics_port``.

    Returns after SIGTERM or SIGINT, or when one scorer exits. Then all are stopped, and the
    caller's supervisor should start them again. On Linux they also end when this process is
    killed.

    Args:
        count: number of scorers.
        metrics_port: the first port, or 0 for any.
        arguments: further ones of ``stream-scorer run``.

    Returns:
        0 if all scorers exited with 0, else 1.
    """
    stopping = False

    def stop(*_: Any) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    children = [_start(metrics_port + i if metrics_port else 0, arguments) for i in range(count)]
    log.info("workers started", extra={"workers": count})
    while not stopping and all(child.poll() is None for child in children):
        time.sleep(_POLL_SECONDS)
    if not stopping:
        log.error("a worker exited unexpectedly: stopping the others")
    return _end(children)


def _start(metrics_port: int, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    environment = os.environ | {"METRICS_PORT": str(metrics_port)}
    return start_child(
        [sys.executable, "-m", "stream_scorer", "run", *arguments], environment=environment
    )


def _end(children: list[subprocess.Popen[bytes]]) -> int:
    for child in children:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    for child in children:
        try:
            child.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    return 0 if all(child.returncode == 0 for child in children) else 1
