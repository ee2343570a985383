"""Produces transactions at a steady rate, some of them bad, whatever state the broker is in."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

from schemas.batch import build_batch
from schemas.transactions.codec import encode_transactions
from stream_scorer.cli.pacing import Pacer
from stream_scorer.kafka.clients import open_producer
from stream_scorer.kafka.driver import KafkaError, KafkaException, Message
from stream_scorer.runtime.settings import KafkaSettings
from tests.support.factories import make_transactions
from tests.support.kafka.raw_producer import RawHeader, RawProducer, raw_producer

BAD_EVERY: Final = 211  # a prime, so that bad records meet every partition and batch boundary
NOT_UTF8_EVERY: Final = 509
"""A prime. These records have a header whose name is not UTF-8; Python's client raises for it."""
CARDS: Final = 7
METADATA: Final = {"topic.metadata.refresh.interval.ms": 1_000, "metadata.max.age.ms": 3_000}
"""So that the campaign's own clients soon know of an added partition."""

BAD_BYTES: Final = 30_000  # more than the dead letter topic accepts while its limit is lowered
NOT_UTF8: Final[tuple[RawHeader, ...]] = ((b"traceparent", b"00-1"), (b"caf\xe9", b"x"))
_DISTINCT: Final = 2_000
_FLUSH_SECONDS: Final = 120.0  # the broker may be down when the feed ends
_POLL_SECONDS: Final = 0.1
_LEAST_RATE: Final = 1.0
_LEFT_SECONDS: Final = 60.0  # at the current pace the remaining records last at least this long


def make_values(count: int = _DISTINCT, seed: int = 1) -> list[bytes]:
    """Encoded transactions; some are bad, so that dead letters are tested too."""
    values = encode_transactions(build_batch(make_transactions(count, seed)))
    noise = random.Random(seed)
    for number in range(BAD_EVERY - 1, count, BAD_EVERY):
        values[number] = b"no transaction" + noise.randbytes(BAD_BYTES)
    return values


class Sent(NamedTuple):
    """A record to be sent. One with headers of bytes goes through another producer."""

    value: bytes
    key: bytes
    partition: int
    headers: tuple[RawHeader, ...] = ()


class Records(Protocol):
    """What a feed sends."""

    @property
    def total(self) -> int:
        """Number of records."""
        ...

    def __iter__(self) -> Iterator[Sent]:
        """The records, in order."""
        ...

    def add_partition(self) -> None:
        """Use one more partition from now on."""
        ...


class CycledRecords:
    """The same transactions again and again; record ``i`` goes to partition ``i % partitions``."""

    def __init__(self, partitions: int, total: int) -> None:
        self._partitions = partitions
        self._total = total

    @property
    def total(self) -> int:
        """Number of records."""
        return self._total

    def __iter__(self) -> Iterator[Sent]:
        """The records, in order."""
        values = make_values()
        for number in range(self._total):
            yield Sent(
                values[number % len(values)],
                str(1000 + number % CARDS).encode(),
                number % self._partitions,
                () if (number + 1) % NOT_UTF8_EVERY else NOT_UTF8,
            )

    def add_partition(self) -> None:
        """Use one more partition from now on."""
        self._partitions += 1


class Feed:
    """Produces records in its own thread, at ``rate`` records per second.

    Nothing is sent while ``gate`` returns False. Without a rate, records are sent as fast as
    possible. :meth:`spread` changes the rate, and towards the end the feed slows down, so that a
    slow machine does not run out of records before :meth:`hurry` is called.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        records: Records,
        rate: float | None,
        gate: Callable[[], bool] = lambda: True,
    ) -> None:
        self._topic = topic
        self._records = records
        self._total = records.total
        self._rate = rate
        self._gate = gate
        self._producer = open_producer(settings, **METADATA)
        self._servers = settings.kafka_bootstrap_servers
        self._hurry = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed")
        self.begun = 0
        """Records passed to the producer so far; all others are written later than now."""
        self.delivered = 0
        self.errors: list[str] = []

    def start(self) -> None:
        """Start feeding."""
        self._thread.start()

    def add_partition(self) -> None:
        """Send to one more partition from now on."""
        self._records.add_partition()

    def spread(self, seconds: float) -> None:
        """Send the remaining records over this time from now on."""
        self._rate = max(_LEAST_RATE, (self._total - self.begun) / seconds)

    @property
    def is_done(self) -> bool:
        """Whether every record was sent."""
        return not self._thread.is_alive()

    def hurry(self) -> None:
        """Send the remaining records as fast as possible."""
        self._hurry.set()

    def finish(self) -> None:
        """Send the remaining records; returns when all are acknowledged.

        Raises:
            AssertionError: a record was not acknowledged.
        """
        self.hurry()
        self._thread.join()
        assert not self.errors, self.errors[:3]
        assert self.delivered == self._total, (self.delivered, self._total)

    def stop(self) -> None:
        """Stop sending."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        with raw_producer(self._servers, **METADATA, log_level=0) as raw:  # it may be down
            raw_records = self._feed(raw)
        self.delivered += raw_records  # it was flushed

    def _feed(self, raw: RawProducer) -> int:
        """Send all records; returns how many of them had headers of bytes."""
        rate = self._rate
        pacer = Pacer(rate, wait=self._producer.poll)
        raw_records = 0
        for number, sent in enumerate(self._records):
            if self._stop.is_set():
                break
            if rate != self._rate:
                rate = self._rate
                pacer = Pacer(rate, wait=self._producer.poll)
            left = self._total - number
            if self._rate is not None and left < self._rate * _LEFT_SECONDS:
                self._wait(_LEFT_SECONDS / left)
            elif not self._hurry.is_set():
                pacer.before_next()
            while not self._gate() and not self._stop.is_set():
                self._producer.poll(0.01)
            self.begun += 1
            if sent.headers:
                raw.produce(self._topic, sent.value, sent.key, sent.headers, sent.partition)
                raw_records += 1
            else:
                self._send(sent)
        self._producer.flush(_FLUSH_SECONDS)
        return raw_records

    def _wait(self, seconds: float) -> None:
        """Wait, but not after :meth:`hurry` or :meth:`stop`."""
        due = time.monotonic() + seconds
        while (left := due - time.monotonic()) > 0:
            if self._hurry.is_set() or self._stop.is_set():
                return
            self._producer.poll(min(left, _POLL_SECONDS))

    def _send(self, sent: Sent) -> None:
        while not self._stop.is_set():
            try:
                self._producer.produce(
                    self._topic,
                    sent.value,
                    sent.key,
                    sent.partition,
                    on_delivery=self._on_delivery,
                )
                if self.begun % 64 == 0:
                    self._producer.poll(0)
                return
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                if error.args[0].code() != KafkaError._UNKNOWN_PARTITION:
                    raise
                self._producer.poll(0.1)  # it was added a moment ago

    def _on_delivery(self, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self.delivered += 1
        else:
            self.errors.append(error.str())
