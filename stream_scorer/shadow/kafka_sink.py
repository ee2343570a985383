"""Publishes the challenger's scores: at least once, without a transaction, and droppable."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from schemas.contracts import load_schema, schema_fingerprint
from schemas.framing import prefix
from stream_scorer.errors import FatalError, RetryableError, UsageError
from stream_scorer.kafka.clients import open_producer
from stream_scorer.kafka.driver import KafkaError, KafkaException, Message, Producer
from stream_scorer.kafka.topics import existing_topics
from stream_scorer.runtime.registry import register_schema
from stream_scorer.runtime.stopping import close_within
from stream_scorer.settings import GroupSettings
from stream_scorer.stream.ports import Outgoing

log = logging.getLogger(__name__)

QUEUE_KBYTES: Final = 32 * 1024
"""Memory of the producer's queue; what does not fit is dropped."""

RETRY_SECONDS: Final = 60.0
_CLOSE_SECONDS: Final = 1.0

_GONE: Final = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
)


class KafkaSink:
    """A producer of its own for one topic, opened when it is first needed.

    :meth:`prepare` and :meth:`close` belong to one thread, :meth:`head` and :meth:`send` to
    another.

    Args:
        settings: the broker, the topics, and the registry.
        partitions: of the input topic: a score has the partition number of its input.
        on_lost: called with 1 for each record that the broker did not take.
    """

    def __init__(
        self, settings: GroupSettings, partitions: int, on_lost: Callable[[int], None]
    ) -> None:
        self._settings = settings
        self._partitions = partitions
        self._on_lost = on_lost
        self._producer: Producer | None = None
        self._head: bytes | None = None
        self._retry_at = float("-inf")
        self._reported: str | None = None

    @property
    def topic(self) -> str:
        """The topic."""
        return self._settings.shadow_topic

    def head(self) -> bytes | None:
        """The framing of scores; None while they cannot be published."""
        return self._head

    def prepare(self) -> None:
        """Check the topic and register the schema, once a minute until it succeeds.

        What is wrong is logged once; the challenger scores all the same, for its metrics.
        """
        if self._head is not None or time.monotonic() < self._retry_at:
            return
        self._retry_at = time.monotonic() + RETRY_SECONDS
        try:
            # Before the first record: a producer's request may create a missing topic.
            found = existing_topics(self._settings, [self.topic]).get(self.topic)
            if found is None:
                self._report("it does not exist")
                return
            if found < self._partitions:
                self._report(f"it has {found} partitions, and the input has {self._partitions}")
                return
            contract = load_schema("fraud_score")
            schema_id = register_schema(self._settings, self.topic, contract)
            if self._producer is None:
                self._producer = self._open()
            self._head = prefix(schema_fingerprint(contract), schema_id)
            self._reported = None
        except (RetryableError, FatalError, UsageError) as error:
            self._report(str(error))

    def send(self, records: Sequence[Outgoing]) -> int:
        """Put records into the producer's queue; returns how many found no room."""
        producer = self._producer
        if producer is None:
            return len(records)
        for sent, (topic, partition, key, value, headers) in enumerate(records):
            try:
                producer.produce(
                    topic, value, key, partition, headers=headers, on_delivery=self._on_delivery
                )
            except BufferError:
                producer.poll(0)
                return len(records) - sent
            except KafkaException as error:
                self._failed(error.args[0])
                return len(records) - sent
        producer.poll(0)
        return 0

    def close(self) -> None:
        """Send what is in the queue, for at most a second."""
        if (producer := self._producer) is not None:
            close_within(_CLOSE_SECONDS, lambda: producer.flush(_CLOSE_SECONDS), "shadow-close")

    def _open(self) -> Producer:
        return open_producer(
            self._settings,
            **{
                "enable.idempotence": False,  # a duplicate does no harm
                "acks": "1",
                "queue.buffering.max.kbytes": QUEUE_KBYTES,
                "message.timeout.ms": 30_000,
                "linger.ms": 50,
            },
        )

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._on_lost(1)
            self._failed(error)

    def _failed(self, error: KafkaError) -> None:
        if error.code() in _GONE:
            self._head = None
        self._report(error.str())

    def _report(self, reason: str) -> None:
        """Log what is wrong with the topic, once for each reason."""
        if reason != self._reported:
            self._reported = reason
            log.warning(
                "the challenger's scores are not kept: topic %s: %s (create it with: stream-scorer "
                "topics create)", self.topic, reason,
            )  # fmt: skip
