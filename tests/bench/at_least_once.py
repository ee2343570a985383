"""The scorer's broker without transactions. For comparison only: it can duplicate records."""

from __future__ import annotations

from collections.abc import Sequence

from stream_scorer.kafka.driver import Consumer, TopicPartition
from stream_scorer.runtime.settings import KafkaSettings
from stream_scorer.stream.kafka_broker import KafkaBroker
from stream_scorer.stream.kafka_options import GroupOptions
from stream_scorer.stream.kafka_producer import OutcomeProducer
from stream_scorer.stream.ports import Outgoing, Polled


class AtLeastOnceBroker(KafkaBroker):
    """Publishes, waits for the acknowledgements, then commits the offsets."""

    def __init__(self, settings: KafkaSettings, options: GroupOptions) -> None:
        super().__init__(settings, options, is_transactional=False)

    def begin(self) -> PlainTxn:  # type: ignore[override] # it has none of the guarantees
        """There is no transaction to begin."""
        return PlainTxn(self._begin(), self._consumer)


class PlainTxn:
    """Publishes and commits separately."""

    def __init__(self, producer: OutcomeProducer, consumer: Consumer) -> None:
        self._producer = producer
        self._consumer = consumer

    def publish(self, records: Sequence[Outgoing]) -> None:
        """Produce and wait for every acknowledgement."""
        self._producer.publish(records)

    def commit(self, polled: Polled) -> None:
        """Commit the offsets."""
        offsets = [TopicPartition(polled.topic, p, o) for p, o in polled.next_offsets().items()]
        self._consumer.commit(offsets=offsets, asynchronous=False)

    def abort(self, *polled: Polled) -> None:
        """Published records cannot be undone."""
        raise AssertionError(f"a benchmark must not abort {len(polled)} batches")
