"""Partitions of a group member that cannot be read where the driver would read them.

The member's consumer has ``auto.offset.reset=error``. If nothing is committed for a partition, or
its next offset is outside the log, the driver stops fetching the partition and reports it with the
records. Then the right offset is looked up, outside of the rebalance callback, and the partition is
assigned again at that offset. On the usual path nothing of this costs a request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Iterable
from typing import Final, NamedTuple

from stream_scorer.kafka.driver import Consumer, KafkaError, KafkaException, Message, TopicPartition
from stream_scorer.kafka.spans import Span
from stream_scorer.stream.group_offsets import GroupOffsets, as_committed

log = logging.getLogger(__name__)

_START_SECONDS: Final = 5.0
"""Each start asks the broker. Hundreds of them must not take longer than a member may not poll."""


class NextOffset(NamedTuple):
    """Where a partition has to be read.

    Attributes:
        offset: the next offset to read; None if nothing of it was read or committed.
        otherwise: where to begin then; None: at the first record that is left.
    """

    offset: int | None
    otherwise: int | None = None


class PartitionStarts:
    """The partitions that wait for a start, and the records lost so far. One thread owns it.

    Args:
        offsets: finds the start.
        has_marks: whether the committed offsets of newly assigned partitions are compared with the
            topic's id.
    """

    def __init__(self, offsets: GroupOffsets, *, has_marks: bool) -> None:
        self._offsets = offsets
        self._has_marks = has_marks
        self._topics: dict[int, str] = {}
        self._waiting: set[int] = set()
        self._unmarked: set[int] = set()
        self._reported: dict[int, Span] = {}
        self.lost: dict[int, int] = {}
        """Records that were removed before they were read, by partition."""

    def assigned(self, partitions: Iterable[int]) -> None:
        """These partitions were assigned."""
        if self._has_marks:
            self._unmarked.update(partitions)

    def revoked(self, partitions: Iterable[int]) -> None:
        """These partitions belong to another member now."""
        for partition in partitions:
            self._unmarked.discard(partition)
            self._waiting.discard(partition)

    @property
    def waiting(self) -> frozenset[int]:
        """The partitions that wait for a start."""
        return frozenset(self._waiting)

    def takes(self, message: Message, owned: Container[int]) -> bool:
        """Whether this is an event that a partition cannot be read; if so, remember it.

        The event may be of an earlier assignment: the driver delivers it after the revocation too.
        So it only says that the partition waits, not where it has to be read.
        """
        error, partition, topic = message.error(), message.partition(), message.topic()
        if error is None or error.code() != KafkaError._AUTO_OFFSET_RESET:
            return False
        if partition is None or topic is None:
            return False
        if partition in owned:
            self.restart(topic, partition)
        return True

    def restart(self, topic: str, partition: int) -> None:
        """Start this partition, which the driver does not fetch now."""
        self._topics[partition] = topic
        self._waiting.add(partition)

    def start(
        self,
        consumer: Consumer,
        next_offset: Callable[[int], NextOffset],
        held: Container[int] = (),
    ) -> None:
        """Start the waiting partitions; those that take too long wait for the next poll.

        Args:
            consumer: the member.
            next_offset: where a partition has to be read.
            held: partitions that keep waiting.

        Raises:
            FatalError: an operator has to decide where; the message says how.
            RetryableError: no broker answers; they keep waiting.
        """
        deadline = time.monotonic() + _START_SECONDS
        for partition in sorted(p for p in self._waiting if p not in held):
            if time.monotonic() > deadline:
                return
            start = self._offsets.resolve(partition, *next_offset(partition))
            topic = self._topics[partition]
            if start.lost is not None:
                self._report(topic, partition, start.lost)
            else:
                log.info("starting a partition", extra={"partition": partition,
                                                        "offset": start.offset})  # fmt: skip
            try:
                consumer.incremental_unassign([TopicPartition(topic, partition)])
            except KafkaException as error:
                if error.args[0].code() != KafkaError._INVALID_ARG:
                    raise  # else an earlier attempt to start it failed halfway
            consumer.incremental_assign([TopicPartition(topic, partition, start.offset)])
            self._waiting.discard(partition)

    def check_marks(self, committed: Callable[[Iterable[int]], list[TopicPartition]]) -> None:
        """Check the marks of newly assigned partitions, before their first records are used.

        Raises:
            FatalError: a committed offset belongs to a topic of this name that was deleted.
            RetryableError: the offsets cannot be read now; call this again.
        """
        if self._unmarked:
            places = committed(sorted(self._unmarked))
            self._offsets.require_same_marks({p.partition: as_committed(p) for p in places})
            self._unmarked.clear()

    def _report(self, topic: str, partition: int, lost: Span) -> None:
        known = self._reported.get(partition, Span(lost.low, lost.low))
        count = lost.high - lost.low
        count -= max(0, min(lost.high, known.high) - max(lost.low, known.low))
        self._reported[partition] = lost
        self.lost[partition] = self.lost.get(partition, 0) + count
        log.error(
            "inputs were deleted before they were read, and have no outcome: %s partition %d, "
            "offsets %d to %d, up to %d records (retention or DeleteRecords removed them); reading "
            "continues at offset %d",
            topic,
            partition,
            lost.low,
            lost.high - 1,
            count,
            lost.high,
            extra={"partition": partition},
        )
