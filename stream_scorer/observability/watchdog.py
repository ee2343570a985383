"""Ends a process whose loop hangs in a call that ignores its own timeout.

librdkafka's transaction calls have done so after a broker restart (#5456). The broker aborts the
transaction when it times out, and the replacement reads from the committed offsets, so an immediate
exit neither loses nor duplicates records.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

EXIT_HUNG: Final = 70  # EX_SOFTWARE
_CHECK_SECONDS: Final = 1.0


class Watchdog:
    """Ends the process with ``os._exit`` if nothing has happened for too long.

    Args:
        seconds_since_heartbeat: how long nothing has happened; called in the watchdog's thread.
        limit_seconds: the longest time allowed.
        what: the part that hung, for the log.
    """

    def __init__(
        self,
        seconds_since_heartbeat: Callable[[], float],
        limit_seconds: float,
        what: str = "the loop",
    ) -> None:
        self._seconds_since_heartbeat = seconds_since_heartbeat
        self._what = what
        self._limit_seconds = limit_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()

    def shorten(self, limit_seconds: float) -> None:
        """Lower the limit, because the process is stopping."""
        self._limit_seconds = min(limit_seconds, self._limit_seconds)

    def _watch(self) -> None:
        while not self._stop.wait(_CHECK_SECONDS):
            if self._seconds_since_heartbeat() > self._limit_seconds:
                log.critical(
                    "%s hung for %.0f s: ending the process",
                    self._what,
                    self._seconds_since_heartbeat(),
                )
                logging.shutdown()
                faulthandler.dump_traceback()  # shows which call hung
                os._exit(EXIT_HUNG)
