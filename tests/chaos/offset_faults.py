"""Faults of the group's offsets and of the input's partitions.

Scorers must refuse such offsets and not guess. The true offsets are restored afterwards, so that
the audit still expects exactly one outcome for each input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from stream_scorer.kafka.clients import open_consumer
from stream_scorer.kafka.driver import KafkaException, TopicPartition
from tests.chaos.topic_faults import FAILED
from tests.chaos.world import World

_EMPTY_SECONDS: Final = 90.0  # until the sessions of killed members end, and all have left
_REFUSE_SECONDS: Final = 90.0
_ANSWER_SECONDS: Final = 10.0
_BEYOND: Final = 1_000_000  # more than the feed will add before the offsets are restored


class How(StrEnum):
    """What happens to the offsets."""

    BEYOND = "offsets beyond the log"
    RECREATED = "offsets of another topic id"
    LOST = "offsets deleted"


@dataclass(slots=True)
class WrongOffsets:
    """The group's offsets are changed while its scorers are stopped, and then restored."""

    how: How
    usual: int
    hold_seconds: float = 0.0
    _saved: list[TopicPartition] = field(default_factory=list, init=False)
    _exits: int = field(default=0, init=False)

    @property
    def name(self) -> str:
        return self.how.value

    def inject(self, world: World) -> None:
        supervisor = world.supervisor
        world.wait_until(  # a scorer that has just started would be stopped before it can leave
            lambda: len(supervisor.working()) == self.usual, _EMPTY_SECONDS, "every member at work"
        )
        supervisor.scale(0)
        world.wait_until(lambda: world.supervisor.has_left, _EMPTY_SECONDS, "end of all members")
        self._saved = _committed(world)
        _until_done(world, self._change, "changed offsets")
        self._exits = len(world.supervisor.exits)
        world.supervisor.scale(self.usual)

    def heal(self, world: World) -> None:
        world.wait_until(
            lambda: FAILED in world.supervisor.exits[self._exits :],
            _REFUSE_SECONDS,
            "scorer that refuses the offsets",
        )
        _until_done(world, lambda w: _commit(w, self._saved), "restored offsets")
        restored = len(world.watch.samples)
        world.wait_until(  # the next samples show the true offsets again
            lambda: len(world.watch.samples) > restored + 1, _ANSWER_SECONDS, "fresh samples"
        )

    def _change(self, world: World) -> None:
        if self.how is How.LOST:
            world.admin.delete_group(world.group_id)
        elif self.how is How.BEYOND:
            _commit(world, [_moved(p, p.offset + _BEYOND, p.metadata) for p in self._saved])
        else:
            _commit(world, [_moved(p, p.offset, "t=another") for p in self._saved])


@dataclass(slots=True)
class AddPartition:
    """The input gets one more partition; output and dead letter topic follow later."""

    name: str = "partition added"
    hold_seconds: float = 3.0

    def inject(self, world: World) -> None:
        world.partitions += 1
        world.admin.extend(world.topics.input_topic, world.partitions)
        world.watch.add_partition()
        world.feed.add_partition()

    def heal(self, world: World) -> None:
        for topic in (world.topics.output_topic, world.topics.dlq_topic):
            world.admin.extend(topic, world.partitions)


def _moved(place: TopicPartition, offset: int, metadata: str | None) -> TopicPartition:
    return TopicPartition(place.topic, place.partition, offset, metadata or "")


def _committed(world: World) -> list[TopicPartition]:
    places = [TopicPartition(world.topics.input_topic, p) for p in range(world.partitions)]
    consumer = open_consumer(world.broker.settings, world.group_id)
    try:
        found: list[TopicPartition] = []

        def ask() -> bool:
            try:
                found[:] = consumer.committed(places, _ANSWER_SECONDS)
            except KafkaException:
                return False
            return all(place.error is None for place in found)

        world.wait_until(ask, _EMPTY_SECONDS, "the committed offsets")
        return [_moved(p, p.offset, p.metadata) for p in found if p.offset >= 0]
    finally:
        consumer.close()


def _commit(world: World, places: list[TopicPartition]) -> None:
    consumer = open_consumer(world.broker.settings, world.group_id)
    try:
        for place in consumer.commit(offsets=places, asynchronous=False) or ():
            if place.error is not None:
                raise KafkaException(place.error)
    finally:
        consumer.close()


def _until_done(world: World, act: Callable[[World], None], what: str) -> None:
    """Repeat an action until the group is empty, so that the broker accepts it."""

    def done() -> bool:
        try:
            act(world)
        except KafkaException:
            return False
        return True

    world.wait_until(done, _EMPTY_SECONDS, what)
