"""Reads single records of the input topic: what a flagged transaction looked like on arrival."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from schemas.framing import Headers
from schemas.records import decode_record
from schemas.resolver import SchemaResolver
from stream_scorer.errors import RetryableError, ScorerError
from stream_scorer.kafka.clients import open_consumer
from stream_scorer.kafka.driver import Consumer, KafkaError, KafkaException, Message, TopicPartition
from stream_scorer.kafka.errors import translate
from stream_scorer.kafka.kept import KeptConsumer
from stream_scorer.kafka.messages import Records
from stream_scorer.kafka.retry import fetch_bounds
from stream_scorer.runtime.settings import KafkaSettings

READ_SECONDS: Final = 3.0
"""A read takes milliseconds. It ends after this time."""

_READER_GROUP: Final = "fraud-dashboard"  # librdkafka requires a group id; nothing is committed
_UNKNOWN_TOPIC: Final = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
)


class RecordGone(Exception):
    """There is no record at these coordinates any more. The message says why."""


@dataclass(frozen=True, slots=True)
class InputRecord:
    """A record as it is on the topic. ``appended_at`` is its Kafka timestamp."""

    appended_at: int
    key: bytes | None
    value: bytes | None
    headers: Headers = None


class RecordSource(Protocol):
    """Reads single records."""

    def read(self, topic: str, partition: int, offset: int) -> InputRecord:
        """The record with these coordinates.

        Raises:
            RecordGone: it no longer exists.
            RetryableError, FatalError: Kafka cannot be read.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class KafkaRecords:
    """Reads from a Kafka cluster, one record at a time. Connects with the first one."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._kept = KeptConsumer(self._open)

    def read(self, topic: str, partition: int, offset: int) -> InputRecord:
        """One request for the bounds of the partition, and one for its record."""
        if not self._lock.acquire(timeout=READ_SECONDS):
            raise RetryableError("kafka: other records are being read")
        try:
            with self._kept.request() as consumer:
                return _read(consumer, TopicPartition(topic, partition, offset))
        except KafkaException as error:
            cause = error.args[0]
            if isinstance(cause, KafkaError) and cause.code() in _UNKNOWN_TOPIC:
                raise RecordGone(f"the topic {topic} no longer has this partition") from None
            raise translate(error) from error
        finally:
            self._lock.release()

    def _open(self) -> Consumer:
        return open_consumer(
            self._settings,
            _READER_GROUP,
            **{
                "enable.partition.eof": True,
                "queued.min.messages": 1,
                "queued.max.messages.kbytes": 1024,
            },
        )

    def close(self) -> None:
        """Close the consumer. A read that goes on ends first."""
        with self._lock:
            self._kept.close()


def _read(consumer: Consumer, place: TopicPartition) -> InputRecord:
    consumer.poll(0)  # nothing is assigned: this serves errors queued in an outage
    deadline = time.monotonic() + READ_SECONDS
    marks = fetch_bounds(consumer, TopicPartition(place.topic, place.partition), READ_SECONDS)
    if place.offset < marks[0]:
        raise RecordGone("its retention time has passed, and Kafka has deleted it")
    if place.offset >= marks[1]:
        raise RecordGone("the topic was created again, and ends before this record")
    try:
        consumer.assign([place])
        while (left := deadline - time.monotonic()) > 0:
            message = consumer.poll(left)
            if message is None or message.partition() != place.partition:
                continue
            problem = message.error()
            if problem is None and message.offset() == place.offset:
                return _as_record(message)
            if problem is None or problem.code() == KafkaError._PARTITION_EOF:
                raise RecordGone("Kafka has deleted it")
            if problem.code() != KafkaError.GROUP_AUTHORIZATION_FAILED and not problem.retriable():
                raise KafkaException(problem)
    finally:
        consumer.unassign()
    raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no record in time"))


def _as_record(message: Message) -> InputRecord:
    records = Records([message])
    return InputRecord(
        message.timestamp()[1], records.keys[0], records.values[0], records.headers[0]
    )


def decode_input(record: InputRecord, resolver: SchemaResolver) -> tuple[str, dict[str, Any]]:
    """The encoding of a record, ``json`` or ``avro``, and its fields.

    Raises:
        ValueError: it cannot be decoded. The message says why.
    """
    value = record.value
    if value is None:
        raise ValueError("the record has no value")
    if value.lstrip()[:1] == b"{":
        try:
            return "json", dict(orjson.loads(value))
        except orjson.JSONDecodeError as error:
            raise ValueError(f"not JSON: {error}") from None
    try:
        fields = decode_record("transaction", value, resolver, record.headers)
    except ScorerError as error:
        raise ValueError(f"the schema cannot be looked up: {error}") from None
    return "avro", {name: content for name, content in fields.items() if content is not None}


__all__ = ["InputRecord", "KafkaRecords", "RecordGone", "RecordSource", "decode_input"]
