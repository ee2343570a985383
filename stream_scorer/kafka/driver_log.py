"""The driver's own log lines: through our log, and each text at most once a minute."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Final

CALLBACK_LOGGER: Final = "stream_scorer.kafka.errors"
"""Logs what the driver reports to its error callback."""

_INTERVAL_SECONDS: Final = 60.0  # a client that cannot connect repeats itself many times a second
_MOST_TEXTS: Final = 100
_VARYING: Final = re.compile(r"\d+")  # durations, ports, offsets, numbers of clients and threads


class RepeatFilter(logging.Filter):
    """Lets each line through once a minute; lines that differ only in their numbers are the same.

    The next line of that text says how many were left out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the line; it may get a note on those left out before it."""
        text, now = record.getMessage(), self._clock()
        key = _VARYING.sub("#", text)
        logged_at, left_out = self._seen.get(key, (now - _INTERVAL_SECONDS, 0))
        if now - logged_at < _INTERVAL_SECONDS:
            self._seen[key] = (logged_at, left_out + 1)
            return False
        if len(self._seen) >= _MOST_TEXTS:
            self._seen.clear()
        self._seen[key] = (now, 0)
        if left_out:
            record.msg, record.args = f"{text} ({left_out:,} similar lines left out)", ()
        return True


def driver_logger() -> logging.Logger:
    """The logger for the driver's clients; every client of this process shares it."""
    logger = logging.getLogger("librdkafka")
    if not any(isinstance(known, RepeatFilter) for known in logger.filters):
        logger.addFilter(RepeatFilter())
    return logger


def quiet_driver(
    seconds: float, clock: Callable[[], float] = time.monotonic
) -> Callable[[logging.LogRecord], bool]:
    """For commands, which report their own errors: no lines of the driver.

    Returns:
        A filter for the log's handler, which leaves out our own warnings about connections for
        ``seconds``. A command that cannot reach a broker has failed by then, with a message that
        says what to do.
    """
    driver_logger().setLevel(logging.CRITICAL)
    loud_at = clock() + seconds

    def is_loud(record: logging.LogRecord) -> bool:
        is_ours = record.name != CALLBACK_LOGGER or record.levelno >= logging.ERROR
        return is_ours or clock() >= loud_at

    return is_loud
