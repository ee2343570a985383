"""Partitions of a group member that deliver nothing until they are released.

The client pauses them, so that it neither fetches nor keeps their records. Only
``incremental_assign`` is used: ``assign`` drops the pauses of all partitions. librdkafka keeps a
pause together with what it knows of the partition, also when the partition is revoked, so a paused
one that returns has to be resumed unless it is held again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from functools import partial

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.driver import Consumer, TopicPartition
from stream_scorer.stream.kafka_calls import serve_callbacks


class HeldPartitions:
    """The held partitions, and how often each one was assigned. One thread owns it.

    Args:
        topic: the input topic.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._held: frozenset[int] = frozenset()
        self._paused: set[int] = set()  # in the client
        self._assignments: Counter[int] = Counter()
        self.holds_new = False
        """Whether partitions are held from their assignment on."""

    @property
    def current(self) -> frozenset[int]:
        """The held partitions."""
        return self._held

    def assignments(self, assigned: Collection[int]) -> Mapping[int, int]:
        """How often each of these partitions was assigned."""
        return {p: self._assignments[p] for p in assigned}

    def assigned(self, consumer: Consumer, places: Collection[TopicPartition]) -> None:
        """Hold newly assigned partitions if that is wanted; called in the rebalance callback.

        What this does not assign itself, the client assigns after the callback.
        """
        new = {place.partition for place in places}
        self._assignments.update(new)
        if self.holds_new:
            self._held |= new
        resumed = (self._paused & new) - self._held
        if not new & self._held and not resumed:
            return
        consumer.incremental_assign(list(places))
        self._pause(consumer, new & self._held)
        self._resume(consumer, resumed)

    def revoked(self, partitions: Collection[int]) -> None:
        """These partitions belong to another member now."""
        self._held = self._held.difference(partitions)

    def hold(self, consumer: Consumer, partitions: Collection[int]) -> None:
        """Hold assigned partitions.

        Raises:
            RetryableError, FatalError: the client failed; they are held, though not paused.
        """
        self._held = self._held.union(partitions)
        self._pause(consumer, partitions)

    def release(self, consumer: Consumer, partition: int) -> None:
        """End a hold.

        Raises:
            FatalError: the client failed; the partition is still held.
        """
        self._resume(consumer, {partition})
        self._held -= {partition}

    def _pause(self, consumer: Consumer, partitions: Collection[int]) -> None:
        if partitions:
            self._paused.update(partitions)
            places = [TopicPartition(self._topic, p) for p in sorted(partitions)]
            serve_callbacks(partial(consumer.pause, places))

    def _resume(self, consumer: Consumer, partitions: Collection[int]) -> None:
        if partitions:
            places = [TopicPartition(self._topic, p) for p in sorted(partitions)]
            try:
                serve_callbacks(partial(consumer.resume, places))
            except RetryableError as error:
                raise FatalError(
                    f"the client cannot resume {sorted(partitions)}: {error}"
                ) from error
            self._paused.difference_update(partitions)
