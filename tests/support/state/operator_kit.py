"""A topic with inputs of cards, a store, and the histories that operators build on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from schemas.batch import build_batch
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.kafka.mark import format_mark
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.memory_store import MemoryObjects
from stream_scorer.state.admin.beginnings import FromInputs, draft_era
from stream_scorer.state.admin.build import HistoryBuilder
from stream_scorer.state.eras import InputFacts
from stream_scorer.state.marks import history_mark
from stream_scorer.state.placement import partitions_of
from stream_scorer.state.stored import StoredStates
from stream_scorer.stream.memory_broker import MemoryCluster, Record
from tests.support.scoring_kit import INPUT
from tests.support.state.history_kit import NOW, advance, encode_rows, make_card_rows, make_spec
from tests.support.state.memory_log import MemoryInputLog

Rows = list[dict[str, Any]]


def split_by_partition(rows: Rows, count: int) -> list[Rows]:
    """Transactions by the partition of their card; those without one are in partition 0."""
    cards = np.array([int(row.get("card1", 0)) for row in rows], np.int64)
    places = np.where([("card1" in row) for row in rows], partitions_of(cards, count), 0)
    return [[row for row, p in zip(rows, places, strict=True) if p == n] for n in range(count)]


@dataclass
class OperatorBed:
    """Inputs in the partitions of their cards, all committed unless :meth:`commit` says less."""

    rows: Rows = field(default_factory=lambda: make_card_rows(120, cards=9))
    count: int = 3
    spec: HistorySpec = field(default_factory=make_spec)

    def __post_init__(self) -> None:
        self.cluster = MemoryCluster(INPUT, self.count)
        self.log = MemoryInputLog(self.cluster)
        self.objects = MemoryObjects()
        self.store = HistoryStore(self.objects, is_trusted=True)
        self.facts = InputFacts(INPUT, "", self.count)
        self.inputs: list[Rows] = [[] for _ in range(self.count)]
        self.rows_replayed = 0
        self.pauses: list[float] = []
        self.add(self.rows)
        self.commit_all()

    def add(self, rows: Rows) -> None:
        """Produce transactions to the partitions of their cards."""
        for partition, own in enumerate(split_by_partition(rows, self.count)):
            self.inputs[partition] += own
            self.produce(partition, own)

    def produce(self, partition: int, rows: Rows) -> None:
        """Produce transactions to one partition."""
        for value in encode_rows(rows) if rows else ():
            self.cluster.produce(partition, Record(b"1", value))

    def commit_all(self) -> None:
        """Everything is scored, by a bundle without history."""
        for partition, own in enumerate(self.inputs):
            self.cluster.committed[partition] = len(own)

    def mark(self, era: Era, partition: int) -> None:
        """A scorer that uses this era has committed the partition's offset."""
        sum_ = self.history(partition).check_sum()
        mark = history_mark(era.spec, era.number, sum_)
        self.cluster.marks[partition] = format_mark(mark.fields())

    def history(
        self, partition: int, begin: int = 0, end: int | None = None, **more: Any
    ) -> PartitionHistory:
        """One pass over a partition's inputs, or over a part of them."""
        history = PartitionHistory(self.spec, **more)
        return self.advance(history, partition, begin, end)

    def advance(
        self, history: PartitionHistory, partition: int, begin: int = 0, end: int | None = None
    ) -> PartitionHistory:
        """The history after further inputs of a partition."""
        rows = self.inputs[partition][begin:end]
        if rows:
            advance(history, build_batch(rows))
        return history

    def draft(self, **more: Any) -> Era:
        """The era to build next."""
        given: dict[str, Any] = {"seed": None, "max_keys": 10**6, "is_cold": True, "why": "a test"}
        previous = self.store.latest_era(self.spec.fingerprint)
        return draft_era(previous, self.spec, self.facts, **(given | more))

    def builder(self, **more: Any) -> HistoryBuilder:
        """What builds it."""

        def count(rows: int) -> None:
            self.rows_replayed += rows

        given: dict[str, Any] = {
            "stored": StoredStates(self.store, self.spec),
            "writer": "a test",
            "on_rows": count,
            "pause": self.pauses.append,
        }
        return HistoryBuilder(self.spec, self.store, log=self.log, **(given | more))

    def begin_era(self, **more: Any) -> Era:
        """Build an era from all inputs, at :data:`NOW`, and begin it."""
        builder = self.builder(now=lambda: NOW)
        draft = self.draft(**more)
        era = builder.build(draft, FromInputs(builder.restore_of(draft)), lambda _: None)
        assert self.store.create_era(era)
        return era
