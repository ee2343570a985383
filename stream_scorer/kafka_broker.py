"""The broker port on Apache Kafka: the consumer group, the transactions, the fence.

The order of calls in a transaction (KIP-98, KIP-447):

1. ``begin_transaction``
2. ``produce`` every record, then ``flush``: with everything acknowledged the next two calls
   take milliseconds, and an early ``abort_transaction`` cannot hit unregistered partitions,
   which is fatal (librdkafka #4849).
3. ``send_offsets_to_transaction`` with the group metadata of the poll, the fence.
4. ``commit_transaction``

Any failure: ``flush``, ``abort_transaction``, seek back to the committed offsets.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from schemas.framing import Header
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.patience import whole
from stream_scorer.ports import Outgoing, Polled
from stream_scorer.runtime.kafka import (
    build_client,
    consumer_config,
    driver_error,
    producer_config,
    translate,
)
from stream_scorer.runtime.settings import KafkaSettings

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_RETRY_PAUSE_SECONDS: Final = 0.05
_CLOSE_SECONDS: Final = 5.0
MAX_BATCH_BYTES: Final = 1_000_000  # librdkafka's default, below the broker's own limit
_INIT_SECONDS: Final = 30.0  # a coordinator that has just started loads its log first


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """How the member takes part in its group, and how long its transactions may take.

    A killed member costs its partitions up to session timeout + transaction timeout of waiting.
    """

    group_id: str
    topic: str
    protocol: str = "classic"
    session_timeout_ms: int = 15_000
    max_poll_interval_ms: int = 60_000
    txn_timeout_ms: int = 15_000
    producers: int = 2
    """Transactions take turns on them, one at a time. A producer that begins again while the broker
    still writes the markers of its last commit is told CONCURRENT_TRANSACTIONS, and librdkafka
    then waits 20 ms; while one rests, the other works."""
    max_batch_bytes: int = MAX_BATCH_BYTES
    """No batch is larger: a topic's ``max.message.bytes`` holds for whole batches."""


