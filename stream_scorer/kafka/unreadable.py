"""Batches that a client cannot read, and the way past them.

A batch that unpacks to more than ``receive.message.max.bytes`` is an error that the client reports
twice a second for ever, with the offset it tried to fetch; it never moves on (librdkafka #3935,
#5260). ``max.message.bytes`` of a topic bounds only the packed size. A damaged batch behaves alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from stream_scorer.errors import RetryableError
from stream_scorer.kafka.clients import build_client
from stream_scorer.kafka.config import reader_config
from stream_scorer.kafka.driver import Consumer, KafkaError, KafkaException, Message, TopicPartition
from stream_scorer.kafka.errors import is_unreadable_batch, translate
from stream_scorer.runtime.settings import KafkaSettings

LARGE_RECEIVE_BYTES: Final = 1_000_000_000
"""``receive.message.max.bytes`` of a reader that is opened for one batch: close to its maximum."""

_PROBE_SECONDS: Final = 60.0  # to unpack a gigabyte takes a few seconds
_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class UnreadableBatch:
    """A batch that a client cannot read.

    Attributes:
        offset: the offset that was fetched; the batch may begin before it.
        reason: the client's error.
    """

    offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class PassedBatch:
    """What is known about the offsets of an unreadable batch.

    Attributes:
        begin: the offset that was fetched.
        next_offset: the first offset after the batch; ``begin`` if it can be read after all.
        records: its records, read with a larger limit; None if they cannot be read at all.
        time: timestamp of the next record, or now; epoch milliseconds.
    """

    begin: int
    next_offset: int
    records: list[Message] | None
    time: int

    def before(self, end: int) -> list[Message]:
        """The records before an offset."""
        return [m for m in self.records or () if (m.offset() or 0) < end]


def describe_unreadable(topic: str, partition: int, batch: UnreadableBatch) -> str:
    """What is wrong with a partition, and the command that passes the batch."""
    return (
        f"the batch at offset {batch.offset} of {topic} partition {partition} cannot be read "
        f"({batch.reason}). Its partition waits there; other partitions continue. To write its "
        "records to the dead letters and continue after them, stop the scorers and run: "
        f"stream-scorer dlq skip {partition}-{batch.offset}"
    )


def pass_batch(
    settings: KafkaSettings, group_id: str, topic: str, partition: int, begin: int, end: int
) -> PassedBatch:
    """Find the end of the unreadable batch at ``begin``, and its records.

    The end is the first offset from which a usual client can read. Every offset of a batch fetches
    the whole batch, so it is found by bisection.

    Args:
        settings: the broker.
        group_id: appears in the broker's logs; no group is joined.
        topic: the topic.
        partition: the partition.
        begin: an offset of the batch.
        end: the last stable offset of the partition.

    Raises:
        RetryableError: the broker does not answer.
    """
    with _probing(settings, group_id) as usual:

        def is_readable(offset: int) -> bool:
            return offset >= end or not isinstance(
                _probe(usual, topic, partition, offset), KafkaError
            )

        if is_readable(begin):  # the error was transient
            return PassedBatch(begin, begin, [], 0)
        step, last_bad = 1, begin
        while not is_readable(last_bad + step):
            last_bad, step = last_bad + step, step * 2
        next_offset = _first(is_readable, last_bad, min(last_bad + step, end))
        following = None
        if next_offset < end:
            following = _probe(usual, topic, partition, next_offset)
    when = int(time.time() * 1000)
    if isinstance(following, Message):
        when = following.timestamp()[1]
    with _probing(settings, group_id, LARGE_RECEIVE_BYTES) as large:
        records = _read(large, topic, partition, begin, next_offset)
    return PassedBatch(begin, next_offset, records, when)


def _first(is_readable: Callable[[int], bool], bad: int, good: int) -> int:
    """The first readable offset between one that is not and one that is."""
    while good - bad > 1:
        middle = (bad + good) // 2
        if is_readable(middle):
            good = middle
        else:
            bad = middle
    return good


@contextmanager
def _probing(
    settings: KafkaSettings, group_id: str, receive_bytes: int | None = None
) -> Iterator[Consumer]:
    config = reader_config(
        settings,
        group_id,
        **{
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "queued.min.messages": 1,
            "fetch.message.max.bytes": 1,  # one batch at a time (KIP-74)
            "fetch.error.backoff.ms": 50,
        },
    )
    if receive_bytes is not None:  # a properties file cannot set this one
        config["receive.message.max.bytes"] = receive_bytes
    consumer = build_client(Consumer, config)
    try:
        yield consumer
    except KafkaException as error:
        raise translate(error) from error
    finally:
        consumer.close()


def _probe(
    consumer: Consumer, topic: str, partition: int, offset: int
) -> Message | KafkaError | None:
    """The first record from an offset on; an error if it cannot be read, None if there is none."""
    consumer.assign([TopicPartition(topic, partition, offset)])
    try:
        for message in _messages(consumer, partition):
            error = message.error()
            if error is None:
                return message
            if error.code() == KafkaError._PARTITION_EOF:
                return None
            if is_unreadable_batch(error):
                return error
            if not error.retriable():
                raise KafkaException(error)
    finally:
        consumer.unassign()
    raise RetryableError(_no_answer(topic, partition, offset))


def _read(
    consumer: Consumer, topic: str, partition: int, begin: int, end: int
) -> list[Message] | None:
    """The records from ``begin`` to ``end``; None if the batch is unreadable here too."""
    consumer.assign([TopicPartition(topic, partition, begin)])
    records: list[Message] = []
    try:
        for message in _messages(consumer, partition):
            error, offset = message.error(), message.offset() or 0
            if error is None and offset < end:
                records.append(message)
            if error is None and offset + 1 >= end:
                return records
            if error is None:
                continue
            if error.code() == KafkaError._PARTITION_EOF:
                return records
            if is_unreadable_batch(error):
                return None
            if not error.retriable():
                raise KafkaException(error)
    finally:
        consumer.unassign()
    raise RetryableError(_no_answer(topic, partition, begin))


def _messages(consumer: Consumer, partition: int) -> Iterator[Message]:
    """Messages and errors of a partition, until none came for ``_PROBE_SECONDS``."""
    deadline = time.monotonic() + _PROBE_SECONDS
    while time.monotonic() < deadline:
        message = consumer.poll(_POLL_SECONDS)
        if message is not None and message.partition() == partition:
            deadline = time.monotonic() + _PROBE_SECONDS
            yield message


def _no_answer(topic: str, partition: int, offset: int) -> str:
    return (
        f"{topic} partition {partition} could not be read at offset {offset} within "
        f"{_PROBE_SECONDS:.0f} s"
    )
