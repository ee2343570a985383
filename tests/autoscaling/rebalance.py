"""How long scoring pauses when a member joins, leaves or is killed, under both group protocols.

Measured by a ``read_committed`` reader of the scores: the longest time without any score, and the
longest time without a score in one partition, from the event until the group is stable.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median
from typing import Any, Self

from stream_scorer.cli.pacing import Pacer
from stream_scorer.kafka.clients import open_consumer, open_producer
from stream_scorer.kafka.driver import TopicPartition
from tests.autoscaling.scene import PARTITIONS, Scene, make_values, open_broker, open_scene

_MEMBERS = 2
_QUIET_SECONDS = 4.0
_AFTER_SECONDS = 3.0  # the last round of a rebalance comes after the assignment


def measure_rebalances(repetitions: int, rate: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds without a score, by protocol and event: all values, and the median."""
    found: dict[str, Any] = {"rate": rate, "members_before": _MEMBERS}
    with open_broker() as settings:
        for protocol in ("classic", "consumer"):
            more = {"KAFKA_SESSION_TIMEOUT_MS": "15000", "KAFKA_TRANSACTION_TIMEOUT_MS": "15000"}
            with open_scene(settings, KAFKA_GROUP_PROTOCOL=protocol, **more) as scene:
                found[protocol] = _measure(scene, repetitions, rate, say)
                say(f"{protocol}: {found[protocol]}")
    return found


def _measure(
    scene: Scene, repetitions: int, rate: float, say: Callable[[str], None]
) -> dict[str, Any]:
    for _ in range(_MEMBERS):
        scene.fleet.start()
    scene.wait_for_members(_MEMBERS)
    with _Feed(scene, rate), _Watch(scene) as watch:
        watch.wait_for_scores()
        pauses: dict[str, list[tuple[float, float]]] = {"quiet": [], "join": [], "leave": []}
        for number in range(repetitions):
            pauses["quiet"].append(watch.during(lambda: time.sleep(_QUIET_SECONDS)))
            pauses["join"].append(watch.during(lambda: _join(scene)))
            pauses["leave"].append(watch.during(lambda: _leave(scene)))
            say(f"  {number + 1}/{repetitions} {pauses['join'][-1]} {pauses['leave'][-1]}")
        pauses["kill"] = [watch.during(lambda: _kill(scene))]
    return {name: _summary(seen) for name, seen in pauses.items()}


def _join(scene: Scene) -> None:
    scene.fleet.start()
    scene.wait_for_members(_MEMBERS + 1)
    time.sleep(_AFTER_SECONDS)


def _leave(scene: Scene) -> None:
    scene.fleet.scorers[-1].terminate()
    scene.wait_for_members(_MEMBERS)
    time.sleep(_AFTER_SECONDS)


def _kill(scene: Scene) -> None:
    scene.fleet.scorers[_MEMBERS - 1].kill()
    scene.wait_for_members(_MEMBERS - 1)
    time.sleep(2 * _AFTER_SECONDS)


def _summary(seen: Sequence[tuple[float, float]]) -> dict[str, Any]:
    group, worst = [a for a, _ in seen], [b for _, b in seen]
    return {
        "group_seconds": round(median(group), 2),
        "worst_partition_seconds": round(median(worst), 2),
        "all_group": [round(value, 2) for value in group],
        "all_worst_partition": [round(value, 2) for value in worst],
    }


class _Feed:
    """Produces transactions at a steady rate, round-robin over the partitions."""

    def __init__(self, scene: Scene, rate: float) -> None:
        self._topic = scene.topics.input_topic
        self._producer = open_producer(scene.settings)
        self._pacer = Pacer(rate, wait=self._producer.poll)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._producer.flush(10)

    def _run(self) -> None:
        values = make_values()
        number = 0
        while not self._over.is_set():
            self._pacer.before_next()
            value = values[number % len(values)]
            self._producer.produce(self._topic, value, b"1", number % PARTITIONS)
            number += 1


class _Watch:
    """Records when scores are seen, by partition."""

    def __init__(self, scene: Scene) -> None:
        self._consumer = open_consumer(scene.settings, f"{scene.fleet.group_id}-watch")
        topic = scene.topics.output_topic
        self._consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
        self._seen: list[tuple[float, int]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._consumer.close()

    def wait_for_scores(self) -> None:
        """Wait until every partition has had a score."""
        while len({partition for _, partition in self._seen}) < PARTITIONS:
            time.sleep(0.1)

    def during(self, event: Callable[[], None]) -> tuple[float, float]:
        """The longest gap without any score, and within one partition, during ``event``."""
        began, first = time.monotonic(), len(self._seen)
        event()
        ended = time.monotonic()
        seen = self._seen[first:]
        by_partition = [
            _longest(began, ended, [at for at, p in seen if p == partition])
            for partition in range(PARTITIONS)
        ]
        return _longest(began, ended, [at for at, _ in seen]), max(by_partition)

    def _run(self) -> None:
        while not self._over.is_set():
            for message in self._consumer.consume(500, 0.01):
                partition = message.partition()
                if message.error() is None and partition is not None:
                    self._seen.append((time.monotonic(), partition))


def _longest(began: float, ended: float, times: Sequence[float]) -> float:
    return max(b - a for a, b in pairwise([began, *times, ended]))
