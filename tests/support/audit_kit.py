"""Topics in memory for an audit, made by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from stream_scorer.audit.auditor import Audit
from stream_scorer.audit.digest import leaves
from stream_scorer.audit.expiry import Cuts
from stream_scorer.audit.findings import (
    NOT_DECODED,
    NOT_SAMPLED,
    Fault,
    Inputs,
    OutcomeKind,
    Outcomes,
    Verdict,
)
from stream_scorer.audit.outcome_reader import key_hash
from stream_scorer.audit.run import AuditRun, OnLost
from stream_scorer.kafka.spans import Span, Spans

T = TypeVar("T")

KEY = key_hash(b"13926")


@dataclass(frozen=True, slots=True)
class Row:
    """One outcome: its input, and what else a test cares about; no source is an unreadable one."""

    source: tuple[int, int] | None
    version: str = "v1"
    key: int = KEY
    value: bytes = b"score"
    transaction: int | None = None
    """As the input's, which has its offset for one, unless another is given."""
    is_plausible: bool = True
    time: int | None = None
    """2000 and its offset, unless another is given; an input has 1000 and its offset."""


@dataclass(slots=True)
class MemoryTopics:
    """An audit's source in memory.

    ``rows`` holds outcomes by kind and partition and offset; ``inputs`` the offsets of inputs by
    partition, with the dead letter (partition, offset) they were redriven from, or None.
    """

    spans: dict[int, Span] = field(default_factory=lambda: {0: Span(0, 10), 1: Span(0, 10)})
    inputs_at: dict[int, dict[int, tuple[int, int] | None]] = field(default_factory=dict)
    rows: dict[tuple[OutcomeKind, int], dict[int, Row]] = field(default_factory=dict)
    now: dict[int, Span] | None = None
    batch: int = 4
    reads: int = 0
    unreadable: set[int] = field(default_factory=set)
    """Offsets of inputs that cannot be decoded."""
    input_times: dict[int, int] = field(default_factory=dict)
    """By offset, where not 1000 and the offset."""
    removed: dict[tuple[OutcomeKind, int], int] = field(default_factory=dict)
    """What outcomes were removed after the run had begun: those before an offset."""
    emptied: dict[tuple[OutcomeKind, int], int] = field(default_factory=dict)
    """Partitions of outcomes whose records are all gone: where they end."""

    def with_inputs(self, offsets: Sequence[int], partition: int = 0) -> MemoryTopics:
        """Inputs at these offsets."""
        self.inputs_at.setdefault(partition, {}).update(dict.fromkeys(offsets))
        return self

    def write(
        self,
        sources: Sequence[tuple[int, int] | Row],
        kind: OutcomeKind = OutcomeKind.SCORE,
        partition: int = 0,
        at: int | None = None,
    ) -> MemoryTopics:
        """Outcomes one after the other, at the end or from ``at`` on."""
        log = self.rows.setdefault((kind, partition), {})
        start = max(log, default=-1) + 1 if at is None else at
        for i, row in enumerate(sources):
            log[start + i] = row if isinstance(row, Row) else Row(row)
        return self

    def ends(self) -> dict[OutcomeKind, Spans]:
        """All outcomes there are."""
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
                    np.array(
                        [NOT_DECODED if o in self.unreadable else o for o, _ in part], np.int64
                    ),
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


def make_outcomes(kind: OutcomeKind, partition: int, rows: Sequence[tuple[int, Row]]) -> Outcomes:
    """Outcomes as columns, from (offset, row)."""
    names = tuple(dict.fromkeys(row.version for _, row in rows))
    table = np.array([row.source for _, row in rows], np.int64).reshape(-1, 2)
    said = [row.transaction for _, row in rows]
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
        np.array([o if t is None else t for t, o in zip(said, table[:, 1], strict=True)], np.int64)
        if kind is OutcomeKind.SCORE
        else np.full(len(rows), NOT_SAMPLED, np.int64),
        np.array([row.is_plausible for _, row in rows], np.bool_),
        names,
    )


def begin(
    audit: Audit,
    topics: MemoryTopics,
    *,
    edges: Mapping[int, int] | None = None,
    lows: Mapping[int, int] | None = None,
    stripe: int = 1000,
    cuts: Cuts | None = None,
) -> AuditRun:
    """A run over what the topics hold now."""
    ends = topics.ends()
    log_lows = {(kind, p): span.low for kind, spans in ends.items() for p, span in spans.items()}
    whole = {p: span.high for p, span in topics.spans.items()}
    audit.begin_run(topics.spans, edges or whole, log_lows, lows=lows, cuts=cuts)
    return AuditRun(audit, topics, ends, stripe_offsets=stripe)


def judge(
    topics: MemoryTopics,
    *,
    audit: Audit | None = None,
    edges: Mapping[int, int] | None = None,
    lows: Mapping[int, int] | None = None,
    stripe: int = 1000,
    limit: int = 20,
    cuts: Cuts | None = None,
) -> Verdict:
    """Audit the topics."""
    audit = audit or Audit(limit)
    verdict = begin(audit, topics, edges=edges, lows=lows, stripe=stripe, cuts=cuts).run()
    audit.end_run(limit)
    return verdict


def faults(verdict: Verdict) -> dict[Fault, int]:
    """Those that occurred."""
    return {fault: count for fault, count in verdict.faults.items() if count}


def _parts(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
