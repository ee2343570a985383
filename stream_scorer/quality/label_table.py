"""Reads the labels topic into a table with one row for each transaction.

Memory depends on the number of labelled transactions, about 60 bytes each, and not on how often
they were decided: records are reduced to the standing ones while they are read.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.records import UndecodableRecord
from schemas.resolver import SchemaResolver
from stream_scorer.kafka.messages import Records, by_partition
from stream_scorer.kafka.reader import committed_spans, read_spans
from stream_scorer.kafka.topics import require_topics
from stream_scorer.labels.labels import ORIGINS, VALUES
from stream_scorer.labels.topic import CONTRACT, STALL_SECONDS, decode_label
from stream_scorer.quality.rows import NONE, Integers, LabelTable
from stream_scorer.runtime.registry import using_resolver
from stream_scorer.settings import GroupSettings

_GROUP: Final = "-quality"
_ANALYST: Final = ORIGINS.index("ANALYST")
_MAX_WAITING: Final = 200_000  # records between two reductions: 13 MB
_ID, _PARTITION, _OFFSET, _AT, _VALUE, _ORIGIN, _OF_PARTITION, _OF_OFFSET = range(8)


def read_label_table(settings: GroupSettings) -> LabelTable:
    """The labels of all transactions, up to the topic's end as of now, committed ones alone.

    Raises:
        UsageError: no broker answers, or there is no such topic.
        RetryableError: the topic could not be read to its end, or the Schema Registry fails.
        FatalError: login failed, or this user is not authorized.
    """
    topic, group = settings.labels_topic, settings.kafka_group_id + _GROUP
    partitions = require_topics(settings, [topic])[topic]
    spans = committed_spans(settings, group, topic, partitions)
    found = LabelTableBuilder(settings.input_topic)

    def refuse(_partition: int, _passed: object) -> None:
        found.bad += 1

    with using_resolver(settings, CONTRACT) as resolver:
        for messages in read_spans(
            settings, group, topic, spans, STALL_SECONDS, on_unreadable=refuse
        ):
            for partition, records in by_partition(messages):
                found.add(partition, records, resolver)
    return found.build()


class LabelTableBuilder:
    """Reduces records of labels to the last one of each transaction and kind of origin.

    The labels of a transaction share a partition, so that offsets order them. They are in several
    only if partitions were added; then the later decision stands.

    Args:
        input_topic: the topic that labels may name a record of.
    """

    def __init__(self, input_topic: str) -> None:
        self._topic = input_topic
        self._rows: list[tuple[int, ...]] = []
        self._reduced = np.empty((0, 8), np.int64)
        self.bad = 0

    def add(self, partition: int, records: Records, resolver: SchemaResolver | None) -> None:
        """Add records of one partition, in offset order."""
        for offset, value, headers in zip(
            records.offsets.tolist(), records.values, records.headers, strict=True
        ):
            try:
                label = decode_label(value, headers, resolver)
            except UndecodableRecord:
                self.bad += 1
                continue
            source = label.get("source") or {}
            is_ours = source.get("topic") == self._topic
            self._rows.append(
                (
                    label["transaction_id"],
                    partition,
                    offset,
                    label["decided_at"],
                    VALUES[label["label"]],
                    ORIGINS.index(label["origin"]),
                    int(source["partition"]) if is_ours else -1,
                    int(source["offset"]) if is_ours else -1,
                )
            )
        if len(self._rows) >= _MAX_WAITING:
            self._reduce()

    def build(self) -> LabelTable:
        """The table, once all records were added."""
        self._reduce()
        rows = self._reduced
        is_analyst = rows[:, _ORIGIN] == _ANALYST
        ids, first = np.unique(rows[:, _ID], return_index=True)
        last = np.append(first[1:], len(rows)) - 1
        kinds = []
        for mask in (is_analyst, ~is_analyst):
            values = np.full(len(ids), NONE, np.int8)
            # Rows are in order, so that the last one of a kind is written last.
            values[np.searchsorted(ids, rows[mask, _ID])] = rows[mask, _VALUE]
            kinds.append(values)
        return LabelTable(
            ids=ids,
            standing=rows[last, _VALUE].astype(np.int8),
            decided_at=rows[last, _AT],
            analyst=kinds[0],
            report=kinds[1],
            partitions=rows[last, _OF_PARTITION],
            offsets=rows[last, _OF_OFFSET],
            bad_records=self.bad,
        )

    def _reduce(self) -> None:
        """Keep the last record of each transaction and kind of origin, ordered by transaction."""
        new = np.array(self._rows, np.int64).reshape(-1, 8)
        self._rows = []
        rows = np.concatenate([self._reduced, new])
        rows = rows[_standing_order(rows)]
        is_analyst = rows[:, _ORIGIN] == _ANALYST
        keep = np.zeros(len(rows), np.bool_)
        for mask in (is_analyst, ~is_analyst):
            at = np.flatnonzero(mask)
            ids = rows[at, _ID]
            keep[at[np.append(ids[1:] != ids[:-1], True)[: len(at)]]] = True
        self._reduced = rows[keep]


def _standing_order(rows: Integers) -> NDArray[np.intp]:
    """By transaction; its records in the order in which they replace each other."""
    ids, partitions = rows[:, _ID], rows[:, _PARTITION]
    found, of = np.unique(ids, return_inverse=True)
    lowest = np.full(len(found), np.iinfo(np.int64).max)
    highest = np.full(len(found), -1, np.int64)
    np.minimum.at(lowest, of, partitions)
    np.maximum.at(highest, of, partitions)
    is_moved = (lowest != highest)[of]
    return np.lexsort((rows[:, _OFFSET], np.where(is_moved, rows[:, _AT], 0), ids))
