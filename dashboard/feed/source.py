"""The feed's source of score records: the port, and its Kafka implementation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.admin import describe_topics, topic_partitions
from stream_scorer.kafka.bounds import committed_bounds
from stream_scorer.kafka.clients import open_admin, open_consumer
from stream_scorer.kafka.driver import (
    AdminClient,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from stream_scorer.kafka.errors import is_non_retriable, translate
from stream_scorer.kafka.messages import Records
from stream_scorer.runtime.settings import KafkaSettings

_GROUP: Final = "fraud-dashboard"  # librdkafka requires a group id; no offsets are committed
_EXPLAIN_SECONDS: Final = 2.0
_METADATA_SECONDS: Final = 3.0  # a reachable broker responds to metadata requests in milliseconds


@dataclass(frozen=True, slots=True)
class TopicBounds:
    """The cluster id, and the first and next offset of each partition of the topic.

    A topic that is deleted and created again has another ``topic_id``. None: brokers before 2.8.
    """

    cluster: str
    bounds: Mapping[int, tuple[int, int]]
    topic_id: str | None = None


@dataclass(frozen=True, slots=True)
class FeedBatch:
    """One poll: records in topic order, and the next offset of each partition read to its end."""

    records: Sequence[tuple[int, int, bytes | None]]
    ends_reached: Mapping[int, int]


class ScoreSource(Protocol):
    """Reads the committed records of the scores topic.

    Every call raises RetryableError, or FatalError if only an operator can fix the cause.
    """

    def fetch_bounds(self) -> TopicBounds | None:
        """The bounds of the topic. None if the topic does not exist."""
        ...

    def assign(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions from these offsets."""
        ...

    def poll(self, max_records: int, seconds: float) -> FeedBatch:
        """Up to ``max_records`` records. Waits up to ``seconds`` for the first one."""
        ...

    def close(self) -> None:
        """Stop reading."""
        ...


class KafkaScores:
    """The scores topic on a Kafka cluster, read with read_committed. Joins no group."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._topic = topic
        self._settings = settings
        self._admin: AdminClient | None = None
        self._consumer: Consumer = open_consumer(
            settings,
            _GROUP,
            **{
                "enable.partition.eof": True,  # the only exact signal of having caught up
                "queued.min.messages": 20_000,
                # Default 64 MiB. This is half a second of reading; the driver needs as much again.
                "queued.max.messages.kbytes": 4096,
            },
        )

    def fetch_bounds(self) -> TopicBounds | None:
        """A request for the metadata, two for the bounds, and one for the id of the topic."""
        if self._admin is None:
            self._admin = open_admin(self._settings)
        try:
            # By name: a list of all topics leaves out those this user is not authorized for.
            metadata = self._admin.list_topics(self._topic, timeout=_METADATA_SECONDS)
            found = metadata.topics.get(self._topic)
            problem = None if found is None else found.error
            if isinstance(problem, KafkaError) and is_non_retriable(problem):
                raise FatalError(f"not authorized for topic {self._topic}: grant this user READ")
            if found is None or problem is not None:
                return None
            places = [(self._topic, partition) for partition in sorted(found.partitions)]
            bounds = committed_bounds(self._admin, places, _METADATA_SECONDS)
        except KafkaException as error:
            raise self._explain(error) from error
        by_partition = {partition: both for (_, partition), both in bounds.items()}
        return TopicBounds(str(metadata.cluster_id), by_partition, self._topic_id(self._admin))

    def _topic_id(self, admin: AdminClient) -> str | None:
        """The id of the topic. None if this user may not ask for it."""
        try:
            found = describe_topics(admin, [self._topic], _METADATA_SECONDS)
        except FatalError:
            return None
        return found[self._topic].topic_id if self._topic in found else None

    def _explain(self, error: KafkaException) -> RetryableError | FatalError:
        """The cause of a failed request: an admin client gets it at once, a consumer must poll."""
        try:
            topic_partitions(open_admin(self._settings), [self._topic], _EXPLAIN_SECONDS)
        except (RetryableError, FatalError) as explained:
            return explained
        return translate(error)

    def assign(self, offsets: Mapping[int, int]) -> None:
        """Replace the assignment. An offset that retention removed resets to the earliest one."""
        try:
            self._consumer.assign([TopicPartition(self._topic, p, o) for p, o in offsets.items()])
        except KafkaException as error:
            raise translate(error) from error

    def poll(self, max_records: int, seconds: float) -> FeedBatch:
        """Poll the consumer. Raises a partition's error unless it is retriable."""
        found: list[Message] = []
        ends: dict[int, int] = {}
        try:
            messages = self._consumer.consume(max_records, seconds)
        except KafkaException as error:
            raise translate(error) from error
        for message in messages:
            # Partition and offset are None only in errors that do not belong to a partition.
            partition, offset = message.partition() or 0, message.offset() or 0
            problem = message.error()
            if problem is None:
                found.append(message)
            elif problem.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                continue  # librdkafka looks up a group coordinator that this consumer does not use
            elif problem.code() == KafkaError._PARTITION_EOF:
                ends[partition] = offset
            elif not problem.retriable():
                raise translate(KafkaException(problem))
        records = Records(found)
        partitions, offsets = records.partitions.tolist(), records.offsets.tolist()
        return FeedBatch(list(zip(partitions, offsets, records.values, strict=True)), ends)

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()


__all__ = ["FeedBatch", "KafkaScores", "ScoreSource", "TopicBounds"]
