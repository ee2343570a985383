"""Pairs from the topics of the champion's and the challenger's scores."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.kafka.messages import Records, by_partition
from stream_scorer.kafka.reader import committed_spans, read_spans, time_offsets
from stream_scorer.kafka.spans import Span, Spans
from stream_scorer.kafka.topics import require_topics
from stream_scorer.quality.reader import QualityReader, refuse_unread
from stream_scorer.runtime.registry import using_resolver
from stream_scorer.settings import GroupSettings
from stream_scorer.shadow.compare.pairs import Pairs, Side, join

GROUP: Final = "-compare"  # added to the scorers' group id; it never joins or commits
STALL_SECONDS: Final = 30.0

OnProgress = Callable[[int, int], None]


@dataclass(slots=True)
class TopicPairs:
    """Reads both topics, one partition after the other.

    Attributes:
        settings: the broker, the topics and the registry.
        champion: whose scores on ``OUTPUT_TOPIC`` count.
        challenger: whose scores on ``SHADOW_TOPIC`` count.
        since: scores from this time on, epoch milliseconds.
        on_progress: called with the offsets read and those to read.
        refused: what could not be read, with the number of each kind.
    """

    settings: GroupSettings
    champion: str
    challenger: str
    since: int
    on_progress: OnProgress = lambda _done, _total: None
    refused: Counter[str] = field(default_factory=Counter)
    _of_registry: int = 0
    _done: int = 0
    _total: int = 0

    def read(self) -> Iterator[Pairs]:
        """All pairs up to the topics' ends as of now.

        Raises:
            UsageError: no broker answers, or a topic is missing.
            RetryableError: a topic could not be read to its end.
            FatalError: login failed, or this user is not authorized.
        """
        settings = self.settings
        topics = (settings.output_topic, settings.shadow_topic)
        counts = require_topics(settings, topics)
        spans = [self._spans(topic, counts[topic]) for topic in topics]
        self._total = sum(span.high - span.low for each in spans for span in each.values())
        for partition in sorted(spans[0].keys() & spans[1].keys()):
            with using_resolver(settings, "fraud_score") as resolver:
                readers = [QualityReader(resolver, settings.input_topic) for _ in topics]
                sides = [
                    self._side(topic, partition, span[partition], reader, version)
                    for topic, span, reader, version in zip(
                        topics, spans, readers, (self.champion, self.challenger), strict=True
                    )
                ]
                with closing(sides[0]) as ours, closing(sides[1]) as theirs:  # type: ignore[type-var]  # generators
                    yield from join(partition, ours, theirs)
                for reader in readers:
                    self.refused += reader.refused
                    self._of_registry += reader.of_registry
        if self._of_registry and not settings.schema_registry_url:
            read = self._done - self.refused["unreadable_scores"]
            refuse_unread(" and ".join(topics), self._of_registry, read)
        self.on_progress(self._total, self._total)

    def _spans(self, topic: str, partitions: int) -> Spans:
        group = self.settings.kafka_group_id + GROUP
        spans = committed_spans(self.settings, group, topic, partitions)
        starts = time_offsets(self.settings, group, topic, spans, self.since)
        found = {p: Span(min(max(s.low, starts[p]), s.high), s.high) for p, s in spans.items()}
        return {p: span for p, span in found.items() if span.low < span.high}

    def _side(
        self, topic: str, partition: int, span: Span, reader: QualityReader, version: str
    ) -> Iterator[Side]:
        pages = read_spans(
            self.settings,
            self.settings.kafka_group_id + GROUP,
            topic,
            {partition: span},
            STALL_SECONDS,
            on_unreadable=lambda _partition, _passed: self.refused.update(unreadable_batches=1),
        )
        for messages in pages:
            for _, records in by_partition(messages):
                self._done += len(records)
                yield read_side(records, partition, reader, version)
            self.on_progress(min(self._done, self._total), self._total)


def read_side(records: Records, partition: int, reader: QualityReader, version: str) -> Side:
    """The scores of one version among records of one partition."""
    # In place of times, the reader gets the numbers of the records: it leaves some of them out.
    numbers = np.arange(len(records), dtype=np.int64)
    rows = reader.read(records.values, numbers, lambda: records.headers)
    wanted = [code for code, name in enumerate(rows.version_names) if name == version]
    rows = rows.take(np.isin(rows.versions, wanted) & (rows.partitions == partition))
    keys = [records.keys[row] for row in rows.times.tolist()]
    return Side(
        rows.offsets,
        rows.transactions,
        records.times[rows.times],
        rows.scores,
        rows.decisions,
        rows.amounts,
        card_numbers(keys, rows.transactions),
        np.where(rows.is_sampled, rows.shares, np.nan),
    )


def card_numbers(keys: list[bytes | None], transactions: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number for each row that is the same for rows of one card, int64 ``[n]``.

    The key of a record is its card. A row without a key is a card of its own. The numbers do not
    depend on the process, so that the same comparison gives the same intervals.
    """
    texts = (
        b"no card " + str(one).encode() if key is None else key
        for key, one in zip(keys, transactions.tolist(), strict=True)
    )
    hashes = (hashlib.blake2b(text, digest_size=8).digest() for text in texts)
    return np.frombuffer(b"".join(hashes), "<i8").astype(np.int64)
