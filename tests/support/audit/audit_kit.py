"""In-memory topics for audit tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pytest

from schemas.batch import NO_EVENT_TIME
from stream_scorer.audit.auditor import Auditor
from stream_scorer.audit.expiry import Cuts
from stream_scorer.audit.ledger import Clocks
from stream_scorer.audit.records.columns import (
    Content,
    Inputs,
    Mark,
    OutcomeKind,
    Outcomes,
)
from stream_scorer.audit.records.digest import leaves, value_hash
from stream_scorer.audit.records.outcome_reader import key_hash
from stream_scorer.audit.run import AuditRun, OnLost
from stream_scorer.audit.state import AuditState
from stream_scorer.audit.state_file import AuditIdentity, dump_state, parse_state
from stream_scorer.audit.tally import AuditTally
from stream_scorer.audit.verdict import Fault, Verdict
from stream_scorer.kafka.spans import Span, Spans

HERE = AuditIdentity(
    "cluster-1",
    {"input": ("in", "id-1"), "scores": ("out", "id-2"), "dead_letters": ("dlq", "id-3")},
    "scorers",
)
"""Cluster, topics and group of an audit."""

STRIPES = pytest.mark.parametrize("stripe", [1, 2, 3, 1000])
"""From one stripe per input to one stripe for all: the verdict must not depend on it."""

T = TypeVar("T")

KEY = key_hash(b"13926")
NO_MARK = Mark(0)
VALUE_HASH = value_hash(b"an input")


@dataclass(frozen=True, slots=True)
class Row:
    """One outcome: its input, and what else a test sets; without a source it is unreadable."""

    source: tuple[int, int] | None
    version: str = "v1"
    key: int = KEY
    value: bytes = b"score"
    transaction: int | None = None
    """Id of the transaction; by default the input's, which equals its offset."""
    event_time: int = NO_EVENT_TIME
    value_hash: int = VALUE_HASH
    """Of a dead letter; an input has ``VALUE_HASH``."""
    marks: Mark = NO_MARK
    time: int | None = None
    """Timestamp; by default 2000 plus the offset. An input has 1000 plus its offset."""


@dataclass(slots=True)
class MemoryTopics:
    """An audit's source in memory.

    ``rows`` holds the outcomes by kind, partition and offset. ``inputs_at`` holds, by partition,
    the offsets of inputs, each with the dead letter it was redriven from, or None.
    """

    spans: dict[int, Span] = field(default_factory=lambda: {0: Span(0, 10), 1: Span(0, 10)})
    inputs_at: dict[int, dict[int, tuple[int, int] | None]] = field(default_factory=dict)
    rows: dict[tuple[OutcomeKind, int], dict[int, Row]] = field(default_factory=dict)
    now: dict[int, Span] | None = None
    batch: int = 4
    reads: int = 0
    contents: dict[int, Content] = field(default_factory=dict)
    """What is known of inputs by offset, where it is not ``DECODED``."""
    input_times: dict[int, int] = field(default_factory=dict)
    """Timestamps by offset, where they are not 1000 plus the offset."""
    removed: dict[tuple[OutcomeKind, int], int] = field(default_factory=dict)
    """Outcomes before these offsets are removed after the run has begun."""
    emptied: dict[tuple[OutcomeKind, int], int] = field(default_factory=dict)
    """Partitions of outcomes from which every record was removed: their end offsets."""

    def with_inputs(self, offsets: Sequence[int], partition: int = 0) -> MemoryTopics:
        """Add inputs at these offsets."""
        self.inputs_at.setdefault(partition, {}).update(dict.fromkeys(offsets))
        return self

    def write(
        self,
        sources: Sequence[tuple[int, int] | Row],
        kind: OutcomeKind = OutcomeKind.SCORE,
        partition: int = 0,
        at: int | None = None,
    ) -> MemoryTopics:
        """Write outcomes one after the other, at the end or from ``at`` on."""
        log = self.rows.setdefault((kind, partition), {})
        start = max(log, default=-1) + 1 if at is None else at
        for i, row in enumerate(sources):
            log[start + i] = row if isinstance(row, Row) else Row(row)
        return self

    def ends(self) -> dict[OutcomeKind, Spans]:
        """The spans of all outcomes."""
        found: dict[OutcomeKind, dict[int, Span]] = {kind: {} for kind in OutcomeKind}
        for kind in OutcomeKind:
            for partition in {*self.spans, *(p for k, p in self.rows if k is kind)}:
                log = self.rows.get((kind, partition), {})
                empty = self.emptied.get((kind, partition), 0)
                found[kind][partition] = Span(
                    min(log, default=empty), max(log, default=empty - 1) + 1
                )
        return dict(found)

    def inputs(self, spans: Spans) -> Iterator[Inputs]:
        for partition, span in spans.items():
            held = sorted(self.inputs_at.get(partition, {}).items())
            found = [(o, origin) for o, origin in held if span.low <= o < span.high]
            for part in _parts(found, self.batch):
                self.reads += len(part)
                origins = [(o, *origin) for o, origin in part if origin]
                yield Inputs(
                    partition,
                    np.array([o for o, _ in part], np.int64),
                    np.full(len(part), KEY, np.uint32),
                    np.array([self.input_times.get(o, 1000 + o) for o, _ in part], np.int64),
                    np.array([self.contents.get(o, Content.DECODED) for o, _ in part], np.uint8),
                    np.array([o for o, _ in part], np.int64),
                    np.full(len(part), NO_EVENT_TIME, np.int64),
                    np.full(len(part), VALUE_HASH, np.int64),
                    np.array(origins, np.int64).reshape(-1, 3),
                )

    def outcomes(
        self, kind: OutcomeKind, spans: Spans, on_lost: OnLost
    ) -> Iterator[tuple[Outcomes, list[int]]]:
        for partition, span in spans.items():
            low = self.removed.get((kind, partition), 0)
            if span.low < min(low, span.high):
                on_lost(partition, low)
            held = sorted(self.rows.get((kind, partition), {}).items())
            found = [(o, row) for o, row in held if max(low, span.low) <= o < span.high]
            for part in _parts(found, self.batch):
                self.reads += len(part)
                good = [(o, row) for o, row in part if row.source is not None]
                yield make_outcomes(kind, partition, good), [o for o, r in part if r.source is None]

    def inputs_now(self) -> Spans:
        return self.now or self.spans


