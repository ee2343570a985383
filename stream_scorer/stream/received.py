"""The messages that a group member has received and not yet returned from a poll."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from stream_scorer.kafka.driver import Consumer, Message

BATCH_MAX_BYTES: Final = 32 * 1024 * 1024
"""Bytes of values in a batch; the step that reaches it can exceed it. It bounds the memory of a
batch: decoding, scores and dead letters take a few times its size. 2,000 usual records have 5 MB as
Avro and 16 MB as JSON, so only unusual ones make a batch smaller."""

_FIRST_STEP_RECORDS: Final = 8
"""Records taken from the client before the first look at their size; each step takes twice as many
as the one before. So a batch holds few records that are much larger than those before them."""


class Received:
    """Messages, and errors among them, in the order in which they arrived.

    They are kept until they can be returned with a fence. The client's position is already past
    them, so losing one to an error in between would skip it.

    Args:
        consumer: the member.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self.messages: list[Message] = []

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.messages)

    def receive(self, max_records: int, timeout: float) -> None:
        """Add what arrives; without any messages, wait up to ``timeout`` seconds for one.

        Raises:
            KafkaException: the client failed; what it had returned before is kept.
        """
        first = self._consumer.poll(0 if self.messages else timeout)
        if first is not None:
            self.messages.append(first)
        if self.messages:
            self._fill(max_records)

    def drop(self, partitions: Collection[int]) -> None:
        """Drop what was received of these partitions: they will be read from a known offset."""
        if partitions:
            self.messages = [m for m in self.messages if m.partition() not in partitions]

    def take(self) -> list[Message]:
        """The messages; none are left."""
        messages, self.messages = self.messages, []
        return messages

    def _fill(self, max_records: int) -> None:
        """Add what has arrived, until the batch is full by records or by bytes."""
        sizes = list(map(len, self.messages))
        step_records, largest, room = _FIRST_STEP_RECORDS, max(sizes), BATCH_MAX_BYTES - sum(sizes)
        while (left := max_records - len(self.messages)) > 0 and room > 0:
            wanted = min(left, step_records, 1 + room // max(largest, 1))
            step_records *= 2
            step = self._consumer.consume(wanted, 0)
            self.messages += step
            if len(step) < wanted:
                return
            sizes = list(map(len, step))
            room, largest = room - sum(sizes), max(largest, *sizes)
