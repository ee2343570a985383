"""The topics of the desk in memory, for dashboards without Kafka."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from dashboard.cases.log import (
    CONTRACTS,
    CREATE_TOPICS,
    Channel,
    LogBatch,
    LogBounds,
    LogRecord,
    NewRecord,
    Place,
    Positions,
)
from schemas.records import encode_record
from schemas.resolver import LocalSchemas, SchemaResolver
from stream_scorer.errors import RetryableError

NAMES = {Channel.LABELS: "fraud-labels", Channel.AUDIT: "fraud-audit"}


def local_resolvers() -> dict[Channel, SchemaResolver]:
    """Resolvers that know the contracts of this repository alone."""
    return {channel: LocalSchemas(contract) for channel, contract in CONTRACTS.items()}


class MemoryLog:
    """In-memory fake of :class:`dashboard.cases.kafka_log.KafkaLog`, shared by replicas.

    ``is_down`` makes reading and writing fail. Topics not in ``exist`` do not exist. With
    ``is_mute`` records are written, and their confirmation is lost.
    """

    def __init__(self, partitions: int = 3, clock: Callable[[], float] = time.time) -> None:
        self.cluster = "memory"
        self.is_down = False
        self.is_mute = False
        self.exist = set(Channel)
        self.clock = clock
        self.problem: str | None = None
        self.changed = threading.Condition()
        self.logs: dict[tuple[Channel, int], list[LogRecord]] = {
            (channel, p): [] for channel in Channel for p in range(partitions)
        }
        self._partitions = partitions
        self.topic_ids: dict[Channel, str] = {channel: f"{channel} 1" for channel in Channel}
        """Empty, as brokers before 2.8 have none."""

    def recreate(self, channel: Channel) -> None:
        """Delete a topic and create it again, between two requests of any client."""
        with self.changed:
            for place in self.logs:
                if place[0] is channel:
                    self.logs[place] = []
            if self.topic_ids:
                self.topic_ids[channel] += "+"
            self.changed.notify_all()

    def name_of(self, channel: Channel) -> str:
        return NAMES[channel]

    def append(self, records: Sequence[NewRecord], seconds: float) -> list[Place | None]:  # noqa: ARG002
        self.problem = "no broker answers" if self.is_down else None
        if self.is_down:
            return [None] * len(records)
        found: list[Place | None] = []
        for new in records:
            value = encode_record(CONTRACTS[new.channel], dict(new.record))
            place = self.put(new.channel, value, new.key, new.headers)
            found.append(None if self.is_mute else place)
        return found

    def put(
        self,
        channel: Channel,
        value: bytes | None,
        key: bytes = b"",
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> Place | None:
        """Append raw bytes, as another program would."""
        if channel not in self.exist:
            return None
        with self.changed:
            partition = sum(key) % self._partitions
            records = self.logs[channel, partition]
            place = Place(partition, len(records))
            now = int(self.clock() * 1000)
            records.append(LogRecord(channel, place, now, value, list(headers)))
            self.changed.notify_all()
        return place

    def put_label(self, transaction_id: int, label: str, origin: str, **more: Any) -> Place | None:
        """Append a label, as another program would."""
        record = {
            "transaction_id": transaction_id, "label": label, "origin": origin,
            "decided_by": "bank", "decided_at": int(self.clock() * 1000),
        }  # fmt: skip
        value = encode_record("fraud_label", record | more)
        return self.put(Channel.LABELS, value, str(transaction_id).encode())

    def records(self, channel: Channel) -> list[LogRecord]:
        """All records of a topic by time."""
        with self.changed:
            found = [r for (one, _), rs in self.logs.items() if one is channel for r in rs]
        return sorted(found, key=lambda record: record.time)

    def open_reader(self) -> MemoryReader:
        return MemoryReader(self)

    def close(self) -> None:
        """Nothing to close: other replicas go on using it."""


class MemoryReader:
    """Reads a :class:`MemoryLog`."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._positions: dict[tuple[Channel, int], int] = {}

    def fetch_bounds(self) -> LogBounds:
        self._check()
        with self._log.changed:
            bounds = {
                place: (0, len(records))
                for place, records in self._log.logs.items()
                if place[0] in self._log.exist
            }
        problems = {c: CREATE_TOPICS for c in Channel if c not in self._log.exist}
        ids = {c: one for c, one in self._log.topic_ids.items() if c in self._log.exist}
        return LogBounds(self._log.cluster, bounds, problems, ids)

    def assign(self, positions: Positions) -> None:
        self._check()
        self._positions = dict(positions)

    def poll(self, seconds: float) -> LogBatch:
        self._check()
        with self._log.changed:
            self._log.changed.wait_for(self._has_more, min(seconds, 0.05))
            found = list[LogRecord]()
            for place, position in self._positions.items():
                new = self._log.logs[place][position:]
                found += new
                self._positions[place] = position + len(new)
            return LogBatch(found, dict(self._positions))

    def close(self) -> None:
        self._positions = {}

    def _has_more(self) -> bool:
        return any(len(self._log.logs[place]) > at for place, at in self._positions.items())

    def _check(self) -> None:
        if self._log.is_down:
            raise RetryableError("kafka: no broker answers")
