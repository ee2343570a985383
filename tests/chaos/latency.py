"""Measures the time from producing a transaction to reading its committed score."""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any, Final

from stream_scorer.kafka.clients import open_consumer, open_producer
from stream_scorer.kafka.driver import KafkaException, TopicPartition
from stream_scorer.runtime.settings import KafkaSettings, TopicSettings
from tests.chaos.feed import make_values

_EVERY_SECONDS: Final = 0.05
_PARTITION: Final = 0


class LatencyProbe:
    """Sends probes to one partition; their trace context, kept by scores, has the send time."""

    def __init__(self, settings: KafkaSettings, topics: TopicSettings) -> None:
        self._topics = topics
        self._producer = open_producer(settings, **{"linger.ms": 0})
        self._consumer = open_consumer(settings, f"probe-{uuid.uuid4().hex[:8]}")
        place = TopicPartition(topics.output_topic, _PARTITION)
        _, high = self._consumer.get_watermark_offsets(place, timeout=10)
        self._consumer.assign([TopicPartition(topics.output_topic, _PARTITION, high)])
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=f) for f in (self._send, self._read)]
        self.sent = 0
        self.seen: list[tuple[float, float]] = []
        """(monotonic seconds, latency in milliseconds) of each probe that was scored."""

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._consumer.close()

    def _send(self) -> None:
        value = make_values(1)[0]
        while not self._stop.wait(_EVERY_SECONDS):
            trace = f"00-{time.monotonic_ns():032x}-{1:016x}-00".encode()
            self._producer.produce(
                self._topics.input_topic, value, b"1000", _PARTITION,
                headers=[("traceparent", trace)],
            )  # fmt: skip
            self._producer.poll(0)
            self.sent += 1
        self._producer.flush(30)

    def _read(self) -> None:
        while not self._stop.is_set():
            try:
                messages = self._consumer.consume(500, 0.01)
            except KafkaException:
                continue
            now = time.monotonic_ns()
            for message in messages:
                headers: Any = message.headers() if message.error() is None else None
                trace = dict(headers or []).get("traceparent")
                if trace:
                    latency = (now - int(trace.split(b"-")[1], 16)) / 1e6
                    self.seen.append((now / 1e9, latency))
