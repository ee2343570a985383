"""The scorers' offsets, inputs and dead letters on Kafka, read without joining their group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from schemas.layout import Layout
from schemas.rejections import Stage
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.kafka.clients import open_consumer
from stream_scorer.kafka.driver import Consumer, KafkaException, TopicPartition
from stream_scorer.kafka.errors import translate
from stream_scorer.kafka.mark import parse_mark
from stream_scorer.kafka.reader import QUERY_SECONDS, fetch_span
from stream_scorer.kafka.retry import fetch_committed
from stream_scorer.kafka.spans import Span, Spans
from stream_scorer.settings import GroupSettings
from stream_scorer.state.input_log import Place
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


class KafkaStreamLog:
    """Implements :class:`dashboard.history.following.StreamLog`.

    Args:
        settings: broker, topics, and the scorers' group.
        decoder: the decoder that scorers use.
    """

    def __init__(self, settings: GroupSettings, decoder: TransactionDecoder) -> None:
        self._settings = settings
        self._decoder = decoder
        self._consumer: Consumer | None = None

    def committed(self, partitions: Sequence[int]) -> Mapping[int, Place]:
        """One request to the group's coordinator."""
        places = [TopicPartition(self._settings.input_topic, p) for p in partitions]
        try:
            found = fetch_committed(self._requests(), places, QUERY_SECONDS)
        except KafkaException as error:
            raise translate(error) from error
        return {
            place.partition: Place(
                place.offset if place.offset >= 0 else None, parse_mark(place.metadata)
            )
            for place in found
        }

    def dead_letters(self, partition: int) -> Span:
        """One request to the leader, for the high watermark."""
        return fetch_span(self._requests(), self._settings.dlq_topic, partition)

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
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _requests(self) -> Consumer:
        if self._consumer is None:
            # With read_committed, offsets would be refused while a transaction that commits new
            # ones is open, which is most of the time.
            self._consumer = open_consumer(
                self._settings,
                self._settings.kafka_group_id,
                **{"isolation.level": "read_uncommitted"},
            )
        self._consumer.poll(0)  # nothing is assigned: this serves errors queued in an outage
        return self._consumer
