"""The loop with histories on Kafka: faults at each call, and members that come and go."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.errors import RetryableError
from stream_scorer.kafka.clients import open_consumer, open_producer
from stream_scorer.kafka.driver import Consumer, TopicPartition
from stream_scorer.kafka.mark import parse_mark
from stream_scorer.kafka.retry import fetch_committed
from stream_scorer.runtime.settings import KafkaSettings, TopicSettings
from stream_scorer.stream.kafka_broker import KafkaBroker
from stream_scorer.stream.kafka_options import GroupOptions
from stream_scorer.stream.kafka_transaction import KafkaTransaction
from stream_scorer.stream.loop import LoopOptions, ScorerLoop, Step
from stream_scorer.stream.memory_broker import Record
from stream_scorer.stream.outcome import Destinations
from stream_scorer.stream.pipeline import Pipeline
from stream_scorer.stream.ports import NO_MARKS, Marks, Outgoing, Polled
from stream_scorer.stream.rejections.guard import RejectionGuard, RejectionPolicy
from tests.conftest import MakeTopics
from tests.support.factories import make_bundle
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import read_all, wait_readable
from tests.support.scoring_kit import ALWAYS, SINGLE_OBJECT, Seen, read_score
from tests.support.stream.fold_histories import (
    SCORE_BYTES,
    FoldHistories,
    Inputs,
    WatchedFeatures,
    watched,
)

PARTITIONS = 3
KINDS = ("good", "good", "good", "bad", "poison", "large", "redriven:score", "redriven:decode")
FAULTS = ("poll", "begin", "publish", "published", "commit", "serve", "step", "score")
SECONDS = 90.0


class Script:
    """What the next calls of each operation raise."""

    def __init__(self) -> None:
        self.faults: dict[str, list[Exception | None]] = {name: [] for name in FAULTS}

    def fail(self, operation: str) -> None:
        if self.faults[operation] and (fault := self.faults[operation].pop(0)) is not None:
            raise fault


class FaultyTxn(KafkaTransaction):
    """Fails before or after records are published, and before the offsets are sent."""

    script: Script

    def publish(self, records: Sequence[Outgoing]) -> None:
        self.script.fail("publish")
        super().publish(records)
        self.script.fail("published")

    def commit(self, polled: Polled, marks: Marks = NO_MARKS) -> None:
        self.script.fail("commit")
        super().commit(polled, marks)


class FaultyBroker(KafkaBroker):
    """A member whose calls fail as scripted."""

    script: Script

    def poll(self, max_records: int, timeout: float) -> Polled | None:
        self.script.fail("poll")
        return super().poll(max_records, timeout)

    def begin(self) -> KafkaTransaction:
        self.script.fail("begin")
        txn = super().begin()
        txn.__class__ = FaultyTxn
        assert isinstance(txn, FaultyTxn)
        txn.script = self.script
        return txn


@dataclass
class KafkaHistories(FoldHistories):
    """The fold, compared at the member's own positions."""

    reader: Consumer | None = None

    def position(self, partition: int) -> int:
        return int(vars(self.broker)["_positions"][partition])

    def committed_offsets(self, partitions: Sequence[int]) -> dict[int, int]:
        assert self.reader is not None
        assert isinstance(self.inputs.cluster, InputTopic)
        places = [TopicPartition(self.inputs.cluster.topic, p) for p in partitions]
        found = fetch_committed(self.reader, places, SECONDS)
        return {place.partition: max(place.offset, 0) for place in found}


@dataclass
class InputTopic:
    """Produces inputs, so that their offsets have no gaps."""

    settings: KafkaSettings
    topic: str

    def __post_init__(self) -> None:
        self._producer = open_producer(self.settings)

    def produce(self, partition: int, record: Record) -> None:
        self._producer.produce(
            self.topic, record.value, record.key, partition, headers=list(record.headers or ())
        )
        assert self._producer.flush(60) == 0


@dataclass
class Member:
    """One scorer."""

    loop: ScorerLoop
    broker: FaultyBroker
    histories: KafkaHistories
    script: Script
    checked: int = 0

    def run_once(self) -> Step:
        step = self.loop.run_once()
        self.checked += self.histories.check()
        return step

    @property
    def problems(self) -> list[str]:
        features = self.histories.bundle.features
        assert isinstance(features, WatchedFeatures)
        return self.histories.problems + features.problems


