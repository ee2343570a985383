"""What a restore reads from the broker, on the in-memory cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from schemas.layout import Layout
from schemas.rejections import Stage
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.dead_letters.headers import error_headers
from stream_scorer.kafka.mark import parse_mark
from stream_scorer.kafka.spans import Span
from stream_scorer.state.input_log import Place
from stream_scorer.state.inputs import (
    RAISE,
    AcceptedInputs,
    InputMissing,
    InputRows,
    refused_inputs,
)
from stream_scorer.stream.memory_broker import MemoryCluster, Record
from tests.support.audit.forged_topics import Sent, as_records
from tests.support.scoring_kit import DLQ

_READ = 5  # records read at a time


@cache
def _decoder() -> TransactionDecoder:
    """One for all: its plans take some time."""
    return TransactionDecoder(LocalSchemas())


@dataclass
class MemoryInputLog:
    """Implements ``InputLog``.

    Attributes:
        cluster: with the group's offsets, the inputs and the dead letters.
        low: the first input that is left, by partition; 0 otherwise.
        dead_letter_low: the first dead letter that is left, by partition.
        faults: raised by the next requests, one each; None lets a call succeed.
        before_read: called before each batch of inputs.
        reads: the spans of inputs that were read.
        readable: values that a later release can read in place of those in the log, by partition
            and offset.
    """

    cluster: MemoryCluster
    low: dict[int, int] = field(default_factory=dict)
    dead_letter_low: dict[int, int] = field(default_factory=dict)
    faults: list[Exception | None] = field(default_factory=list)
    before_read: Callable[[], None] = lambda: None
    reads: list[tuple[int, Span]] = field(default_factory=list)
    readable: Mapping[tuple[int, int], bytes] = field(default_factory=dict)
    closed: bool = False

    def committed(self, partitions: Iterable[int]) -> Mapping[int, Place]:
        self._fail()
        cluster = self.cluster
        return {
            p: Place(cluster.committed.get(p), parse_mark(cluster.marks.get(p))) for p in partitions
        }

    def first_retained(self, partition: int) -> int:
        return self.low.get(partition, 0)

    def dead_letters(self, partition: int) -> Span:
        end = len(self.cluster.logs[DLQ, partition])
        return Span(self.dead_letter_low.get(partition, 0), end)

    def stable_dead_letter_end(self, partition: int) -> int:
        self._fail()
        return self.dead_letters(partition).high

    def refused(self, partition: int, span: Span) -> NDArray[np.int64]:
        if (low := self.dead_letter_low.get(partition, 0)) > span.low:
            raise InputMissing(f"dead letters of partition {partition} before {low} are gone")
        found: dict[int, Stage] = {}
        for record in self.cluster.logs[DLQ, partition][span.low : span.high]:
            errors = error_headers(record.headers)
            found[int(errors["offset"])] = Stage(errors["stage"])
        return refused_inputs({partition: found})[partition]

    def read(
        self, partition: int, span: Span, refused: NDArray[np.int64], layout: Layout | None
    ) -> Iterator[InputRows]:
        self.reads.append((partition, span))
        log = self.cluster.logs[self.cluster.topic, partition]
        reader = AcceptedInputs(
            self.cluster.topic, _decoder(), {partition: refused}, layout, None, RAISE
        )
        for start in range(span.low, span.high, _READ):
            self.before_read()
            stop = min(start + _READ, span.high)
            if self.low.get(partition, 0) > start:
                raise InputMissing(f"inputs of partition {partition} from {start} on are gone")
            sent = [(at, self._sent(partition, at, log[at])) for at in range(start, stop)]
            rows = reader.read(partition, as_records(partition, sent))
            if rows is not None:
                yield rows

    def close(self) -> None:
        self.closed = True

    def _fail(self) -> None:
        if self.faults and (fault := self.faults.pop(0)) is not None:
            raise fault

    def _sent(self, partition: int, offset: int, record: Record) -> Sent:
        headers = tuple((name, as_bytes(value)) for name, value in record.headers or ())
        value = self.readable.get((partition, offset), record.value)
        return Sent(record.key, value, headers)


def as_bytes(value: bytes | str | None) -> bytes | None:
    """A header's value as it is on the wire."""
    return value.encode() if isinstance(value, str) else value