class KafkaBroker:
    """A group member on Kafka. One thread owns it."""

    def __init__(
        self, settings: KafkaSettings, options: GroupOptions, *, is_transactional: bool = True
    ) -> None:
        self._topic = options.topic
        self._timeout = options.txn_timeout_ms / 1000
        self._assigned: frozenset[int] = frozenset()
        self._positions: dict[int, int] = {}
        self._revoked: set[int] = set()
        self._failure: tuple[KafkaError, Message] | None = None
        self._called_at: float | None = None
        self._turn = 0
        configs = [
            _producer_config(settings, options, self._on_delivery) for _ in range(options.producers)
        ]
        if not is_transactional:  # for comparisons only: such a member can repeat records
            for config in configs:
                del config["transactional.id"], config["transaction.timeout.ms"]
        self._producers = [build_client(Producer, config) for config in configs]
        self._producer = self._producers[0]
        self._consumer = build_client(Consumer, _consumer_config(settings, options))
        for producer in self._producers if is_transactional else ():
            self._call(partial(producer.init_transactions, _INIT_SECONDS))
        self._consumer.subscribe(
            [options.topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )

    def poll(self, max_records: int, timeout: float) -> Polled | None:
        """Records of the assigned partitions with the fence that holds for them."""
        self._revoked.clear()
        for producer in self._producers:
            _served(partial(producer.poll, 0))  # at rest it would pile up what an outage tells it
        try:
            first = self._consumer.poll(timeout)
            messages = [] if first is None else [first]
            if messages and max_records > 1:
                messages += self._consumer.consume(max_records - 1, 0)
            # Right here, before anything can be polled again: this is the fence.
            fence = self._fence() if messages else None
        except (KafkaException, SystemError) as error:
            cause = driver_error(error)
            raise translate(cause) from cause
        good = [m for m in messages if m.error() is None]
        self._look_at_errors([e for m in messages if (e := m.error()) is not None], bool(good))
        if self._revoked:
            good = self._without_revoked(good)
        return self._polled(good, fence) if good else None

    def _fence(self) -> Any:
        """The group's metadata; None if it would vouch for nobody.

        A classic member that was expelled, and has not noticed yet, can still be handed records:
        its metadata then names no member, and offsets under such may be taken unfenced. Asked for
        on both sides, since it may change in between.
        """
        was_member = bool(self._consumer.memberid())
        fence = self._consumer.consumer_group_metadata()
        return fence if was_member and self._consumer.memberid() else None

    def begin(self) -> KafkaTxn:
        """Begin a transaction."""
        self._failure = None
        self._turn = (self._turn + 1) % len(self._producers)
        self._producer = self._producers[self._turn]
        self._call(self._producer.begin_transaction)
        return KafkaTxn(self)

    def assigned(self) -> frozenset[int]:
        """The partitions of the last assignment."""
        return self._assigned

    def lag(self) -> Mapping[int, int]:
        """By the high watermarks of the last fetches."""
        found = {}
        for partition in self._assigned & self._positions.keys():
            try:
                _, high = self._consumer.get_watermark_offsets(
                    TopicPartition(self._topic, partition), cached=True
                )
            except KafkaException:
                continue
            found[partition] = max(0, high - self._positions[partition])
        return found

    def call_seconds(self) -> float:
        """How long the transaction call under way has taken; any thread may ask.

        None takes longer than the transaction timeout, unless the driver hangs (librdkafka #5456).
        """
        called_at = self._called_at
        return 0.0 if called_at is None else time.monotonic() - called_at

    def close(self) -> None:
        """Leave the group."""
        closings: list[Callable[[], object]] = [self._consumer.close]
        closings += [partial(producer.flush, _CLOSE_SECONDS) for producer in self._producers]
        for close in closings:
            try:
                _served(close)
            except (FatalError, RetryableError) as error:  # most likely why this member is closed
                log.info("closing a client: %s", error)

    def _look_at_errors(self, errors: Sequence[KafkaError], has_records: bool) -> None:
        """Raise what came instead of records.

        Beside records an error is only logged, unless it ends the process anyway: the client
        is past those records, and raising would skip them.
        """
        for error in errors:
            if error.code() == KafkaError._PARTITION_EOF:
                continue
            translated = translate(KafkaException(error))
            if isinstance(translated, FatalError) or not has_records:
                raise translated
            log.warning("%s", translated)

    def _without_revoked(self, messages: Iterable[Message]) -> list[Message]:
        """Drop what a rebalance within this very poll took away.

        A partition that came straight back is read again from its committed offset, since
        another member may have had it in between.
        """
        kept = [m for m in messages if m.partition() not in self._revoked]
        back = self._revoked & self._assigned
        if back:
            self._seek_to_committed(dict.fromkeys(back, OFFSET_BEGINNING))
        return kept

    def _polled(self, messages: Sequence[Message], fence: Any) -> Polled:
        polled = Polled(
            self._topic,
            [m.value() for m in messages],
            [m.key() for m in messages],
            [_headers(m) for m in messages],
            np.array([m.partition() for m in messages], np.int32),
            np.array([m.offset() for m in messages], np.int64),
            fence,
        )
        self._positions.update(polled.next_offsets())
        return polled

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._assigned |= {p.partition for p in partitions}
        log.info("assigned", extra={"partitions": sorted(self._assigned)})

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        gone = {p.partition for p in partitions}
        self._assigned -= gone
        self._revoked |= gone
        for partition in gone:
            self._positions.pop(partition, None)
        log.info("revoked", extra={"partitions": sorted(gone)})

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._failure is None:
            self._failure = error, message

    def _call(self, call: Callable[[], _T]) -> _T:
        """Make a transaction call, again while it asks for it, for as long as allowed."""
        deadline = time.monotonic() + self._timeout
        while True:
            self._called_at = time.monotonic()
            try:
                return call()
            except (KafkaException, SystemError) as error:
                cause = driver_error(error)
                code = cause.args[0]
                again = isinstance(code, KafkaError) and code.retriable()
                if not again or time.monotonic() > deadline:
                    raise translate(cause) from cause
                time.sleep(_RETRY_PAUSE_SECONDS)
            finally:
                self._called_at = None

    def _publish(self, records: Sequence[Outgoing]) -> None:
        produce = self._producer.produce
        for topic, partition, key, value, headers in records:
            while True:
                try:
                    produce(topic, value, key, partition, headers=headers)
                    break
                except BufferError:
                    _served(lambda: self._producer.poll(0.05))
                except KafkaException as error:
                    raise _refused(error.args[0], topic, partition) from error
        if self._flush() > 0:
            raise RetryableError("kafka: not every record was acknowledged in time")
        if self._failure is not None:
            refusal, message = self._failure
            raise _refused(refusal, str(message.topic()), message.partition())

    def _flush(self) -> int:
        """Wait for acknowledgements; how many did not come."""
        return _served(lambda: self._producer.flush(self._timeout))

    def _commit(self, polled: Polled) -> None:
        if polled.fence is None:
            raise RetryableError("kafka: this was no member of its group when the batch was polled")
        if not polled.next_offsets().keys() <= self._assigned:
            # Metadata of a member that owns nothing would be accepted without fencing.
            raise RetryableError("kafka: the batch's partitions are no longer assigned")
        offsets = [TopicPartition(polled.topic, p, o) for p, o in polled.next_offsets().items()]
        self._call(
            lambda: self._producer.send_offsets_to_transaction(offsets, polled.fence, self._timeout)
        )
        try:
            self._call(lambda: self._producer.commit_transaction(self._timeout))
        except RetryableError as error:
            cause = error.__cause__
            code = cause.args[0] if isinstance(cause, KafkaException) else None
            if isinstance(code, KafkaError) and code.txn_requires_abort():
                raise
            # Nobody here knows whether it was committed; the broker does, and the offsets are
            # part of it, so a new process starts at the right place.
            raise FatalError(f"the commit's outcome is unknown: {error}") from error

    def _abort(self, batches: Sequence[Polled]) -> None:
        self._flush()
        try:
            self._call(lambda: self._producer.abort_transaction(self._timeout))
        except RetryableError as error:
            raise FatalError(f"cannot abort: {error}") from error
        first: dict[int, int] = {}
        for polled in reversed(batches):  # of a partition in several the earliest counts
            first |= polled.first_offsets()
        self._seek_to_committed(first)

    def _seek_to_committed(self, otherwise: Mapping[int, int]) -> None:
        """Read partitions again from their committed offsets; ``otherwise`` where none is."""
        mine = [TopicPartition(self._topic, p) for p in otherwise if p in self._assigned]
        if not mine:
            return
        for found in self._committed(mine):
            offset = found.offset if found.offset >= 0 else otherwise[found.partition]
            target = TopicPartition(self._topic, found.partition, offset)
            try:
                self._consumer.seek(target)
                self._positions[found.partition] = offset
            except KafkaException as error:
                # Lost in the meantime: its next owner starts at the committed offset.
                log.info("cannot seek: %s", error, extra={"partition": found.partition})

    def _committed(self, places: list[TopicPartition]) -> list[TopicPartition]:
        """The group's committed offsets.

        Raises:
            FatalError: they cannot be told. The consumer is past records that nobody committed, so
                to go on would be to skip them; a new process begins at the right place.
        """
        try:
            return self._call(lambda: whole(self._consumer.committed(places, self._timeout)))
        except RetryableError as error:
            raise FatalError(f"cannot go back to the committed offsets: {error}") from error


class KafkaTxn:
    """A transaction of a :class:`KafkaBroker`."""

    def __init__(self, broker: KafkaBroker) -> None:
        self._broker = broker

    def publish(self, records: Sequence[Outgoing]) -> None:
        """Produce and wait for every acknowledgement."""
        self._broker._publish(records)

    def commit(self, polled: Polled) -> None:
        """Send the offsets under the poll's fence, then commit."""
        self._broker._commit(polled)

    def abort(self, *polled: Polled) -> None:
        """Abort, and go back to the committed offsets."""
        self._broker._abort(polled)


def _served(wait: Callable[[], _T]) -> _T:
    """Wait for a client's callbacks; an unusable one raises out of any wait."""
    try:
        return wait()
    except (KafkaException, SystemError) as error:
        cause = driver_error(error)
        raise translate(cause) from cause


def _refused(error: KafkaError, topic: str, partition: int | None) -> RetryableError | FatalError:
    """Why a record could not be written, in words for who can mend it.

    What a topic takes is looked at when the process starts, so where that has changed only a new
    process helps: it waits for the topics, or dead-letters what no longer fits.
    """
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return FatalError(
            f"topic {topic} now takes smaller records than when this process began "
            "(max.message.bytes): a new process will keep to its limit"
        )
    if error.code() == KafkaError._UNKNOWN_PARTITION:
        return FatalError(
            f"topic {topic} has no partition {partition}, but the input has: an outcome goes to "
            "its input's partition number (stream-scorer topics create extends it)"
        )
    failure = translate(KafkaException(error))
    return type(failure)(f"topic {topic}: {failure}")


def _headers(message: Message) -> list[Header] | None:
    headers = message.headers()
    return list(headers.items()) if isinstance(headers, dict) else headers


def _consumer_config(settings: KafkaSettings, options: GroupOptions) -> dict[str, Any]:
    config = consumer_config(
        settings,
        options.group_id,
        **{
            "max.poll.interval.ms": options.max_poll_interval_ms,
            # Some ten batches ahead: enough to keep busy, bounded in memory.
            "queued.min.messages": 20_000,
            "queued.max.messages.kbytes": 65_536,
            "fetch.wait.max.ms": 20,
        },
    )
    if options.protocol == "consumer":  # KIP-848: the broker sets the timeouts
        return config | {"group.protocol": "consumer"}
    return config | {
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": options.session_timeout_ms,
        # A cooperative rebalance has a second round, which a member learns of by its heartbeat:
        # until then the partitions that move wait.
        "heartbeat.interval.ms": max(options.session_timeout_ms // 15, 200),
    }


def _producer_config(
    settings: KafkaSettings,
    options: GroupOptions,
    on_delivery: Callable[[KafkaError | None, Message], None],
) -> dict[str, Any]:
    return producer_config(
        settings,
        **{
            # Unique for each live process, under a prefix that an ACL can name.
            "transactional.id": f"{options.group_id}-{uuid.uuid4()}",
            "transaction.timeout.ms": options.txn_timeout_ms,
            "linger.ms": 1,  # flush comes at once: waiting longer only adds latency
            "batch.num.messages": 10_000,
            "batch.size": options.max_batch_bytes,
            "queue.buffering.max.messages": 1_000_000,
            "on_delivery": on_delivery,
            "delivery.report.only.error": True,
        },
    )
