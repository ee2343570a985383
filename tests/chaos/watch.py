"""Samples the progress of the group while faults are injected."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Final

from stream_scorer.kafka.clients import open_consumer
from stream_scorer.kafka.driver import KafkaException, TopicPartition
from stream_scorer.runtime.settings import KafkaSettings
from tests.chaos.feed import METADATA

_EVERY_SECONDS: Final = 0.5
_ANSWER_SECONDS: Final = (
    10.0  # usually milliseconds; some samples are lost while a broker is frozen
)


@dataclass(frozen=True, slots=True)
class Progress:
    """Records written to the input and committed by the group, ``at`` monotonic seconds."""

    at: float
    written: int
    committed: int

    @property
    def lag(self) -> int:
        """Records without an outcome yet."""
        return self.written - self.committed


class Watch:
    """Reads the group's offsets from the broker, twice a second."""

    def __init__(self, settings: KafkaSettings, topic: str, partitions: int, group_id: str) -> None:
        self._places = [TopicPartition(topic, p) for p in range(partitions)]
        # This consumer never joins. With read_committed the answer would wait until no transaction
        # is open, and on a slow machine one always is.
        self._consumer = open_consumer(
            settings, group_id, **{"isolation.level": "read_uncommitted", **METADATA}
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")
        self.samples: list[Progress] = []

    def start(self) -> None:
        """Start sampling."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sampling."""
        if self._stop.is_set():
            return
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._consumer.close()

    def add_partition(self) -> None:
        """Sample one more partition from now on."""
        topic, count = self._places[0].topic, len(self._places)
        self._places = [*self._places, TopicPartition(topic, count)]

    def committed(self) -> int:
        """Records that the group had committed at the last sample."""
        return self.samples[-1].committed if self.samples else 0

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            try:
                sample = self._ask()
            except KafkaException:
                continue
            if sample.lag >= 0:  # else a fault has moved the offsets beyond the log
                self.samples.append(sample)

    def _ask(self) -> Progress:
        # Read the committed offsets first, so that the lag is never understated.
        places = self._places
        offsets = [p.offset for p in self._consumer.committed(places, _ANSWER_SECONDS)]
        done = sum(max(offset, 0) for offset in offsets)
        written = 0
        for place in places:
            _, high = self._consumer.get_watermark_offsets(place, timeout=_ANSWER_SECONDS)
            written += high
        return Progress(time.monotonic(), written, done)