def five() -> MemoryTopics:
    """Five inputs in partition 0."""
    return MemoryTopics().with_inputs(range(5))


def make_outcomes(kind: OutcomeKind, partition: int, rows: Sequence[tuple[int, Row]]) -> Outcomes:
    """Outcomes as columns, from (offset, row)."""
    names = tuple(dict.fromkeys(row.version for _, row in rows))
    table = np.array([row.source for _, row in rows], np.int64).reshape(-1, 2)
    given = [row.transaction for _, row in rows]
    offsets = np.array([o for o, _ in rows], np.int64)
    return Outcomes(
        kind,
        partition,
        offsets,
        table[:, 0],
        table[:, 1],
        np.array([row.key for _, row in rows], np.uint32),
        np.array([2000 + o if row.time is None else row.time for o, row in rows], np.int64),
        leaves(np.column_stack([offsets, table]), [row.value for _, row in rows]),
        np.array([names.index(row.version) for _, row in rows], np.int32)
        if kind is OutcomeKind.SCORE
        else np.full(len(rows), -1, np.int32),
        np.array([o if t is None else t for t, o in zip(given, table[:, 1], strict=True)], np.int64)
        if kind is OutcomeKind.SCORE
        else np.zeros(len(rows), np.int64),
        np.array([row.event_time for _, row in rows], np.int64),
        np.array([row.value_hash for _, row in rows], np.int64),
        np.array([row.marks for _, row in rows], np.uint8),
        names,
    )


def new_auditor(limit: int = 20, *, has_next_run: bool = False) -> Auditor:
    """An auditor without a past."""
    return Auditor(AuditState(AuditTally(limit)), has_next_run=has_next_run)


def begin(
    auditor: Auditor,
    topics: MemoryTopics,
    *,
    edges: Mapping[int, int] | None = None,
    lows: Mapping[int, int] | None = None,
    stripe: int = 1000,
    cuts: Cuts | None = None,
    committed: Mapping[int, int] | None = None,
    clocks: Clocks | None = None,
) -> AuditRun:
    """Begin a run over what the topics hold now."""
    ends = topics.ends()
    log_lows = {(kind, p): span.low for kind, spans in ends.items() for p, span in spans.items()}
    highs = {p: span.high for p, span in topics.spans.items()}
    auditor.begin_run(topics.spans, edges or highs, log_lows, lows=lows, cuts=cuts,
                      committed=committed, clocks=clocks)  # fmt: skip
    return AuditRun(auditor, topics, ends, stripe_offsets=stripe)


def restored(kept: Mapping[str, Any]) -> Auditor:
    """An auditor for the next run, from a state as JSON values."""
    return Auditor(parse_state(kept, 20), has_next_run=True)


def reloaded(auditor: Auditor) -> Auditor:
    """An auditor for the next run, whose state went through the state file's format."""
    return restored(dump_state(auditor.state))


def judge(
    topics: MemoryTopics,
    *,
    auditor: Auditor | None = None,
    edges: Mapping[int, int] | None = None,
    lows: Mapping[int, int] | None = None,
    stripe: int = 1000,
    limit: int = 20,
    **more: Any,
) -> Verdict:
    """Audit the topics."""
    auditor = auditor or new_auditor(limit)
    verdict = begin(auditor, topics, edges=edges, lows=lows, stripe=stripe, **more).run()
    auditor.end_run()
    return verdict


def faults(verdict: Verdict) -> dict[Fault, int]:
    """The faults that occurred, with their numbers."""
    return {fault: count for fault, count in verdict.faults.items() if count}


def _parts(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
