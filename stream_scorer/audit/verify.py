"""Audits the topics on Kafka and proves that every input has exactly one outcome."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from schemas.transactions.codec import TransactionDecoder
from stream_scorer.audit.auditor import Auditor
from stream_scorer.audit.expiry import MOST_SKEW_MS
from stream_scorer.audit.ledger import Clocks
from stream_scorer.audit.records.columns import Inputs, OutcomeKind, Outcomes
from stream_scorer.audit.records.input_reader import InputReader
from stream_scorer.audit.records.outcome_reader import OutcomeReader
from stream_scorer.audit.records.score_reader import ScoreReader
from stream_scorer.audit.report import Report
from stream_scorer.audit.run import STRIPE_OFFSETS, AuditRun, OnLost, OnProgress
from stream_scorer.audit.scope import AuditRange, Scope, open_scope
from stream_scorer.audit.state import AuditState
from stream_scorer.audit.state_file import load_state, save_state
from stream_scorer.audit.tally import AuditTally
from stream_scorer.audit.verdict import Verdict
from stream_scorer.errors import UsageError
from stream_scorer.kafka.messages import by_partition
from stream_scorer.kafka.reader import read_spans
from stream_scorer.kafka.spans import Spans
from stream_scorer.kafka.unreadable import PassedBatch
from stream_scorer.runtime.registry import using_resolver
from stream_scorer.settings import GroupSettings

STALL_SECONDS: Final = 60.0
"""Longer than the open txn of a killed scorer can block readers (15 s and the broker's sweep)."""

CLOCK_SKEW_MS: Final = 1000
"""Clocks that a time service keeps differ by less. An input is scored milliseconds after it was
written, so the producers' clocks must not be ahead of the scorers' by more."""

SAMPLE: Final = 10
"""One input in ``SAMPLE`` is decoded; a batch with mixed-up rows holds many sampled inputs."""


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """What to judge, and how strictly.

    Attributes:
        committed_only: judge only inputs that the group has committed; use it while scorers run.
        since: judge only inputs from this time on, epoch milliseconds.
        until: judge only inputs before this time, epoch milliseconds.
        state: continue from the audit in this file, and save this one to it. Only committed inputs
            are judged then; outcomes of later inputs wait in the file.
        limit: number of offenders to list.
        sample: compare the content of one input in ``sample`` with its outcome's; 1 compares all,
            0 none.
        allowed_lost: number of inputs that are known to have been deleted unscored.
        clock_skew_ms: how much the producers' clocks may be ahead of the scorers'.
        versions: the model versions that exist; by default every possible name is accepted.
        stall_seconds: give up when no record arrives for this long.
        stripe_offsets: inputs between two checkpoints.
    """

    committed_only: bool = False
    since: int | None = None
    until: int | None = None
    state: Path | None = None
    limit: int = 20
    sample: int = SAMPLE
    allowed_lost: int = 0
    clock_skew_ms: int = CLOCK_SKEW_MS
    versions: Collection[str] | None = None
    stall_seconds: float = STALL_SECONDS
    stripe_offsets: int = STRIPE_OFFSETS

    @property
    def judges_committed_only(self) -> bool:
        """A state file holds only committed inputs."""
        return self.committed_only or self.state is not None

    @property
    def range(self) -> AuditRange:
        """The inputs to judge."""
        return AuditRange(self.judges_committed_only, self.since, self.until)


def verify_topics(
    settings: GroupSettings,
    options: AuditOptions | None = None,
    on_progress: OnProgress = lambda _done, _total: None,
) -> Report:
    """Read committed inputs, scores and dead letters, and judge them.

    The input is read up to its current last stable offset, and the outcomes up to their high
    watermarks immediately after. Open txns are therefore waited for: every record that was
    committed when the audit began has been read when it ends.

    Args:
        settings: broker, topics, registry and group.
        options: what to judge; by default everything.
        on_progress: called with the number of offsets read and the number of offsets to read.

    Raises:
        UsageError: no broker answers, a topic is missing, the group committed nothing, or the
            state file is unusable or belongs to other topics or another group.
        RetryableError: the topics could not be read to their ends.
    """
    begun = time.monotonic()
    options = options or AuditOptions()
    scope = open_scope(settings, options.range)
    loaded = _load_state(options, scope)
    auditor = _begin(options, scope, loaded)

    def checkpoint() -> None:
        if options.state:
            save_state(options.state, scope.identity, auditor.state)

    checkpoint()  # so that an unwritable file fails before the work, not after it
    with (
        using_resolver(settings, "fraud_score") as of_scores,
        using_resolver(settings) as of_inputs,
    ):
        source = _Topics(
            scope,
            InputReader(settings.dlq_topic, TransactionDecoder(of_inputs), options.sample),
            ScoreReader(of_scores, settings.input_topic, options.versions),
            options.sample,
            options.stall_seconds,
        )
        run = AuditRun(auditor, source, scope.ends, checkpoint, on_progress, options.stripe_offsets)
        verdict = run.run()
    auditor.end_run()
    checkpoint()
    problems = (*scope.problems, *_registry_problem(settings, source.scores))
    return _report(options, scope, verdict, problems, loaded, time.monotonic() - begun)


def _report(
    options: AuditOptions,
    scope: Scope,
    verdict: Verdict,
    problems: tuple[str, ...],
    loaded: AuditState | None,
    seconds: float,
) -> Report:
    return Report(
        verdict=verdict,
        identity=scope.identity,
        is_committed_only=options.judges_committed_only,
        uncommitted=scope.uncommitted,
        problems=problems,
        allowed_lost=options.allowed_lost,
        outside=scope.outside,
        since=options.since,
        until=options.until,
        sample=options.sample,
        state=str(options.state) if options.state else None,
        is_continued=loaded is not None,
        seconds=seconds,
    )


def _load_state(options: AuditOptions, scope: Scope) -> AuditState | None:
    """The state to continue from; None for a new audit."""
    if options.state is None:
        return None
    loaded = load_state(options.state, scope.identity, options.limit)
    if loaded and options.since is not None:
        raise UsageError(
            f"the state file {options.state} determines where to continue: omit --since"
        )
    return loaded


def _begin(options: AuditOptions, scope: Scope, loaded: AuditState | None) -> Auditor:
    """The auditor, with its run begun."""
    auditor = Auditor(
        loaded or AuditState(AuditTally(options.limit)),
        has_next_run=options.state is not None,
        is_compacted=scope.is_compacted,
    )
    _check_positions(auditor.state, scope, options.state)
    auditor.begin_run(
        scope.inputs,
        scope.edges,
        {(kind, p): span.low for kind, spans in scope.ends.items() for p, span in spans.items()},
        lows=scope.lows,
        cuts=scope.cuts,
        committed=scope.committed,
        clocks=Clocks(options.clock_skew_ms, scope.cuts.latest - MOST_SKEW_MS),
    )
    return auditor


@dataclass(frozen=True, slots=True)
class _Topics:
    """Reads inputs and outcomes from the topics."""

    scope: Scope
    reader: InputReader
    scores: ScoreReader
    sample: int
    stall_seconds: float

    def inputs(self, spans: Spans) -> Iterator[Inputs]:
        settings = self.scope.settings
        group = self.scope.group
        passed: list[tuple[int, PassedBatch]] = []
        for batch in read_spans(
            settings,
            group,
            settings.input_topic,
            spans,
            self.stall_seconds,
            on_unreadable=lambda partition, unread: passed.append((partition, unread)),
        ):
            yield from self._passed(passed, spans)
            for partition, records in by_partition(batch):
                yield self.reader.read(partition, records)
        yield from self._passed(passed, spans)

    def _passed(self, passed: list[tuple[int, PassedBatch]], spans: Spans) -> Iterator[Inputs]:
        """The inputs of batches that cannot be read, before the records that follow them."""
        for partition, batch in passed:
            end = min(batch.next_offset, spans[partition].high)
            yield self.reader.passed(partition, replace(batch, next_offset=end))
        passed.clear()

    def outcomes(
        self, kind: OutcomeKind, spans: Spans, on_lost: OnLost
    ) -> Iterator[tuple[Outcomes, list[int]]]:
        settings, group = self.scope.settings, self.scope.group
        reader = OutcomeReader(kind, settings.input_topic, self.scores, self.sample)
        topic = self.scope.topic(kind)
        for batch in read_spans(settings, group, topic, spans, self.stall_seconds, on_lost):
            for partition, records in by_partition(batch):
                outcomes, unreadable = reader.read(partition, records)
                yield outcomes, [place.offset for place in unreadable]

    def inputs_now(self) -> Spans:
        return self.scope.inputs_now()


def _registry_problem(settings: GroupSettings, scores: ScoreReader) -> list[str]:
    if settings.schema_registry_url or not scores.needs_registry:
        return []
    problem = (
        f"{settings.output_topic} holds scores with schema ids of a Schema Registry, which cannot "
        "be read without it: set SCHEMA_REGISTRY_URL"
    )
    return [problem]


def _check_positions(state: AuditState, scope: Scope, path: Path | None) -> None:
    """Refuse a state that is ahead of the topics: they were truncated or restored."""
    reached = [
        (scope.settings.input_topic, p, ledger.head, scope.inputs.get(p))
        for p, ledger in state.ledgers.items()
    ]
    reached += [
        (scope.topic(kind), p, log.position, scope.ends[kind].get(p))
        for (kind, p), log in state.logs.items()
    ]
    for topic, partition, position, span in reached:
        if span is None or span.high < position:
            end = "does not exist" if span is None else f"ends at {span.high}"
            raise UsageError(
                f"the state file {path} is at offset {position} of {topic} partition {partition}, "
                f"which {end}: the topic was truncated or restored; start a new state file"
            )
