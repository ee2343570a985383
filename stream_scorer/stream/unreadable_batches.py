"""Batches at which partitions of a group member wait because the client cannot read them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from stream_scorer.kafka.driver import KafkaError, Message
from stream_scorer.kafka.errors import is_unreadable_batch
from stream_scorer.kafka.unreadable import UnreadableBatch, describe_unreadable

log = logging.getLogger(__name__)


class UnreadableBatches:
    """The batch of each waiting partition. One thread changes it.

    Args:
        topic: the input topic.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._batches: dict[int, UnreadableBatch] = {}

    def take(self, failed: Iterable[Message]) -> list[KafkaError]:
        """Note the unreadable batches, and log each once; the other errors are returned."""
        errors = []
        for message in failed:
            error, partition, offset = message.error(), message.partition(), message.offset()
            if error is None:
                continue
            if partition is None or partition < 0 or not is_unreadable_batch(error):
                errors.append(error)
                continue
            batch = UnreadableBatch(offset or 0, error.str())
            known = self._batches.get(partition)
            self._batches[partition] = batch
            if known is None or known.offset != batch.offset:
                log.error(
                    "%s",
                    describe_unreadable(self._topic, partition, batch),
                    extra={"partition": partition, "offset": batch.offset},
                )
        return errors

    def read(self, next_offsets: Mapping[int, int]) -> None:
        """Forget the batches that were passed."""
        for partition, offset in next_offsets.items():
            batch = self._batches.get(partition)
            if batch is not None and offset > batch.offset:
                del self._batches[partition]

    def revoked(self, partitions: Iterable[int]) -> None:
        """Forget the partitions of another member."""
        for partition in partitions:
            self._batches.pop(partition, None)

    def describe(self) -> dict[int, str]:
        """By partition, the batch and what to do; safe to call from any thread."""
        return {
            partition: describe_unreadable(self._topic, partition, batch)
            for partition, batch in self._batches.copy().items()
        }
