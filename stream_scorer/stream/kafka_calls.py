"""Calls of the driver: retried within a deadline, timed for the watchdog, and translated."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from stream_scorer.kafka.driver import KafkaError, KafkaException
from stream_scorer.kafka.errors import driver_error, translate

_T = TypeVar("_T")
_RETRY_PAUSE_SECONDS: Final = 0.05


class TransactionCalls:
    """The transaction calls of one group member, one at a time.

    Args:
        timeout: seconds for which a retriable call is made again.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._called_at: float | None = None

    def make(self, call: Callable[[], _T]) -> _T:
        """Make a call, again while its error is retriable, until the deadline.

        Raises:
            RetryableError, FatalError: what it failed with last.
        """
        deadline = time.monotonic() + self._timeout
        while True:
            self._called_at = time.monotonic()
            try:
                return call()
            except (KafkaException, SystemError) as error:
                cause = driver_error(error)
                code = cause.args[0]
                is_retriable = isinstance(code, KafkaError) and code.retriable()
                if not is_retriable or time.monotonic() > deadline:
                    raise translate(cause) from cause
                time.sleep(_RETRY_PAUSE_SECONDS)
            finally:
                self._called_at = None

    def seconds(self) -> float:
        """How long the call under way has taken, 0 without one; any thread may ask."""
        called_at = self._called_at
        return 0.0 if called_at is None else time.monotonic() - called_at


def serve_callbacks(wait: Callable[[], _T]) -> _T:
    """Make a call that serves a client's callbacks; an unusable client raises out of any of them.

    Raises:
        RetryableError, FatalError: the driver's error.
    """
    try:
        return wait()
    except (KafkaException, SystemError) as error:
        cause = driver_error(error)
        raise translate(cause) from cause
