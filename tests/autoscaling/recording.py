"""Records a real KEDA and a real HPA on real lag, second by second.

Real are the API server, controller manager, KEDA, Apache Kafka, records and committed offsets. The
pods are not: a fake kubelet reports them ready immediately. What they would consume is committed
for them, using the simulator's model of a group. This verifies every decision from lag to replicas.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from stream_scorer.autoscaling.group import Group
from stream_scorer.autoscaling.trace import Trace
from stream_scorer.kafka.clients import open_consumer, open_producer
from stream_scorer.kafka.driver import TopicPartition
from stream_scorer.runtime.settings import KafkaSettings
from tests.autoscaling.cluster import Scale, read_scale

_QUIET_SECONDS = 45  # stable time at the first number of replicas that ends a recording
_RECORD = {"value": b"1"}


@dataclass(frozen=True, slots=True)
class Plan:
    """The load on the topic; rates in records per second, times in seconds."""

    trace: Trace
    capacity: float
    pod_start_seconds: float
    rebalance_seconds: float
    limit_seconds: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One second; the lag is the broker's."""

    second: float
    arrivals: int
    lag: int
    replicas: int
    working: int
    desired: int | None
    metric: str | None


class TopicUnderLoad:
    """Produces to a topic and commits for a group that has no members."""

    def __init__(self, settings: KafkaSettings, topic: str, group_id: str) -> None:
        self._topic = topic
        self._producer = open_producer(settings, **{"queue.buffering.max.messages": 1_000_000})
        self._consumer = open_consumer(settings, group_id)
        metadata = self._consumer.list_topics(topic, timeout=15).topics[topic]
        self.partitions = sorted(metadata.partitions)
        self._base = self.ends()
        self.commit([0] * len(self.partitions))

    def ends(self) -> list[int]:
        """The offset after the last record, by partition."""
        return [
            self._consumer.get_watermark_offsets(TopicPartition(self._topic, p), timeout=10)[1]
            for p in self.partitions
        ]

    def produce(self, records: int) -> list[int]:
        """Send records, spread evenly; returns the number for each partition."""
        count = len(self.partitions)
        sizes = [records // count + (p < records % count) for p in range(count)]
        for partition, size in zip(self.partitions, sizes, strict=True):
            self._producer.produce_batch(self._topic, [_RECORD] * size, partition=partition)
            self._producer.poll(0)
        self._producer.flush(30)
        return sizes

    def commit(self, done: list[int]) -> None:
        """Commit ``done`` records of each partition as processed since the beginning."""
        offsets = [
            TopicPartition(self._topic, p, self._base[p] + n)
            for p, n in zip(self.partitions, done, strict=True)
        ]
        self._consumer.commit(offsets=offsets, asynchronous=False)

    def lag(self, done: list[int]) -> int:
        """The total number of records between committed offsets and ends."""
        return sum(self.ends()) - sum(self._base) - sum(done)


def record(
    topic: TopicUnderLoad, scaled_object: dict[str, Any], plan: Plan, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Samples, one per second, until the replicas are back at the first number."""
    group = Group(len(topic.partitions), plan.capacity, plan.rebalance_seconds)
    first = read_scale(scaled_object).replicas
    replicas, working, starting = first, first, deque[float]()
    group.resize(-plan.rebalance_seconds, first)
    samples: list[Sample] = []
    began = time.monotonic()
    before = 0.0
    quiet = 0
    while before < plan.limit_seconds and quiet < _QUIET_SECONDS:
        time.sleep(max(0.0, began + len(samples) + 1 - time.monotonic()))
        now = time.monotonic() - began
        sizes = topic.produce(round(plan.trace.rate_at(before) * (now - before)))
        for partition, size in zip(group.partitions, sizes, strict=True):
            partition.fill(before, size)
        group.work(before, now)
        done = [int(partition.done) for partition in group.partitions]
        topic.commit(done)
        scale = read_scale(scaled_object)
        starting, replicas = _follow(starting, replicas, scale.replicas, now, plan)
        working = replicas - len(starting)
        group.resize(now, working)
        sample = _sample(now, sum(sizes), topic.lag(done), working, scale)
        if not samples or (sample.replicas, sample.working) != (replicas, samples[-1].working):
            say(f"{now:7.1f} s  lag {sample.lag:>9,}  replicas {replicas}, working {working}")
        samples.append(sample)
        before = now
        is_quiet = now > plan.trace.end and replicas == first and sample.lag < plan.capacity
        quiet = quiet + 1 if is_quiet else 0
    return [asdict(sample) for sample in samples]


def _follow(
    starting: deque[float], replicas: int, wanted: int, now: float, plan: Plan
) -> tuple[deque[float], int]:
    """The pods that are still starting after the Deployment was scaled to ``wanted``."""
    starting = deque(at for at in starting if at > now)
    for _ in range(replicas, wanted):
        starting.append(now + plan.pod_start_seconds)
    for _ in range(wanted, replicas):
        if starting:
            starting.pop()
    return starting, wanted


def _sample(now: float, arrivals: int, lag: int, working: int, scale: Scale) -> Sample:
    return Sample(
        round(now, 2), arrivals, lag, scale.replicas, working, scale.desired, scale.metric
    )
