"""The scorers' offsets, inputs and dead letters on Kafka, read without joining their group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

from schemas.layout import Layout
from schemas.rejections import Stage
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.clients import open_admin, open_consumer
from stream_scorer.kafka.driver import Consumer, KafkaError, KafkaException
from stream_scorer.kafka.errors import translate
from stream_scorer.kafka.kept import KeptConsumer
from stream_scorer.kafka.reader import fetch_span
from stream_scorer.kafka.rights import refused_topics
from stream_scorer.kafka.spans import Span, Spans
from stream_scorer.settings import GroupSettings
from stream_scorer.state.input_log import Place, fetch_places
from stream_scorer.state.inputs import (
    InputFaults,
    InputRows,
    Refused,
    read_dead_letters,
    read_inputs,
)

STALL_SECONDS: Final = 5.0
"""Reading gives up after so long without a record, and the next round tries again. The open
transaction of a killed scorer can hold up the dead letters for longer; histories age meanwhile."""

_EXPLAIN_SECONDS: Final = 2.0
_T = TypeVar("_T")


class KafkaStreamLog:
    """Implements :class:`dashboard.history.following.StreamLog`.

    Args:
        settings: broker, topics, and the scorers' group.
        decoder: the decoder that scorers use.
    """

    def __init__(self, settings: GroupSettings, decoder: TransactionDecoder) -> None:
        self._settings = settings
        self._decoder = decoder
        self._kept = KeptConsumer(self._open)

    def committed(self, partitions: Sequence[int]) -> Mapping[int, Place]:
        """One request to the group's coordinator."""
        topic = self._settings.input_topic
        return self._request(topic, lambda c: fetch_places(c, topic, partitions))

    def dead_letters(self, partition: int) -> Span:
        """One request to the leader, for the high watermark."""
        topic = self._settings.dlq_topic
        return self._request(topic, lambda c: fetch_span(c, topic, partition))

    def read_dead_letters(
        self, spans: Spans, faults: InputFaults
    ) -> Mapping[int, Mapping[int, Stage]]:
        """Reads with a consumer of its own."""
        return read_dead_letters(
            self._settings,
            self._settings.kafka_group_id,
            spans,
            stall_seconds=STALL_SECONDS,
            faults=faults,
        )

    def read(
        self, spans: Spans, refused: Refused, layout: Layout | None, faults: InputFaults
    ) -> Iterator[InputRows]:
        """Reads with a consumer of its own."""
        return read_inputs(
            self._settings,
            self._settings.kafka_group_id,
            spans,
            self._decoder,
            refused,
            layout=layout,
            stall_seconds=STALL_SECONDS,
            faults=faults,
        )

    def close(self) -> None:
        """Close the connection for requests."""
        self._kept.close()

    def _request(self, topic: str, request: Callable[[Consumer], _T]) -> _T:
        with self._kept.request() as consumer:
            # Nothing is assigned: this serves errors that were queued in an outage.
            consumer.poll(0)
            try:
                return request(consumer)
            except (KafkaException, RetryableError) as error:
                cause = error if isinstance(error, KafkaException) else error.__cause__
                raise self._explain(error, consumer, topic) from cause

    def _open(self) -> Consumer:
        # With read_committed, offsets would be refused while a transaction that commits new ones is
        # open, which is most of the time.
        more = {"isolation.level": "read_uncommitted"}
        return open_consumer(self._settings, self._settings.kafka_group_id, **more)

    def _explain(
        self, error: KafkaException | RetryableError, consumer: Consumer, topic: str
    ) -> RetryableError | FatalError:
        """Why a request failed: a consumer reports a timeout where it is not authorized."""
        message = consumer.poll(0)
        problem = None if message is None else message.error()
        if problem is not None and problem.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            group = self._settings.kafka_group_id
            return FatalError(f"not authorized for group {group}: grant this user DESCRIBE")
        try:
            if refused_topics(open_admin(self._settings), [topic], _EXPLAIN_SECONDS):
                return FatalError(f"not authorized for topic {topic}: grant this user READ")
        except (RetryableError, FatalError) as explained:
            return explained
        return translate(error) if isinstance(error, KafkaException) else error
