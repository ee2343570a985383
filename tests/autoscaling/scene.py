"""The setup of a measurement: a broker, topics, a small model and scorer processes."""

from __future__ import annotations

import re
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.batch import build_batch
from schemas.transactions.codec import encode_transactions
from stream_scorer.kafka.admin import create_topics
from stream_scorer.kafka.clients import open_admin, open_consumer, open_producer
from stream_scorer.kafka.driver import TopicPartition
from stream_scorer.local.broker import EmbeddedBroker
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.process.topics import wanted_topics
from stream_scorer.runtime.settings import KafkaSettings, TopicSettings
from tests.support.factories import make_transactions, publish
from tests.support.names import random_topics
from tests.support.processes import ScorerFleet, ScorerUnderTest, fleet
from tests.support.waiting import wait_until

PARTITIONS = 12
_ASSIGNED = re.compile(r"^fraud_scorer_assigned_partitions ([\d.]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Scene:
    """The setup of a measurement."""

    settings: KafkaSettings
    topics: TopicSettings
    fleet: ScorerFleet

    def owned(self) -> list[int]:
        """Number of partitions of each running scorer."""
        running = [s for s in self.fleet.scorers if s.process.poll() is None]
        return [_owned(scorer) for scorer in running]

    def wait_for_members(self, count: int) -> None:
        """Wait until ``count`` scorers share all partitions evenly."""

        def is_balanced() -> bool:
            owned = self.owned()
            fair = len(owned) == count and max(owned) - min(owned) <= 1
            return fair and sum(owned) == PARTITIONS

        wait_until(is_balanced, 90, what=f"{count} members to share the partitions", interval=0.1)


def _owned(scorer: ScorerUnderTest) -> int:
    try:
        found = _ASSIGNED.search(scorer.metrics())
    except OSError:
        return 0
    return int(float(found[1])) if found else 0


@contextmanager
def open_broker() -> Iterator[KafkaSettings]:
    """An embedded Kafka."""
    with EmbeddedBroker() as broker:
        yield broker.settings


@contextmanager
def open_scene(settings: KafkaSettings, **environment: str) -> Iterator[Scene]:
    """New topics and a new group; all scorers are stopped afterwards."""
    topics = random_topics()
    create_topics(open_admin(settings), wanted_topics(topics), PARTITIONS, 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        publish(FileStore(folder / "store"))
        with fleet(
            settings, topics, f"group-{uuid.uuid4().hex[:8]}", folder, **environment
        ) as scorers:
            yield Scene(settings, topics, scorers)


def make_values(count: int = 1000) -> list[bytes]:
    """Encoded transactions."""
    return encode_transactions(build_batch(make_transactions(count)))


def fill(scene: Scene, values: Sequence[bytes], sizes: Sequence[int]) -> None:
    """Produce the given number of records to each partition."""
    producer = open_producer(scene.settings, **{"queue.buffering.max.messages": 1_000_000})
    for partition, size in enumerate(sizes):
        for number in range(size):
            producer.produce(
                scene.topics.input_topic, values[number % len(values)], b"1", partition
            )
            if number % 500 == 0:
                producer.poll(0)
    producer.flush(60)


class LagReader:
    """Reads the group's committed offsets."""

    def __init__(self, scene: Scene) -> None:
        self._topic = scene.topics.input_topic
        self._consumer: Any = open_consumer(scene.settings, scene.fleet.group_id)

    def committed(self) -> list[int]:
        """Committed offsets, by partition; 0 if there is none."""
        wanted = [TopicPartition(self._topic, p) for p in range(PARTITIONS)]
        return [max(0, found.offset) for found in self._consumer.committed(wanted, timeout=10)]

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()
