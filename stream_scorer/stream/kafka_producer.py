"""Produces scores and dead letters, and checks that they were acknowledged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.clients import build_client
from stream_scorer.kafka.driver import (
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from stream_scorer.kafka.errors import translate
from stream_scorer.runtime.settings import KafkaSettings
from stream_scorer.stream.kafka_calls import TransactionCalls, serve_callbacks
from stream_scorer.stream.kafka_options import GroupOptions, txn_producer_config
from stream_scorer.stream.ports import Outgoing

_INIT_SECONDS: Final = 30.0  # a coordinator that has just started first loads its log
_FULL_QUEUE_SECONDS: Final = 0.05


class OutcomeProducer:
    """A driver's producer. One thread uses it at a time.

    Args:
        settings: how to connect to the broker.
        options: transaction timeout and batch size.
        calls: makes the transaction calls of the group member.
        is_transactional: False only for comparisons: such a producer can duplicate records.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        options: GroupOptions,
        calls: TransactionCalls,
        *,
        is_transactional: bool = True,
    ) -> None:
        self._calls = calls
        self._timeout = options.txn_timeout_ms / 1000
        self._failure: tuple[KafkaError, Message] | None = None
        self._is_transactional = is_transactional
        config = txn_producer_config(settings, options, self._on_delivery)
        if not is_transactional:
            del config["transactional.id"], config["transaction.timeout.ms"]
        self._client = build_client(Producer, config)

    def connect(self) -> None:
        """Register the transactional id, which fences any earlier producer with the same id."""
        if self._is_transactional:
            self._calls.make(partial(self._client.init_transactions, _INIT_SECONDS))

    def serve(self) -> None:
        """Serve the client's callbacks; an idle client queues up errors during an outage."""
        serve_callbacks(partial(self._client.poll, 0))

    def begin(self) -> None:
        """Begin a transaction."""
        self._failure = None
        if self._is_transactional:
            self._calls.make(self._client.begin_transaction)

    def publish(self, records: Sequence[Outgoing]) -> None:
        """Produce records and wait until all are acknowledged.

        Raises:
            RetryableError, FatalError: a record was not acknowledged.
        """
        produce = self._client.produce
        for topic, partition, key, value, headers in records:
            while True:
                try:
                    produce(topic, value, key, partition, headers=headers)
                    break
                except BufferError:
                    serve_callbacks(partial(self._client.poll, _FULL_QUEUE_SECONDS))
                except KafkaException as error:
                    raise _publish_error(error.args[0], topic, partition) from error
        if self._flush() > 0:
            raise RetryableError("kafka: not every record was acknowledged in time")
        if self._failure is not None:
            cause, message = self._failure
            raise _publish_error(cause, str(message.topic()), message.partition())

    def send_offsets(self, topic: str, offsets: Mapping[int, int], fence: Any) -> None:
        """Add the next offsets to read to the transaction, with the poll's group metadata."""
        places = [TopicPartition(topic, p, o) for p, o in offsets.items()]
        self._calls.make(
            lambda: self._client.send_offsets_to_transaction(places, fence, self._timeout)
        )

    def commit(self) -> None:
        """Commit the transaction."""
        self._calls.make(lambda: self._client.commit_transaction(self._timeout))

    def abort(self) -> None:
        """Abort the transaction, after flushing the records in flight (librdkafka #4849)."""
        self._flush()
        self._calls.make(lambda: self._client.abort_transaction(self._timeout))

    def close(self, seconds: float) -> None:
        """Flush, for at most ``seconds``."""
        serve_callbacks(partial(self._client.flush, seconds))

    def _flush(self) -> int:
        """Wait for acknowledgements; the number of records that got none."""
        return serve_callbacks(partial(self._client.flush, self._timeout))

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._failure is None:
            self._failure = error, message


def _publish_error(
    error: KafkaError, topic: str, partition: int | None
) -> RetryableError | FatalError:
    """Why a record could not be written, and how to fix it.

    The topics' limits are read when the process starts. After one has changed, only a new process
    can continue: it waits for the topics, or dead-letters records that no longer fit.
    """
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return FatalError(
            f"topic {topic} now accepts only smaller records than when this process started "
            "(max.message.bytes); restart the process to apply the new limit"
        )
    if error.code() == KafkaError._UNKNOWN_PARTITION:
        return FatalError(
            f"topic {topic} has no partition {partition}, but the input topic has: an outcome is "
            "written to the same partition number as its input (add the missing partitions with: "
            "stream-scorer topics create)"
        )
    failure = translate(KafkaException(error))
    return type(failure)(f"topic {topic}: {failure}")
