"""Audits the topics on Kafka and proves that every input has exactly one outcome."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from schemas.transactions.codec import TransactionDecoder
from stream_scorer.audit.auditor import Auditor
from stream_scorer.audit.expiry import MOST_SKEW_MS
from stream_scorer.audit.ledger import Clocks
from stream_scorer.audit.recompute.marks import MarkCheck, check_marks
from stream_scorer.audit.recompute.recomputer import ReadInputs, Recomputer
from stream_scorer.audit.recompute.stated import StatedScores
from stream_scorer.audit.records.input_reader import InputReader
from stream_scorer.audit.records.score_reader import ScoreReader
from stream_scorer.audit.report import Report
from stream_scorer.audit.run import STRIPE_OFFSETS, AuditRun, OnProgress
from stream_scorer.audit.scope import AuditRange, Scope, open_scope
from stream_scorer.audit.state import AuditState
from stream_scorer.audit.state_file import load_state, save_state
from stream_scorer.audit.tally import AuditTally
from stream_scorer.audit.topics import AuditTopics, Sampling
from stream_scorer.audit.verdict import Verdict
from stream_scorer.errors import UsageError
from stream_scorer.model.by_version import BundlesByVersion
from stream_scorer.runtime.registry import using_resolver
from stream_scorer.settings import GroupSettings
from stream_scorer.state.history_source import HistorySource, NoHistorySource

STALL_SECONDS: Final = 60.0
"""Longer than the open txn of a killed scorer can block readers (15 s and the broker's sweep)."""

CLOCK_SKEW_MS: Final = 1000
"""Clocks that a time service keeps differ by less. An input is scored milliseconds after it was
written, so the producers' clocks must not be ahead of the scorers' by more."""

SAMPLE: Final = 10
"""One input in ``SAMPLE`` is decoded; a batch with mixed-up rows holds many sampled inputs."""


_STRIPE_SCORES: Final = 131_072
"""Scores of a stripe that are recomputed at most: ten megabytes, and some seconds of work."""


@dataclass(frozen=True, slots=True)
class RecomputeOptions:
    """Which scores to compute again, and from what.

    Attributes:
        one_in: one score in ``one_in``, the same ones in each audit; 1: all.
        bundles: the model versions.
        histories: the features of the past.
    """

    one_in: int
    bundles: BundlesByVersion
    histories: HistorySource = field(default_factory=NoHistorySource)


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
        stripe_offsets: inputs between two checkpoints; fewer if most scores are recomputed.
        recompute: compute scores again; None: none.
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
    recompute: RecomputeOptions | None = None

    @property
    def one_in(self) -> int:
        """One score in ``one_in`` is recomputed; 0: none."""
        return self.recompute.one_in if self.recompute else 0

    @property
    def stripe(self) -> int:
        """Inputs between two checkpoints."""
        if not self.one_in:
            return self.stripe_offsets
        return min(self.stripe_offsets, _STRIPE_SCORES * self.one_in)

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
        decoder = TransactionDecoder(of_inputs)
        source = AuditTopics(
            scope,
            InputReader(settings.dlq_topic, decoder, options.sample),
            ScoreReader(of_scores, settings.input_topic, options.versions),
            Sampling(options.sample, options.one_in),
            options.stall_seconds,
        )
        recomputer = _recomputer(options, auditor.state, source.reader_of_accepted(decoder))
        run = AuditRun(
            auditor, source, scope.ends, checkpoint, on_progress, options.stripe, recomputer
        )
        verdict = run.run()
    marks = _check_marks(options, scope)
    auditor.end_run()
    checkpoint()
    problems = (*scope.problems, *_registry_problem(settings, source.scores), *marks.problems)
    return replace(
        _report(options, scope, verdict, loaded, time.monotonic() - begun),
        problems=problems,
        marks=marks,
    )


def _recomputer(options: AuditOptions, state: AuditState, read: ReadInputs) -> Recomputer | None:
    if options.recompute is None or state.stated is None:
        return None
    return Recomputer(state.stated, options.recompute.bundles, options.recompute.histories, read)


def _check_marks(options: AuditOptions, scope: Scope) -> MarkCheck:
    if options.recompute is None:
        return MarkCheck()
    marks = {p: (scope.committed[p], fields) for p, fields in scope.marks.items()}
    return check_marks(marks, options.recompute.histories)


def _report(
    options: AuditOptions,
    scope: Scope,
    verdict: Verdict,
    loaded: AuditState | None,
    seconds: float,
) -> Report:
    return Report(
        verdict=verdict,
        identity=scope.identity,
        is_committed_only=options.judges_committed_only,
        uncommitted=scope.uncommitted,
        recompute=options.one_in,
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
    auditor.state.stated = StatedScores(options.one_in) if options.one_in else None
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
