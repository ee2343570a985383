"""Calls of the driver: retried within a deadline, timed for the watchdog, and translated."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from stream_scorer.kafka.driver import Consumer, KafkaError, KafkaException
from stream_scorer.kafka.errors import driver_error, translate

_T = TypeVar("_T")
_RETRY_PAUSE_SECONDS: Final = 0.05


class TransactionCalls:
    """The transaction calls of one group member, one at a time.

    Args:
        timeout: seconds for which a retriable call is repeated.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._called_at: float | None = None

    def make(self, call: Callable[[], _T]) -> _T:
        """Make a call, and repeat it until the deadline while its error is retriable.

        Raises:
            RetryableError, FatalError: the last failure.
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
        """Seconds since the current call began, 0 without one; safe to call from any thread."""
        called_at = self._called_at
        return 0.0 if called_at is None else time.monotonic() - called_at


def serve_callbacks(wait: Callable[[], _T]) -> _T:
    """Make a call that serves a client's callbacks; an unusable client raises from any such call.

    Raises:
        RetryableError, FatalError: the driver's error.
    """
    try:
        return wait()
    except (KafkaException, SystemError) as error:
        cause = driver_error(error)
        raise translate(cause) from cause


def read_fence(consumer: Consumer) -> Any:
    """The group's metadata; None if it does not identify a member.

    A classic member that was expelled but has not noticed yet can still receive records. Its
    metadata then names no member, and the broker may accept offsets without fencing them.
    The member id is checked before and after, since it may change in between.
    """
    was_member = bool(consumer.memberid())
    fence = consumer.consumer_group_metadata()
    return fence if was_member and consumer.memberid() else None