@dataclass
class World:
    """Topics, inputs, and the members of a group."""

    kafka: KafkaUnderTest
    topics: TopicSettings
    group: str
    protocol: str
    members: list[Member] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = open_consumer(self.kafka.settings, self.group)
        self.inputs = Inputs(InputTopic(self.kafka.settings, self.topics.input_topic))
        self.pipeline = Pipeline(
            TransactionDecoder(LocalSchemas()),
            Destinations(
                self.topics.output_topic,
                self.topics.dlq_topic,
                SINGLE_OBJECT,
                {self.topics.output_topic: SCORE_BYTES},
            ),
        )

    def produce(self, *kinds: str) -> None:
        for kind in kinds:
            self.inputs.produce(sum(map(len, self.inputs.produced.values())) % PARTITIONS, kind)

    def join(self) -> Member:
        options = GroupOptions(
            self.group, self.topics.input_topic, self.protocol, 6_000, 60_000, 10_000
        )
        broker, script = FaultyBroker(self.kafka.settings, options), Script()
        broker.script = script
        bundle = watched(make_bundle(), self.inputs, script.faults["score"])
        histories = KafkaHistories(broker, bundle, self.inputs, script.faults)
        histories.reader = self.reader
        guard = RejectionGuard(RejectionPolicy(10**9, 1.0))
        loop = ScorerLoop(
            broker, self.pipeline, histories, guard, Seen(), LoopOptions(5, 0.05, ALWAYS)
        )
        self.members.append(Member(loop, broker, histories, script))
        return self.members[-1]

    def outcomes(self) -> Counter[tuple[int, int]]:
        """(partition, offset) of each input that has an outcome, and how many."""
        found: Counter[tuple[int, int]] = Counter()
        for score in read_all(self.kafka.settings, self.topics.output_topic):
            found[score.partition, read_score(score.value)["source"]["offset"]] += 1
        for dead in read_all(self.kafka.settings, self.topics.dlq_topic):
            found[dead.partition, int(dead.headers["__connect.errors.offset"] or b"")] += 1
        return found

    def expected(self) -> Counter[tuple[int, int]]:
        return Counter((p, o) for p, own in self.inputs.produced.items() for o in range(len(own)))


@pytest.fixture(params=["classic", "consumer"])
def world(
    request: pytest.FixtureRequest, kafka: KafkaUnderTest, topics: MakeTopics, group_id: str
) -> Iterator[World]:
    found = World(kafka, topics(PARTITIONS), group_id, request.param)
    yield found
    found.reader.close()
    for member in found.members:
        member.broker.close()


def work(world: World, members: Sequence[Member], chance: random.Random, iterations: int) -> None:
    """Let the members run in turn, with new inputs and faults in between."""
    for _ in range(iterations):
        if chance.random() < 0.4:
            world.produce(*chance.choices(KINDS, k=4))
        member = chance.choice(members)
        if chance.random() < 0.3:
            member.script.faults[chance.choice(FAULTS)].append(RetryableError("fault"))
        member.run_once()


def test_state_and_position_agree_on_kafka_through_faults_and_rebalances(world: World) -> None:
    chance = random.Random(world.protocol)
    world.produce(*KINDS, *KINDS)
    first = world.join()
    deadline = time.monotonic() + SECONDS
    while first.histories.restored < PARTITIONS:
        assert time.monotonic() < deadline, "the partitions were not restored"
        first.run_once()
    work(world, [first], chance, 25)
    second = world.join()
    while not second.histories.states:
        assert time.monotonic() < deadline, "no partition was handed over"
        work(world, [first, second], chance, 2)
    work(world, [first, second], chance, 25)
    second.loop.finish()
    second.broker.close()
    world.members.remove(second)
    while len(first.histories.states) < PARTITIONS:
        assert time.monotonic() < deadline, "the partitions did not come back"
        work(world, [first], chance, 1)
    work(world, [first], chance, 15)
    while sum(first.histories.committed_offsets(range(PARTITIONS)).values()) < len(
        world.inputs.place
    ):
        assert time.monotonic() < deadline, "not everything was scored"
        first.run_once()
    assert first.problems + second.problems == []
    assert first.checked > 50
    assert second.checked > 5
    assert first.histories.restored > PARTITIONS
    wait_readable(world.kafka.settings, world.topics.output_topic)
    wait_readable(world.kafka.settings, world.topics.dlq_topic)
    assert world.outcomes() == world.expected()
    for partition, found in first.broker.committed(range(PARTITIONS)).items():
        assert parse_mark(found.mark) == world.inputs.fold(partition, found.offset or 0).mark
