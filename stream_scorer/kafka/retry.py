"""Asking a broker again while its answer is one that passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from stream_scorer.errors import RetryableError
from stream_scorer.kafka.driver import Consumer, KafkaException, TopicPartition
from stream_scorer.kafka.errors import translate

_T = TypeVar("_T")
_RETRY_SECONDS: Final = 0.1


def retry_transient(ask: Callable[[], _T], seconds: float) -> _T:
    """The answer, asked for again for ``seconds`` while the error is one that passes.

    A group's coordinator that has just been chosen, or has moved, answers so.

    Raises:
        KafkaException: the last error.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except KafkaException as error:
            if not isinstance(translate(error), RetryableError) or time.monotonic() > deadline:
                raise
        time.sleep(_RETRY_SECONDS)


def fetch_committed(
    consumer: Consumer, places: list[TopicPartition], seconds: float
) -> list[TopicPartition]:
    """The group's committed offsets, with their metadata.

    Raises:
        KafkaException: they cannot be told within ``seconds``, of any partition.
    """

    def ask() -> list[TopicPartition]:
        return raise_partition_errors(consumer.committed(places, seconds))

    return retry_transient(ask, seconds)


def raise_partition_errors(answer: list[TopicPartition]) -> list[TopicPartition]:
    """The answer.

    Raises:
        KafkaException: it holds an error instead of an offset, of any partition.
    """
    if failed := next((place.error for place in answer if place.error), None):
        raise KafkaException(failed)
    return answer
