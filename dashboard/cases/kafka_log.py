"""The topics of the desk on a Kafka cluster."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from dashboard.cases.log import (
    CONTRACTS,
    CREATE_TOPICS,
    Channel,
    LogBatch,
    LogBounds,
    LogRecord,
    NewRecord,
    Place,
    Positions,
)
from schemas.contracts import load_schema
from schemas.records import encode_record
from stream_scorer.errors import FatalError, ScorerError
from stream_scorer.kafka.admin import describe_topics
from stream_scorer.kafka.bounds import committed_bounds
from stream_scorer.kafka.clients import open_admin, open_consumer, open_producer
from stream_scorer.kafka.driver import (
    AdminClient,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from stream_scorer.kafka.errors import is_non_retriable, is_unreadable_batch, translate
from stream_scorer.kafka.messages import Records
from stream_scorer.kafka.retry import fetch_bounds
from stream_scorer.kafka.unreadable import pass_batch
from stream_scorer.runtime.registry import RegistryResolver
from stream_scorer.settings import GroupSettings

log = logging.getLogger(__name__)

_GROUP: Final = "fraud-dashboard-desk"  # librdkafka requires a group id; nothing is committed
_METADATA_SECONDS: Final = 3.0
_POLL_SECONDS: Final = 0.02
_BATCH_RECORDS: Final = 500  # audit events and labels are small: a batch is below a megabyte
_TIMEOUT_MS: Final = 1500  # an action waits this long; the outbox retries with the same id


class KafkaLog:
    """Writes with acks=all and idempotence, and opens readers. Safe for several threads."""

    def __init__(self, settings: GroupSettings, registry: RegistryResolver | None = None) -> None:
        self._settings = settings
        self._registry = registry
        self._names = {Channel.LABELS: settings.labels_topic, Channel.AUDIT: settings.audit_topic}
        self._schema_ids: dict[Channel, int] = {}
        self._lock = threading.Lock()
        self._open_producer: Producer | None = None
        self.problem: str | None = None
        """Why the last write failed. None if it did not."""

    def name_of(self, channel: Channel) -> str:
        """The name of a topic."""
        return self._names[channel]

    def append(self, records: Sequence[NewRecord], seconds: float) -> list[Place | None]:
        """Write records and wait for the broker's confirmation."""
        places: list[Place | None] = [None] * len(records)
        waiting = set(range(len(records)))
        deadline = time.monotonic() + seconds

        def confirm(row: int) -> Callable[[KafkaError | None, Message], None]:
            def delivered(error: KafkaError | None, message: Message) -> None:
                # Called by whichever thread polls the producer.
                if error is None:
                    places[row] = Place(message.partition() or 0, message.offset() or 0)
                    self.problem = None
                else:
                    self._note(f"cannot write to {self._names[records[row].channel]}: {error}")
                    self._discard_if_broken(error)
                waiting.discard(row)

            return delivered

        try:
            producer = self._producer()
            for row, record in enumerate(records):
                if (value := self._encode(record)) is None:
                    waiting.discard(row)
                    continue
                producer.produce(
                    self._names[record.channel],
                    value,
                    record.key,
                    headers=list(record.headers),
                    on_delivery=confirm(row),
                )
            while waiting and time.monotonic() < deadline:
                producer.poll(_POLL_SECONDS)
        except (KafkaException, BufferError, ScorerError) as error:
            is_refused = self._discard_if_broken(error)
            why = "the broker refuses this user: it needs WRITE on both" if is_refused else error
            self._note(f"cannot write to the topics of the desk: {why}")
        return places

    def _note(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("%s", problem)
        self.problem = problem

    def open_reader(self) -> KafkaLogReader:
        """A reader of both topics."""
        self._producer()  # it connects meanwhile, so that the first decision does not wait for it
        return KafkaLogReader(self._settings, self._names)

    def close(self) -> None:
        """Close the producer. What it has not sent is in the outbox."""
        with self._lock:
            producer, self._open_producer = self._open_producer, None
        if producer is not None:
            with contextlib.suppress(KafkaException):  # of a producer that can no longer be used
                producer.purge()
                producer.flush(1.0)

    def _producer(self) -> Producer:
        with self._lock:
            if self._open_producer is None:
                self._open_producer = open_producer(
                    self._settings,
                    **{
                        "linger.ms": 0,
                        "message.timeout.ms": _TIMEOUT_MS,
                        "socket.timeout.ms": _TIMEOUT_MS,
                        "client.id": "fraud-dashboard",
                    },
                )
            return self._open_producer

    def _discard_if_broken(self, error: object) -> bool:
        """A producer with a fatal error never recovers, so the next call opens another.

        That is also so where this user could not write to any topic at first: the broker then
        refuses the producer id (KIP-679), and librdkafka never asks again.
        """
        if isinstance(error, KafkaException):
            error = error.args[0]
        if isinstance(error, KafkaError) and (error.fatal() or error.code() == KafkaError._FATAL):
            with self._lock:
                self._open_producer = None
            return True
        return False

    def _encode(self, record: NewRecord) -> bytes | None:
        """The value of a record. None if it does not fit its contract: others must not wait."""
        schema_id = self._schema_id(record.channel)
        try:
            return encode_record(CONTRACTS[record.channel], dict(record.record), schema_id)
        except ValueError as error:
            self._note(f"cannot write to {self._names[record.channel]}: {error}")
            return None

    def _schema_id(self, channel: Channel) -> int | None:
        """The id of our schema in the registry. None without a registry."""
        if self._registry is None:
            return None
        if channel not in self._schema_ids:
            schema = load_schema(CONTRACTS[channel])
            subject = f"{self._names[channel]}-value"
            self._schema_ids[channel] = self._registry.register(subject, schema)
        return self._schema_ids[channel]


class KafkaLogReader:
    """Reads the committed records of both topics. Joins no group."""

    def __init__(self, settings: GroupSettings, names: Mapping[Channel, str]) -> None:
        self._settings = settings
        self._names = names
        self._channels = {name: channel for channel, name in names.items()}
        self._admin: AdminClient | None = None
        self._consumer: Consumer = open_consumer(
            settings,
            _GROUP,
            **{
                "enable.partition.eof": True,
                "queued.min.messages": 1000,
                "queued.max.messages.kbytes": 8192,
            },
        )

    def fetch_bounds(self) -> LogBounds:
        """Metadata of both topics, and the bounds of their partitions.

        Not asked of the consumer, whose connection is busy: meanwhile nothing is read, and an
        analyst may wait for what is on the topic already.
        """
        if self._admin is None:
            self._admin = open_admin(self._settings)
        places = list[tuple[str, int]]()
        problems: dict[Channel, str] = {}
        cluster = ""
        try:
            for channel, name in self._names.items():
                # By name: a list of all topics leaves out those this user is not authorized for.
                metadata = self._admin.list_topics(name, timeout=_METADATA_SECONDS)
                cluster = str(metadata.cluster_id)
                found = metadata.topics.get(name)
                problem = None if found is None else found.error
                if isinstance(problem, KafkaError) and is_non_retriable(problem):
                    problems[channel] = "needs the permissions READ and WRITE for this user"
                    continue
                if found is None or problem is not None:
                    problems[channel] = CREATE_TOPICS
                    continue
                places += [(name, partition) for partition in sorted(found.partitions)]
            found_bounds = committed_bounds(self._admin, places, _METADATA_SECONDS)
        except KafkaException as error:
            raise translate(error) from error
        bounds = {(self._channels[name], p): both for (name, p), both in found_bounds.items()}
        return LogBounds(cluster, bounds, problems, self._topic_ids(self._admin, problems))

    def _topic_ids(self, admin: AdminClient, problems: Mapping[Channel, str]) -> dict[Channel, str]:
        """The ids of the topics. None of them if this user may not ask for them."""
        names = [name for channel, name in self._names.items() if channel not in problems]
        try:
            found = describe_topics(admin, names, _METADATA_SECONDS) if names else {}
        except FatalError as error:
            log.debug("the ids of the topics are not known: %s", error)
            return {}
        return {
            self._channels[name]: summary.topic_id
            for name, summary in found.items()
            if summary.topic_id is not None
        }

    def _partition_bounds(self, name: str, partition: int) -> tuple[int, int]:
        return fetch_bounds(self._consumer, TopicPartition(name, partition), _METADATA_SECONDS)

    def assign(self, positions: Positions) -> None:
        """Replace the assignment. An offset that retention removed resets to the earliest one."""
        try:
            self._consumer.assign(
                [TopicPartition(self._names[c], p, at) for (c, p), at in positions.items()]
            )
        except KafkaException as error:
            raise translate(error) from error

    def poll(self, seconds: float) -> LogBatch:
        """The records that have arrived. A batch that cannot be read is passed over."""
        try:
            first = self._consumer.poll(seconds)
            if first is None:
                return LogBatch()
            messages = [first, *self._consumer.consume(_BATCH_RECORDS, 0)]
            return self._sort(messages)
        except KafkaException as error:
            raise translate(error) from error

    def _sort(self, messages: Sequence[Message]) -> LogBatch:
        found, ends = list[Message](), dict[tuple[Channel, int], int]()
        for message in messages:
            problem = message.error()
            if problem is None:
                found.append(message)
                continue
            channel = self._channels.get(message.topic() or "")
            partition, offset = message.partition(), message.offset()
            if channel is None or partition is None or offset is None:
                _raise_unless_transient(problem)
            elif problem.code() == KafkaError._PARTITION_EOF:
                ends[channel, partition] = offset
            elif is_unreadable_batch(problem):
                ends[channel, partition] = self._pass(channel, partition, offset)
            else:
                _raise_unless_transient(problem)
        return LogBatch(self._records(found), ends)

    def _pass(self, channel: Channel, partition: int, offset: int) -> int:
        """Continue after a batch that the client cannot read. Returns the next offset."""
        name = self._names[channel]
        _, high = self._partition_bounds(name, partition)
        passed = pass_batch(self._settings, _GROUP, name, partition, offset, high)
        log.warning("%s %d:%d: a batch that cannot be read is skipped", name, partition, offset)
        self._consumer.incremental_unassign([TopicPartition(name, partition)])
        self._consumer.incremental_assign([TopicPartition(name, partition, passed.next_offset)])
        return passed.next_offset

    def _records(self, messages: Sequence[Message]) -> list[LogRecord]:
        records = Records(messages)
        faults = records.faults()
        channels = [self._channels[message.topic() or ""] for message in messages]
        rows: Any = zip(
            channels, records.partitions.tolist(), records.offsets.tolist(),
            records.times.tolist(), records.values, records.headers, strict=True,
        )  # fmt: skip
        return [
            LogRecord(channel, Place(partition, offset), time_ms, value, headers, faults.get(row))
            for row, (channel, partition, offset, time_ms, value, headers) in enumerate(rows)
        ]

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()


def _raise_unless_transient(problem: KafkaError) -> None:
    # librdkafka looks up a group coordinator that this consumer does not use.
    if problem.code() != KafkaError.GROUP_AUTHORIZATION_FAILED and not problem.retriable():
        raise KafkaException(problem)
