"""One Kafka transaction: publish, send offsets, commit or abort.

The order of calls (KIP-98, KIP-447):

1. ``begin_transaction``, by the creator of the :class:`KafkaTransaction`.
2. ``produce`` every record, then ``flush``: once everything is acknowledged, the next two calls
   take milliseconds, and an early ``abort_transaction`` cannot hit unregistered partitions,
   which is fatal (librdkafka #4849).
3. ``send_offsets_to_transaction`` with the group metadata of the poll, the fence.
4. ``commit_transaction``

On any failure: ``flush``, ``abort_transaction``, rewind to the committed offsets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.driver import KafkaError, KafkaException
from stream_scorer.stream.kafka_producer import OutcomeProducer
from stream_scorer.stream.ports import NO_MARKS, Marks, Outgoing, Polled


class KafkaTransaction:
    """A transaction that has begun.

    Args:
        producer: the producer that began the transaction.
        owned: the partitions that are assigned now.
        rewind: makes the consumer read the batches' partitions again from the committed offsets.
    """

    def __init__(
        self,
        producer: OutcomeProducer,
        owned: Callable[[], frozenset[int]],
        rewind: Callable[..., None],
    ) -> None:
        self._producer = producer
        self._owned = owned
        self._rewind = rewind

    def publish(self, records: Sequence[Outgoing]) -> None:
        """Produce records and wait until all are acknowledged."""
        self._producer.publish(records)

    def commit(self, polled: Polled, marks: Marks = NO_MARKS) -> None:
        """Send the offsets with the poll's fence, then commit."""
        if polled.fence is None:
            raise RetryableError("kafka: not a member of the group when the batch was polled")
        offsets = polled.next_offsets()
        if not offsets.keys() <= self._owned():
            # The broker would accept the metadata of a member that owns nothing, without fencing.
            raise RetryableError("kafka: the batch's partitions are no longer assigned")
        self._producer.send_offsets(polled.topic, offsets, polled.fence, marks)
        try:
            self._producer.commit()
        except RetryableError as error:
            cause = error.__cause__
            code = cause.args[0] if isinstance(cause, KafkaException) else None
            if isinstance(code, KafkaError) and code.txn_requires_abort():
                raise
            # This process cannot know whether it was committed. The broker does, and the offsets
            # are part of the transaction, so a new process starts at the right offset.
            raise FatalError(f"the commit's outcome is unknown: {error}") from error

    def abort(self, *polled: Polled) -> None:
        """Abort, and rewind to the committed offsets; what fails is completed by the next poll."""
        self._producer.abort()
        self._rewind(*polled)
