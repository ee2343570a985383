"""What a restore reads from the broker: the group's offsets, the inputs, and their dead letters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.layout import Layout
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.kafka.clients import open_consumer
from stream_scorer.kafka.driver import Consumer, KafkaException, TopicPartition
from stream_scorer.kafka.errors import translate
from stream_scorer.kafka.kept import KeptConsumer
from stream_scorer.kafka.mark import parse_mark
from stream_scorer.kafka.reader import QUERY_SECONDS, fetch_span
from stream_scorer.kafka.retry import fetch_committed
from stream_scorer.kafka.spans import Span
from stream_scorer.runtime.registry import using_resolver
from stream_scorer.settings import GroupSettings
from stream_scorer.state.inputs import InputRows, read_dead_letters, read_inputs, refused_inputs

_NONE: Final = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Place:
    """What the group committed for a partition.

    Attributes:
        offset: the next input; None if nothing is committed.
        mark: the fields of the mark beside it.
    """

    offset: int | None
    mark: Mapping[str, str] = field(default_factory=dict)


def fetch_places(consumer: Consumer, topic: str, partitions: Iterable[int]) -> Mapping[int, Place]:
    """The offsets that a consumer's group has committed, with their marks.

    Raises:
        KafkaException: the coordinator cannot be asked.
    """
    places = [TopicPartition(topic, p) for p in partitions]
    return {
        place.partition: Place(
            place.offset if place.offset >= 0 else None, parse_mark(place.metadata)
        )
        for place in fetch_committed(consumer, places, QUERY_SECONDS)
    }


class InputLog(Protocol):
    """The inputs of a group and their dead letters. One thread owns it.

    Every method raises RetryableError if no broker answers, and FatalError if it refuses.
    """

    def committed(self, partitions: Iterable[int]) -> Mapping[int, Place]:
        """The group's offsets. It waits for the end of open transactions of other members."""
        ...

    def first_retained(self, partition: int) -> int:
        """The first input that is left, or the end of the log."""
        ...

    def dead_letters(self, partition: int) -> Span:
        """The dead letters of a partition that are left, up to the end of the log.

        Reading up to the end waits for open transactions. An offset of the group that was read
        before belongs to a transaction whose dead letters are within this span.
        """
        ...

    def stable_dead_letter_end(self, partition: int) -> int:
        """Every dead letter that is not visible now will have at least this offset."""
        ...

    def refused(self, partition: int, span: Span) -> NDArray[np.int64]:
        """The inputs that dead letters of this span say were never accepted, sorted.

        Raises:
            InputMissing: a dead letter was removed or cannot be read.
        """
        ...

    def read(
        self, partition: int, span: Span, refused: NDArray[np.int64], layout: Layout | None
    ) -> Iterator[InputRows]:
        """The accepted inputs of a span, in offset order.

        Raises:
            InputMissing: an input was removed or cannot be read.
        """
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


class KafkaInputLog:
    """The log on Kafka. Connections are opened on first use.

    Args:
        settings: broker, group and topics.
        decoder: the decoder that the scorer uses, of its own.
    """

    def __init__(self, settings: GroupSettings, decoder: TransactionDecoder) -> None:
        self._settings = settings
        self._decoder = decoder
        self._consumers: dict[str, KeptConsumer] = {}

    def committed(self, partitions: Iterable[int]) -> Mapping[int, Place]:
        """Asks the group's coordinator; the group is not joined."""
        try:
            with self._request("read_committed") as consumer:
                return fetch_places(consumer, self._settings.input_topic, partitions)
        except KafkaException as error:
            raise translate(error) from error

    def first_retained(self, partition: int) -> int:
        """Asks the leader."""
        with self._request("read_committed") as consumer:
            return fetch_span(consumer, self._settings.input_topic, partition).low

    def dead_letters(self, partition: int) -> Span:
        """Asks the leader for the high watermark."""
        with self._request("read_uncommitted") as consumer:
            return fetch_span(consumer, self._settings.dlq_topic, partition)

    def stable_dead_letter_end(self, partition: int) -> int:
        """Asks the leader for the last stable offset."""
        with self._request("read_committed") as consumer:
            return fetch_span(consumer, self._settings.dlq_topic, partition).high

    def refused(self, partition: int, span: Span) -> NDArray[np.int64]:
        """Reads the dead letters, if there are any."""
        if span.low >= span.high:
            return _NONE
        found = read_dead_letters(
            self._settings,
            self._settings.kafka_group_id,
            {partition: span},
        )
        return refused_inputs(found).get(partition, _NONE)

    def read(
        self, partition: int, span: Span, refused: NDArray[np.int64], layout: Layout | None
    ) -> Iterator[InputRows]:
        """Reads and decodes the inputs."""
        return read_inputs(
            self._settings,
            self._settings.kafka_group_id,
            {partition: span},
            self._decoder,
            {partition: refused},
            layout=layout,
        )

    def close(self) -> None:
        """Close the connections for requests; readers close their own."""
        for consumer in self._consumers.values():
            consumer.close()
        self._consumers.clear()

    @contextmanager
    def _request(self, isolation: str) -> Iterator[Consumer]:
        if isolation not in self._consumers:
            self._consumers[isolation] = KeptConsumer(partial(self._open, isolation))
        with self._consumers[isolation].request() as consumer:
            consumer.poll(0)  # nothing is assigned: this serves errors queued in an outage
            yield consumer

    def _open(self, isolation: str) -> Consumer:
        more = {"isolation.level": isolation}
        return open_consumer(self._settings, self._settings.kafka_group_id, **more)


@contextmanager
def using_input_log(settings: GroupSettings) -> Iterator[KafkaInputLog]:
    """A log with the schemas of the registry if one is configured; closed at the end."""
    with using_resolver(settings) as resolver:
        log = KafkaInputLog(settings, TransactionDecoder(resolver))
        try:
            yield log
        finally:
            log.close()
