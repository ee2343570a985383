"""Retries requests to a broker that fail with a transient error."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from stream_scorer.errors import RetryableError
from stream_scorer.kafka.driver import Consumer, KafkaError, KafkaException, TopicPartition
from stream_scorer.kafka.errors import translate

_T = TypeVar("_T")
_RETRY_SECONDS: Final = 0.1
_NEW_LEADER_SECONDS: Final = 1.0
"""An election takes less; a request that fails later is not retried."""


def retry_transient(request: Callable[[], _T], seconds: float) -> _T:
    """The result of a request, retried for up to ``seconds`` while it fails with transient errors.

    A group coordinator that was just elected or has moved returns such errors.

    Raises:
        KafkaException: the last error.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return request()
        except KafkaException as error:
            if not isinstance(translate(error), RetryableError) or time.monotonic() > deadline:
                raise
        time.sleep(_RETRY_SECONDS)


def fetch_committed(
    consumer: Consumer, places: list[TopicPartition], seconds: float
) -> list[TopicPartition]:
    """The group's committed offsets, with their metadata.

    Raises:
        KafkaException: the offsets of a partition could not be fetched within ``seconds``.
    """

    def request() -> list[TopicPartition]:
        return raise_partition_errors(consumer.committed(places, seconds))

    return retry_transient(request, seconds)


def fetch_bounds(consumer: Consumer, place: TopicPartition, seconds: float) -> tuple[int, int]:
    """The first offset of a partition, and its end.

    A partition that was just created, or whose leader has moved, refuses the request for a moment.

    Raises:
        KafkaException: the broker did not answer within ``seconds``, or refuses the request.
    """

    def request() -> tuple[int, int]:
        marks = consumer.get_watermark_offsets(place, timeout=seconds)
        if marks is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no response in time"))
        return int(marks[0]), int(marks[1])

    return retry_transient(request, min(seconds, _NEW_LEADER_SECONDS))


def raise_partition_errors(response: list[TopicPartition]) -> list[TopicPartition]:
    """The response, unless it contains an error.

    Raises:
        KafkaException: the response has an error instead of an offset for a partition.
    """
    if failed := next((place.error for place in response if place.error), None):
        raise KafkaException(failed)
    return response
