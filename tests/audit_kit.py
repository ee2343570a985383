"""Topics in memory for an audit, made by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from stream_scorer.audit import Audit
from stream_scorer.audit_digest import leaves
from stream_scorer.audit_run import AuditRun
from stream_scorer.findings import Fault, Inputs, Kind, Outcomes, Span, Spans, Verdict
from stream_scorer.outcome_reader import key_hash

T = TypeVar("T")

KEY = key_hash(b"13926")


@dataclass(frozen=True, slots=True)
class Row:
    """One outcome: its input, and what else a test cares about; no source is an unreadable one."""

    source: tuple[int, int] | None
    version: str = "v1"
    key: int = KEY
    value: bytes = b"score"


@dataclass(slots=True)
class MemoryTopics:
    """An audit's source in memory.

    ``rows`` holds outcomes by kind and partition and offset; ``inputs`` the offsets of inputs by
    partition, with the dead letter (partition, offset) they were redriven from, or None.
    """

    spans: dict[int, Span] = field(default_factory=lambda: {0: Span(0, 10), 1: Span(0, 10)})
    inputs_at: dict[int, dict[int, tuple[int, int] | None]] = field(default_factory=dict)
    rows: dict[tuple[Kind, int], dict[int, Row]] = field(default_factory=dict)
    now: dict[int, Span] | None = None
    batch: int = 4
    reads: int = 0

    def with_inputs(self, offsets: Sequence[int], partition: int = 0) -> MemoryTopics:
        """Inputs at these offsets."""
        self.inputs_at.setdefault(partition, {}).update(dict.fromkeys(offsets))
        return self

    def write(
        self,
        sources: Sequence[tuple[int, int] | Row],
        kind: Kind = Kind.SCORE,
        partition: int = 0,
        at: int | None = None,
    ) -> MemoryTopics:
        """Outcomes one after the other, at the end or from ``at`` on."""
        log = self.rows.setdefault((kind, partition), {})
        start = max(log, default=-1) + 1 if at is None else at
        for i, row in enumerate(sources):
            log[start + i] = row if isinstance(row, Row) else Row(row)
        return self

    def ends(self) -> dict[Kind, Spans]:
        """All outcomes there are."""
        found: dict[Kind, dict[int, Span]] = {kind: {} for kind in Kind}
        for kind in Kind:
            for partition in {*self.spans, *(p for k, p in self.rows if k is kind)}:
                log = self.rows.get((kind, partition), {})
                found[kind][partition] = Span(min(log, default=0), max(log, default=-1) + 1)
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
                    np.array([1000 + o for o, _ in part], np.int64),
                    np.array(origins, np.int64).reshape(-1, 3),
                )

    def outcomes(self, kind: Kind, spans: Spans) -> Iterator[tuple[Outcomes, list[int]]]:
        for partition, span in spans.items():
            held = sorted(self.rows.get((kind, partition), {}).items())
            found = [(o, row) for o, row in held if span.low <= o < span.high]
            for part in _parts(found, self.batch):
                self.reads += len(part)
                good = [(o, row) for o, row in part if row.source is not None]
                yield make_outcomes(kind, partition, good), [o for o, r in part if r.source is None]

    def inputs_now(self) -> Spans:
        return self.now or self.spans


def make_outcomes(kind: Kind, partition: int, rows: Sequence[tuple[int, Row]]) -> Outcomes:
    """Outcomes as columns, from (offset, row)."""
    names = tuple(dict.fromkeys(row.version for _, row in rows))
    table = np.array([row.source for _, row in rows], np.int64).reshape(-1, 2)
    offsets = np.array([o for o, _ in rows], np.int64)
    return Outcomes(
        kind,
        partition,
        offsets,
        table[:, 0],
        table[:, 1],
        np.array([row.key for _, row in rows], np.uint32),
        2000 + offsets,
        leaves(np.column_stack([offsets, table]), [row.value for _, row in rows]),
        np.array([names.index(row.version) for _, row in rows], np.int32)
        if kind is Kind.SCORE
        else np.full(len(rows), -1, np.int32),
        names,
    )


def begin(
    audit: Audit,
    topics: MemoryTopics,
    *,
    edges: Mapping[int, int] | None = None,
    lows: Mapping[int, int] | None = None,
    stripe: int = 1000,
) -> AuditRun:
    """A run over what the topics hold now."""
    ends = topics.ends()
    log_lows = {(kind, p): span.low for kind, spans in ends.items() for p, span in spans.items()}
    whole = {p: span.high for p, span in topics.spans.items()}
    audit.begin_run(topics.spans, edges or whole, log_lows, lows=lows)
    return AuditRun(audit, topics, ends, stripe_offsets=stripe)


def judge(
    topics: MemoryTopics,
    *,
    audit: Audit | None = None,
    edges: Mapping[int, int] | None = None,
    lows: Mapping[int, int] | None = None,
    stripe: int = 1000,
    limit: int = 20,
) -> Verdict:
    """Audit the topics."""
    audit = audit or Audit(limit)
    verdict = begin(audit, topics, edges=edges, lows=lows, stripe=stripe).run()
    audit.end_run(limit)
    return verdict


def faults(verdict: Verdict) -> dict[Fault, int]:
    """Those that occurred."""
    return {fault: count for fault, count in verdict.faults.items() if count}


def _parts(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
