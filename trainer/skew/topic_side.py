"""The accepted transactions of the input topic, partition by partition, as scorers take them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch, concatenate
from schemas.contracts import NUMBER_INDEX
from schemas.layout import Layout
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.errors import UsageError
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.kafka.reader import committed_spans
from stream_scorer.kafka.spans import Span, Spans
from stream_scorer.kafka.topics import require_topics
from stream_scorer.kafka.unreadable import PassedBatch
from stream_scorer.runtime.registry import using_resolver
from stream_scorer.settings import GroupSettings
from stream_scorer.state.inputs import (
    InputRows,
    read_dead_letters,
    read_inputs,
    refused_inputs,
)
from trainer.data.memory import available_memory
from trainer.data.rows import pack_text
from trainer.history.rows import history_layout
from trainer.skew.sides import TOPIC, Side, Start, side_of

GROUP: Final = "-history-compare"  # added to the scorers' group id; it never joins or commits
_MEMORY_SHARE: Final = 0.9
_GIB: Final = 2**30

Advance = Callable[[int], None]


@dataclass(slots=True)
class Collected:
    """Inputs of all partitions, with the columns of a layout, and what could not be read.

    Attributes:
        layout: the number columns to keep; None: all.
        problems: what the topic lacks, with the number of each.
    """

    layout: Layout | None
    problems: Counter[str] = field(default_factory=Counter)
    _batches: list[TransactionBatch] = field(default_factory=list)
    _advances: list[NDArray[np.bool_]] = field(default_factory=list)
    _partitions: list[NDArray[np.int64]] = field(default_factory=list)
    _offsets: list[NDArray[np.int64]] = field(default_factory=list)
    _bytes: int = 0

    def add(self, rows: InputRows) -> None:
        """Add inputs of one partition, which follow on those before."""
        batch = narrow(rows.batch, self.layout)
        self._batches.append(batch)
        self._advances.append(rows.advances)
        self._partitions.append(np.full(len(rows), rows.partition, np.int64))
        self._offsets.append(rows.offsets)
        self._bytes += batch.numbers.nbytes + batch.starts.nbytes + batch.text.nbytes

    @property
    def bytes(self) -> int:
        """Memory of the transactions."""
        return self._bytes

    def removed(self, topic: str, partition: int, wanted: int, low: int) -> None:
        """Inputs were removed by retention before they were read."""
        del topic, partition
        self.problems["removed by retention while they were read"] += low - wanted

    def unreadable(self, topic: str, partition: int, batch: PassedBatch) -> None:
        """A batch cannot be unpacked."""
        del topic, partition
        self.problems["in a batch that cannot be unpacked"] += batch.next_offset - batch.begin

    def undecodable(self, topic: str, partition: int, offset: int, reason: str) -> None:
        """An input without a dead letter cannot be decoded."""
        del topic, partition, offset, reason
        self.problems["without a dead letter and not readable as a transaction"] += 1

    def side(self, spec: HistorySpec, start: Start) -> Side:
        """The transactions with their features."""
        batch = concatenate(self._batches, self.layout)
        none = np.empty(0, np.int64)
        partitions = np.concatenate([none, *self._partitions])
        offsets = np.concatenate([none, *self._offsets])
        advances = np.concatenate([np.empty(0, np.bool_), *self._advances])

        def place(row: int) -> str:
            return f"partition {partitions[row]} offset {offsets[row]}"

        return side_of(TOPIC, batch, advances, partitions, spec, start, place)


@dataclass(frozen=True, slots=True)
class TopicSide:
    """The transactions of the topic, and what it lacks, a sentence each."""

    side: Side
    problems: tuple[str, ...]


def read_topic_side(
    settings: GroupSettings,
    spec: HistorySpec,
    start: Start,
    begin: Sequence[int] | None,
    advance: Advance,
) -> TopicSide:
    """Read the input topic up to its end as of now, and compute its histories.

    Args:
        settings: broker, topics and registry.
        spec: the history features.
        start: the histories that it begins with.
        begin: the first offset of each partition that counts; None: the first retained.
        advance: called with the number of records of each batch.

    Raises:
        UsageError: no broker answers, a topic is missing, or the transactions do not fit into
            memory.
        RetryableError: a topic could not be read to its end.
        FatalError: login failed, or this user is not authorized.
    """
    topics = (settings.input_topic, settings.dlq_topic)
    counts = require_topics(settings, topics)
    group = settings.kafka_group_id + GROUP
    retained = committed_spans(settings, group, topics[0], counts[topics[0]])
    spans, problems = cut_spans(retained, begin, topics[0])
    dead = committed_spans(settings, group, topics[1], counts[topics[1]])
    found = Collected(history_layout(spec))
    refused = refused_inputs(read_dead_letters(settings, group, dead, faults=found))
    free = available_memory()
    with using_resolver(settings) as resolver:
        decoder = TransactionDecoder(resolver)
        reading = read_inputs(
            settings, group, spans, decoder, refused, layout=found.layout, faults=found
        )
        for rows in reading:
            found.add(rows)
            advance(len(rows))
            if free is not None and found.bytes > free * _MEMORY_SHARE:
                raise UsageError(
                    f"the transactions of {topics[0]} need more than the available "
                    f"{free / _GIB:.1f} GiB of memory: compare on a machine with more"
                )
    problems += [
        f"{number:,} inputs are {what}: histories lack them here"
        for what, number in found.problems.items()
    ]
    return TopicSide(found.side(spec, start), tuple(problems))


def cut_spans(
    retained: Spans, begin: Sequence[int] | None, topic: str
) -> tuple[dict[int, Span], list[str]]:
    """The spans from ``begin`` on, and what of them is no longer retained."""
    if begin is None:
        return dict(retained), []
    if len(begin) != len(retained):
        return dict(retained), [
            f"{topic} has {len(retained)} partitions, and the histories began with {len(begin)}"
        ]
    problems = [
        f"partition {partition}: inputs {begin[partition]} to {span.low - 1} are no longer in "
        f"{topic}, so its histories lack them here"
        for partition, span in retained.items()
        if span.low > begin[partition]
    ]
    spans = {
        partition: Span(min(max(span.low, begin[partition]), span.high), span.high)
        for partition, span in retained.items()
    }
    return spans, problems


def narrow(batch: TransactionBatch, layout: Layout | None) -> TransactionBatch:
    """The transactions with the columns of a layout, and no more text than their own."""
    numbers = batch.numbers
    if layout is not None and batch.layout is None:
        columns = [NUMBER_INDEX[name] for name in layout.columns]
        numbers = np.full((len(batch), layout.width), np.nan)
        numbers[:, : len(columns)] = batch.numbers[:, columns]
    text, starts = pack_text(batch, np.arange(len(batch)))
    return TransactionBatch(
        batch.ids, batch.times, batch.event_times, numbers, text, starts, batch.lengths, layout
    )
