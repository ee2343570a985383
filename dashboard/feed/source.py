"""Where score records come from: the port of the feed, and Kafka behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.admin import topic_partitions
from stream_scorer.kafka.clients import open_admin, open_consumer
from stream_scorer.kafka.driver import Consumer, KafkaError, KafkaException, TopicPartition
from stream_scorer.kafka.errors import is_non_retriable, translate
from stream_scorer.runtime.settings import KafkaSettings

_GROUP: Final = "fraud-dashboard"  # librdkafka wants a name; nothing is ever committed under it
_WHY_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 3.0  # a broker that is there answers metadata in milliseconds


@dataclass(frozen=True, slots=True)
class Place:
    """What is there to read: the cluster, and first and next offset of each partition."""

    cluster: str
    bounds: Mapping[int, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class FeedBatch:
    """Records in topic order, and the partitions whose end was reached (next offset)."""

    records: Sequence[tuple[int, int, bytes | None]]
    ends_reached: Mapping[int, int]


class ScoreSource(Protocol):
    """Committed records of the scores topic. Every call raises RetryableError on trouble."""

    def find(self) -> Place | None:
        """The cluster and topic; None while the topic does not exist."""
        ...

    def assign(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions from these offsets."""
        ...

    def poll(self, most: int, seconds: float) -> FeedBatch:
        """Up to ``most`` records, waiting up to ``seconds`` for the first ones."""
        ...

    def close(self) -> None:
        """Stop reading."""
        ...


class KafkaScores:
    """The scores topic on a real cluster: read_committed, no group, no commits."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._topic = topic
        self._settings = settings
        self._consumer: Consumer = open_consumer(
            settings,
            _GROUP,
            **{
                "enable.partition.eof": True,  # the only exact sign of "caught up"
                "queued.min.messages": 20_000,
                "queued.max.messages.kbytes": 16_384,  # default 64 MiB
            },
        )

    def find(self) -> Place | None:
        """One metadata request, and one request for each partition's bounds."""
        try:
            # By name: a list of all leaves out those we have no right on.
            metadata = self._consumer.list_topics(self._topic, timeout=_ANSWER_SECONDS)
            found = metadata.topics.get(self._topic)
            problem = None if found is None else found.error
            if isinstance(problem, KafkaError) and is_non_retriable(problem):
                raise FatalError(f"no right on topic {self._topic}: grant this user READ on it")
            if found is None or problem is not None:
                return None
            bounds = {p: self._bounds(p) for p in sorted(found.partitions)}
        except KafkaException as error:
            raise self._explain(error) from error
        return Place(str(metadata.cluster_id), bounds)

    def _explain(self, error: KafkaException) -> RetryableError | FatalError:
        """Why nobody answers: a consumer is only told while it polls, an admin client at once."""
        try:
            topic_partitions(open_admin(self._settings), [self._topic], _WHY_SECONDS)
        except (RetryableError, FatalError) as told:
            return told
        return translate(error)

    def _bounds(self, partition: int) -> tuple[int, int]:
        marks = self._consumer.get_watermark_offsets(
            TopicPartition(self._topic, partition), timeout=_ANSWER_SECONDS
        )
        if marks is None:
            raise RetryableError(f"no answer about partition {partition} of {self._topic}")
        return int(marks[0]), int(marks[1])

    def assign(self, offsets: Mapping[int, int]) -> None:
        """Replace what is read; an offset past retention goes on at the earliest one."""
        try:
            self._consumer.assign([TopicPartition(self._topic, p, o) for p, o in offsets.items()])
        except KafkaException as error:
            raise translate(error) from error

    def poll(self, most: int, seconds: float) -> FeedBatch:
        """Records and ends; an error of one partition that retries cannot mend is raised."""
        records: list[tuple[int, int, bytes | None]] = []
        ends: dict[int, int] = {}
        try:
            messages = self._consumer.consume(most, seconds)
        except KafkaException as error:
            raise translate(error) from error
        for message in messages:
            # None stands only in errors that are not of one partition.
            partition, offset = message.partition() or 0, message.offset() or 0
            trouble = message.error()
            if trouble is None:
                records.append((partition, offset, message.value()))
            elif trouble.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                continue  # librdkafka looks for a coordinator all the same; we need none
            elif trouble.code() == KafkaError._PARTITION_EOF:
                ends[partition] = offset
            elif not trouble.retriable():
                raise translate(KafkaException(trouble))
        return FeedBatch(records, ends)

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()


__all__ = ["FeedBatch", "KafkaScores", "Place", "ScoreSource"]
