"""In-memory fake of the input topic, and of what the scorers have committed of it."""

from __future__ import annotations

from collections.abc import Iterable

from dashboard.feed.backlog import InputOffsets
from dashboard.feed.board import InputPlace
from dashboard.feed.inputs import Inputs
from dashboard.feed.records import InputRecord, RecordGone
from schemas.resolver import LocalSchemas
from stream_scorer.errors import ScorerError

CONTROL = None
"""In a log: a control record, which readers skip."""


class MemoryInput:
    """One topic. Each partition is a log of records, of which control records are None.

    ``problem`` makes every request fail. ``deleted`` records of each partition have expired.
    """

    def __init__(
        self, logs: Iterable[Iterable[InputRecord | None]] = (), topic: str = "transactions"
    ) -> None:
        self.topic = topic
        self.logs = [list(log) for log in logs]
        self.committed = dict.fromkeys(range(len(self.logs)), 0)
        self.deleted = 0
        self.exists = True
        self.problem: ScorerError | None = None
        self.places: tuple[InputPlace, ...] = ()
        self.looked_up: list[tuple[int, int]] = []

    def as_inputs(self) -> Inputs:
        return Inputs(lambda: self, self, LocalSchemas("transaction"))

    def fetch(self) -> InputOffsets | None:
        self._check()
        ends = {p: len(log) for p, log in enumerate(self.logs)}
        return InputOffsets(dict(self.committed), ends, self.places) if self.exists else None

    def first_record(self, partition: int, start: int) -> tuple[int, int] | None:
        self._check()
        self.looked_up.append((partition, start))
        log = self.logs[partition]
        found = (i for i in range(start, len(log)) if log[i] is not CONTROL)
        offset = next(found, None)
        record = None if offset is None else log[offset]
        return None if offset is None or record is None else (offset, record.appended_at)

    def read(self, topic: str, partition: int, offset: int) -> InputRecord:
        self._check()
        log = self.logs[partition] if topic == self.topic and partition < len(self.logs) else []
        record = log[offset] if self.deleted <= offset < len(log) else None
        if record is None:
            raise RecordGone("its retention time has passed, and Kafka has deleted it")
        return record

    def close(self) -> None:
        pass

    def _check(self) -> None:
        if self.problem is not None:
            raise self.problem
