"""``stream-scorer verify``: audits the topics and proves that every input has one outcome."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas.transactions.codec import TransactionDecoder
from stream_scorer.audit.auditor import Audit
from stream_scorer.audit.findings import Inputs, OutcomeKind, Outcomes
from stream_scorer.audit.input_reader import InputReader
from stream_scorer.audit.outcome_reader import OutcomeReader
from stream_scorer.audit.report import Report
from stream_scorer.audit.run import STRIPE_OFFSETS, AuditRun, OnLost, OnProgress
from stream_scorer.audit.scope import AuditRange, Scope, open_scope
from stream_scorer.audit.score_reader import ScoreReader
from stream_scorer.audit.state_file import load_audit, save_audit
from stream_scorer.errors import UsageError
from stream_scorer.kafka.messages import by_partition
from stream_scorer.kafka.reader import read_spans
from stream_scorer.kafka.spans import Spans
from stream_scorer.runtime.registry import using_resolver
from stream_scorer.settings import GroupSettings

STALL_SECONDS: Final = 60.0
"""Longer than a killed scorer's open txn can hold readers up (15 s and the broker's sweep)."""

SAMPLE: Final = 10
"""One input in so many is decoded; a batch whose rows were mixed up has far more of them."""


def verify_topics(
    settings: GroupSettings,
    *,
    committed_only: bool = False,
    since: int | None = None,
    until: int | None = None,
    state: Path | None = None,
    limit: int = 20,
    sample: int = SAMPLE,
    stall_seconds: float = STALL_SECONDS,
    on_progress: OnProgress = lambda _done, _total: None,
    stripe_offsets: int = STRIPE_OFFSETS,
) -> Report:
    """Read input, scores and dead letters as committed, and judge.

    The input is taken to its last stable offset as of now. The outcomes are taken to the high
    watermark as of just after, so open txns are waited for: whatever was committed when this
    began has been seen when it ends.

    Args:
        settings: broker, topics, registry and group.
        committed_only: judge only inputs that the group has committed; use it while scorers run.
        since: judge only inputs from this time on, epoch milliseconds.
        until: judge only inputs before this time.
        state: go on where the audit in this file stopped, and leave it there for the next; only
            committed inputs are judged then, and outcomes of later ones wait in the file.
        limit: how many offenders are named.
        sample: the transaction of one input in so many is compared with its score's; 1 for all, 0
            for none.
        stall_seconds: give up when no record comes for so long.
        on_progress: told how many offsets were read, and of how many.
        stripe_offsets: inputs between two checkpoints.

    Raises:
        UsageError: no broker answers, a topic is missing, the group committed nothing, or the
            state is unusable, of other topics or of another group.
        RetryableError: the topics could not be read to their ends.
    """
    begun = time.monotonic()
    scope = open_scope(settings, AuditRange(committed_only or state is not None, since, until))
    audit = load_audit(state, scope.identity, limit) if state else None
    if audit and since is not None:
        raise UsageError(f"the state {state} says where to go on: leave --since out")
    is_continued = audit is not None
    audit = audit or Audit(limit, is_carrying=state is not None)
    audit.is_compacted = scope.is_compacted
    _check_positions(audit, scope, state)
    audit.begin_run(
        scope.inputs,
        scope.edges,
        {(kind, p): span.low for kind, spans in scope.ends.items() for p, span in spans.items()},
        lows=scope.lows,
        cuts=scope.cuts,
    )

    def checkpoint() -> None:
        if state:
            save_audit(state, scope.identity, audit)

    checkpoint()  # an unwritable file is found before the work, not after
    with (
        using_resolver(settings, "fraud_score") as of_scores,
        using_resolver(settings) as of_inputs,
    ):
        source = _Topics(
            scope,
            InputReader(settings.dlq_topic, TransactionDecoder(of_inputs), sample),
            ScoreReader(of_scores, settings.input_topic),
            stall_seconds,
        )
        run = AuditRun(audit, source, scope.ends, checkpoint, on_progress, stripe_offsets)
        verdict = run.run()
    audit.end_run(limit)
    checkpoint()
    return Report(
        verdict=verdict,
        identity=scope.identity,
        is_committed_only=committed_only or state is not None,
        uncommitted=scope.uncommitted,
        since=since,
        until=until,
        sample=sample,
        state=str(state) if state else None,
        is_continued=is_continued,
        seconds=time.monotonic() - begun,
    )


@dataclass(frozen=True, slots=True)
class _Topics:
    """An audit's source: the topics."""

    scope: Scope
    reader: InputReader
    scores: ScoreReader
    stall_seconds: float

    def inputs(self, spans: Spans) -> Iterator[Inputs]:
        settings = self.scope.settings
        group = self.scope.group
        for batch in read_spans(settings, group, settings.input_topic, spans, self.stall_seconds):
            for partition, records in by_partition(batch):
                yield self.reader.read(partition, records)

    def outcomes(
        self, kind: OutcomeKind, spans: Spans, on_lost: OnLost
    ) -> Iterator[tuple[Outcomes, list[int]]]:
        settings, group = self.scope.settings, self.scope.group
        reader = OutcomeReader(kind, settings.input_topic, self.scores)
        topic = self.scope.topic(kind)
        for batch in read_spans(settings, group, topic, spans, self.stall_seconds, on_lost):
            for partition, records in by_partition(batch):
                outcomes, unreadable = reader.read(partition, records)
                yield outcomes, [place.offset for place in unreadable]

    def inputs_now(self) -> Spans:
        return self.scope.inputs_now()


def _check_positions(audit: Audit, scope: Scope, state: Path | None) -> None:
    """A state beyond what the topics hold is of topics that were cut or restored."""
    reached = [
        (scope.settings.input_topic, p, ledger.head, scope.inputs.get(p))
        for p, ledger in audit.ledgers.items()
    ]
    reached += [
        (scope.topic(kind), p, log.position, scope.ends[kind].get(p))
        for (kind, p), log in audit.logs.items()
    ]
    for topic, partition, position, span in reached:
        if span is None or span.high < position:
            end = "is not there" if span is None else f"ends at {span.high}"
            raise UsageError(
                f"the state {state} is at offset {position} of {topic} partition {partition}, "
                f"which {end}: the topic was cut or restored; begin a new state"
            )
