"""The watchdog ends a process that hangs, and logs where; it never ends one that works."""

from __future__ import annotations

import subprocess
import sys

from stream_scorer.observability.watchdog import EXIT_HUNG, Watchdog

_HANGS = """
import threading
from stream_scorer.observability.watchdog import Watchdog

def the_call_that_hangs():
    threading.Event().wait(600)

Watchdog(lambda: 9.0, 5.0, "a transaction call").start()
the_call_that_hangs()
"""


def test_process_that_hangs_is_ended_and_its_log_shows_what_hung_and_where() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _HANGS], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == EXIT_HUNG
    assert "a transaction call hung for 9 s" in done.stderr
    assert "the_call_that_hangs" in done.stderr


def test_stopped_watchdog_checks_nothing() -> None:
    calls: list[float] = []

    def seconds_since_heartbeat() -> float:
        calls.append(1.0)
        return 0.0

    watchdog = Watchdog(seconds_since_heartbeat, 5.0)
    watchdog.stop()
    watchdog.start()
    watchdog._thread.join(60)
    assert not watchdog._thread.is_alive()
    assert calls == []
