"""Threads and processes on one processor each, ahead of everything else if the system allows it.

``python -m tests.bench.shadow.pinned`` is a challenger's process that is pinned, with a producer
whose broker is librdkafka's own mock.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import Producer

from schemas.contracts import load_schema, schema_fingerprint
from schemas.framing import prefix
from stream_scorer.process import challenger
from stream_scorer.shadow import limits
from stream_scorer.stream.ports import Outgoing

CHAMPION_CPU: Final = 0
CHALLENGER_CPU: Final = 1
_ANSWER_SECONDS: Final = 10.0


def pin(cpu: int, thread: int = 0, priority: int = 2) -> bool:
    """Bind a thread, and those that it starts, to a processor; whether it comes before others.

    With real-time priority (as root) nothing else on the machine disturbs the measurement.
    """
    os.sched_setaffinity(thread, {cpu})
    with suppress(PermissionError):
        os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(priority))
        return True
    return False


def open_mock_producer(cpu: int, priority: int = 2) -> Producer:
    """A producer with a broker in its own threads, all on one processor."""
    made: list[Producer] = []

    def make() -> None:
        pin(cpu, priority=priority)
        producer = Producer(
            {
                "bootstrap.servers": "mock",
                "test.mock.num.brokers": 1,
                "linger.ms": 5,
                "log_level": 0,
                "queue.buffering.max.messages": 1_000_000,
            }
        )
        producer.list_topics("any", timeout=_ANSWER_SECONDS)
        made.append(producer)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


class MockSink:
    """Publishes to a mock broker."""

    topic = "fraud-scores-shadow"

    def __init__(self, *_: Any) -> None:
        self._producer = open_mock_producer(CHALLENGER_CPU, priority=1)
        self._head = prefix(schema_fingerprint(load_schema("fraud_score")), None)

    def prepare(self) -> None:
        """It is ready."""

    def head(self) -> bytes:
        """The framing of scores."""
        return self._head

    def send(self, records: Sequence[Outgoing]) -> int:
        """Put records into the producer's queue."""
        for sent, (topic, _, key, value, headers) in enumerate(records):
            try:
                self._producer.produce(topic, value, key, 0, headers=headers)
            except BufferError:
                self._producer.poll(0)
                return len(records) - sent
        self._producer.poll(0)
        return 0

    def close(self) -> None:
        """Leave what waits."""


def main() -> int:
    """The challenger's process."""
    vars(challenger)["KafkaSink"] = MockSink
    vars(limits)["yield_processors"] = lambda: pin(CHALLENGER_CPU, priority=1)
    return challenger.main(sys.argv[1:])


if __name__ == "__main__":
    os._exit(main())
