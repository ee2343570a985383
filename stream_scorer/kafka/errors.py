"""Translates the driver's errors; the only module that knows its error codes."""

from __future__ import annotations

import logging
import re
import time
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.advice import CERTIFICATE_ALERTS, with_advice

log = logging.getLogger(__name__)

# Errors that only an operator can fix; librdkafka retries them forever without reporting them.
_NON_RETRIABLE: Final = (
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
)

_UNREADABLE: Final = (
    KafkaError._BAD_COMPRESSION,
    KafkaError._BAD_MSG,
    KafkaError._NOT_IMPLEMENTED,  # an unknown codec
    KafkaError.INVALID_MSG,  # a wrong checksum
)
"""Errors of one batch: the client reports them again and again, and never moves on."""

_FENCED: Final = (
    KafkaError._FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_ID_MAPPING,
)

_DISCONNECTED: Final = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)

_DURATION: Final = re.compile(r" \(after \d+ms in state \w+[^)]*\)")  # differs in each attempt

_BROKERS_DOWN: Final = re.compile(r"\d+/\d+ brokers")  # the numbers change all the time

_LOG_INTERVAL_SECONDS: Final = 60.0  # a client that cannot connect retries several times a second

_MAX_LOGGED: Final = 100


class ErrorCallback:
    """The ``error_cb`` of one client: logs each error at most once a minute, and keeps the last.

    If a client cannot log in, librdkafka fails its requests with a timeout. Only this callback
    receives the reason, once for each attempt to connect.
    """

    def __init__(self) -> None:
        self.last: KafkaError | None = None
        self.has_disconnected = False
        """Whether a connection was lost or could not be made; reset it to learn of the next one."""
        self._logged_at: dict[str, float] = {}

    def __call__(self, error: KafkaError) -> None:
        """Called by the client, from its ``poll``."""
        text = _DURATION.sub("", error.str())
        self.has_disconnected |= error.code() in _DISCONNECTED
        if error.code() != KafkaError._ALL_BROKERS_DOWN and (
            is_non_retriable(error) or self.last is None or not is_non_retriable(self.last)
        ):
            self.last = error
        text = _BROKERS_DOWN.sub("all brokers", text)
        now = time.monotonic()
        if now - self._logged_at.get(text, -_LOG_INTERVAL_SECONDS) < _LOG_INTERVAL_SECONDS:
            return
        if len(self._logged_at) >= _MAX_LOGGED:
            self._logged_at.clear()
        self._logged_at[text] = now
        level = logging.ERROR if is_non_retriable(error) else logging.WARNING
        log.log(level, "kafka: %s", with_advice(error.name(), text))


def translate(error: KafkaException) -> RetryableError | FatalError:
    """Our error for a driver's error: the complete decision table for confluent-kafka.

    An error that is ``fatal()`` or non-retriable is a :class:`FatalError`. Everything else can be
    retried after an abort.
    """
    cause = error.args[0]
    if not isinstance(cause, KafkaError):
        return RetryableError(f"kafka: {cause}")
    text = with_advice(cause.name(), f"{_DURATION.sub('', cause.str())} ({cause.name()})")
    if cause.fatal() or is_non_retriable(cause):
        return FatalError(f"kafka: {text}")
    return RetryableError(f"kafka: {text}")


def driver_error(error: KafkaException | SystemError) -> KafkaException:
    """The driver's error behind an exception that one of its calls raised.

    A client that has become unusable raises from any call that serves its callbacks. If it serves
    further callbacks while that exception is set, Python wraps it in a SystemError. If one of those
    callbacks clears the exception, the SystemError has no cause.

    Raises:
        SystemError: one of our callbacks failed.
    """
    if isinstance(error, KafkaException):
        return error
    if isinstance(error.__cause__, KafkaException):
        return error.__cause__
    if error.__cause__ is not None:
        raise error
    text = f"the client is unusable, most likely fenced by another with its id ({error})"
    return KafkaException(KafkaError(KafkaError._FATAL, text, fatal=True))


def is_unreadable_batch(error: KafkaError) -> bool:
    """Whether the client cannot read one batch of one partition; other partitions continue."""
    return error.code() in _UNREADABLE


def is_unanswered(error: BaseException) -> bool:
    """Whether the driver gave up a request without an answer: any error of a broker is an answer.

    Args:
        error: the driver's error, or ours that was raised from it.
    """
    cause = error if isinstance(error, KafkaException) else error.__cause__
    code = cause.args[0] if isinstance(cause, KafkaException) else None
    return isinstance(code, KafkaError) and code.code() < 0 and not code.fatal()


def is_fenced(error: BaseException | None) -> bool:
    """Whether the broker refused a producer because another, or a timeout, took its epoch away."""
    while error is not None:
        cause = error.args[0] if isinstance(error, KafkaException) else None
        if isinstance(cause, KafkaError) and cause.code() in _FENCED:
            return True
        error = error.__cause__
    return False


def is_non_retriable(error: KafkaError) -> bool:
    """Whether only an operator can fix the error."""
    return error.code() in _NON_RETRIABLE or any(text in error.str() for text in CERTIFICATE_ALERTS)
