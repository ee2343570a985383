"""The one place that knows the driver's error codes."""

from __future__ import annotations

import logging
import re
import time
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.advice import CERTIFICATE_ALERTS, with_advice

log = logging.getLogger(__name__)

# Errors that only an operator can mend; librdkafka itself retries them for ever in silence.
_NON_RETRIABLE: Final = (
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
)

_AFTER: Final = re.compile(r" \(after \d+ms in state \w+[^)]*\)")  # different in each attempt

_SAY_AGAIN_SECONDS: Final = 60.0  # a client that cannot connect tries several times a second

_MAX_SAID: Final = 100


class ErrorCallback:
    """The ``error_cb`` of one client: logs each cause now and then, and keeps the last one.

    librdkafka answers a request that failed for want of a login with a timeout; why there is none
    comes here alone, and again at every attempt to connect.
    """

    def __init__(self) -> None:
        self.last: KafkaError | None = None
        self._said: dict[str, float] = {}

    def __call__(self, error: KafkaError) -> None:
        """Called by the client, from its ``poll``."""
        text = _AFTER.sub("", error.str())
        if error.code() != KafkaError._ALL_BROKERS_DOWN and (
            is_non_retriable(error) or self.last is None or not is_non_retriable(self.last)
        ):
            self.last = error
        now = time.monotonic()
        if now - self._said.get(text, -_SAY_AGAIN_SECONDS) < _SAY_AGAIN_SECONDS:
            return
        if len(self._said) >= _MAX_SAID:
            self._said.clear()
        self._said[text] = now
        level = logging.ERROR if is_non_retriable(error) else logging.WARNING
        log.log(level, "kafka: %s", with_advice(error.name(), text))


def translate(error: KafkaException) -> RetryableError | FatalError:
    """Our word for a driver's error: the whole decision table of confluent-kafka.

    ``fatal()`` or hopeless without an operator → :class:`FatalError`; everything else can be
    tried again after an abort.
    """
    cause = error.args[0]
    if not isinstance(cause, KafkaError):
        return RetryableError(f"kafka: {cause}")
    text = with_advice(cause.name(), f"{_AFTER.sub('', cause.str())} ({cause.name()})")
    if cause.fatal() or is_non_retriable(cause):
        return FatalError(f"kafka: {text}")
    return RetryableError(f"kafka: {text}")


def driver_error(error: KafkaException | SystemError) -> KafkaException:
    """The driver's error behind what a call of it raised.

    A client that has become unusable raises out of any call that serves its callbacks. If there
    are more of them to serve, Python wraps that in a SystemError, since they are called while it
    is on its way; and where one of them clears it, nothing is left but that it was.

    Raises:
        SystemError: a callback of ours failed.
    """
    if isinstance(error, KafkaException):
        return error
    if isinstance(error.__cause__, KafkaException):
        return error.__cause__
    if error.__cause__ is not None:
        raise error
    text = f"the client is unusable, most likely fenced by another with its id ({error})"
    return KafkaException(KafkaError(KafkaError._FATAL, text, fatal=True))


def is_non_retriable(error: KafkaError) -> bool:
    """Whether only an operator can mend it."""
    return error.code() in _NON_RETRIABLE or any(word in error.str() for word in CERTIFICATE_ALERTS)
