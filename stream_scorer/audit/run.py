"""Reads the topics stripe by stripe and passes them to the auditor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from stream_scorer.audit.auditor import Auditor
from stream_scorer.audit.ledger import Ledger
from stream_scorer.audit.recompute.recomputer import Recomputer
from stream_scorer.audit.records.columns import Inputs, OutcomeKind, Outcomes
from stream_scorer.audit.verdict import Fault, Offender, Verdict
from stream_scorer.errors import UsageError
from stream_scorer.kafka.spans import Span, Spans

STRIPE_OFFSETS: Final = 1_048_576
"""Inputs between two checkpoints: a few seconds of work and 5 MiB of memory."""

_MOST_UNRESOLVED: Final = 100_000  # outcomes without an input that are held before they are judged
_MOST_WAITING: Final = 1_000_000
"""Outcomes of uncommitted inputs: more than a scorer can have produced since its last commit."""

OnProgress = Callable[[int, int], None]
"""Called with the number of offsets read so far and the number of offsets to read."""

OnLost = Callable[[int, int], None]
"""Called with a partition and its first offset when the records before it were removed unread."""


class AuditSource(Protocol):
    """What an audit reads from: Kafka, or memory in tests."""

    def inputs(self, spans: Spans) -> Iterator[Inputs]:
        """The inputs of the spans, each partition in offset order."""
        ...

    def outcomes(
        self, kind: OutcomeKind, spans: Spans, on_lost: OnLost
    ) -> Iterator[tuple[Outcomes, list[int]]]:
        """Batches of outcomes, each with the offsets of unreadable ones in the same partition."""
        ...

    def inputs_now(self) -> Spans:
        """The offsets that the input partitions hold now."""
        ...


def plan_stripes(
    ledgers: Mapping[int, Ledger], size: int = STRIPE_OFFSETS
) -> Iterator[dict[int, int]]:
    """Plan which partitions to read up to which offset, at most ``size`` offsets at a time.

    Each partition's last stripe ends at its edge, even if nothing is left to read before it.
    """
    together: dict[int, int] = {}
    room = size
    for partition, ledger in sorted(ledgers.items()):
        left = ledger.edge - ledger.head
        if left > size:
            for stop in range(ledger.head + size, ledger.edge, size):
                yield {partition: stop}
            yield {partition: ledger.edge}
            continue
        if left > room:
            yield together
            together, room = {}, size
        together[partition] = ledger.edge
        room -= left
    if together:
        yield together


@dataclass(slots=True)
class AuditRun:
    """One run of an auditor whose ``begin_run`` was called.

    Attributes:
        auditor: receives inputs and outcomes.
        source: where they are read from.
        ends: the ends of the outcomes, by kind and partition.
        checkpoint: called between two stripes.
        on_progress: see :data:`OnProgress`.
        stripe_offsets: see :data:`STRIPE_OFFSETS`.
        recomputer: computes scores again; None: none are.
    """

    auditor: Auditor
    source: AuditSource
    ends: Mapping[OutcomeKind, Spans]
    checkpoint: Callable[[], None] = lambda: None
    on_progress: OnProgress = lambda _done, _total: None
    stripe_offsets: int = STRIPE_OFFSETS
    recomputer: Recomputer | None = None
    _done: int = field(default=0, init=False)
    _total: int = field(default=0, init=False)
    _resolve_at: int = field(default=_MOST_UNRESOLVED, init=False)

    def run(self) -> Verdict:
        """Read everything up to the edges, and judge.

        Raises:
            UsageError: too many outcomes belong to inputs that the group has not committed.
            RetryableError: the topics could not be read to their ends.
        """
        state = self.auditor.state
        inputs = sum(x.edge - x.head for x in state.ledgers.values())
        self._total = inputs * (1 if self.recomputer is None else 2) + sum(
            max(0, span.high - state.logs[kind, p].position)
            for kind, spans in self.ends.items()
            for p, span in spans.items()
        )
        self.on_progress(0, self._total)
        for stops in list(plan_stripes(state.ledgers, self.stripe_offsets)):
            self._stripe(stops)
            self.checkpoint()
        self._extra_partitions()
        return self.auditor.finish(self.source.inputs_now())

    def _stripe(self, stops: Mapping[int, int]) -> None:
        auditor = self.auditor
        heads = {p: auditor.state.ledgers[p].head for p in stops}
        auditor.begin_stripe(stops)
        before, counted = self._done, sum(stops[p] - head for p, head in heads.items())
        for inputs in self.source.inputs({p: Span(heads[p], stop) for p, stop in stops.items()}):
            auditor.add_inputs(inputs)
            self._advance(len(inputs.offsets))
        self._advance(before + counted - self._done)  # offsets of txn markers
        auditor.inputs_read()
        for kind, ends in self.ends.items():
            self._outcomes(kind, {p: ends[p].high for p in stops if p in ends}, stops)
        auditor.end_stripe()
        if self.recomputer is not None:
            self._recompute(self.recomputer, {p: Span(heads[p], stop) for p, stop in stops.items()})

    def _recompute(self, recomputer: Recomputer, spans: Spans) -> None:
        """Compute the scores of a stripe again."""
        state, before = self.auditor.state, self._done
        for found in recomputer.run(spans):
            compared, differing, differences = found.comparison
            state.tally.count("recomputed", compared)
            state.tally.add_differing(
                differing,
                (
                    Offender(Fault.NOT_REPRODUCED, OutcomeKind.SCORE, outcome, source, detail)
                    for source, outcome, detail in differences
                ),
            )
            state.leave_unjudged(found.unjudged)
            self._advance(found.offsets)
        counted = sum(span.high - span.low for span in spans.values())
        self._advance(before + counted - self._done)  # offsets that need not be read again

    def _outcomes(
        self, kind: OutcomeKind, ends: Mapping[int, int], stops: Mapping[int, int]
    ) -> None:
        """Read until the outcomes have passed the end of the stripe, or up to their ends."""
        auditor, state = self.auditor, self.auditor.state
        logs = {p: state.logs[kind, p] for p in ends}
        is_last = all(stops[p] >= state.ledgers[p].edge for p in stops)
        spans = {p: Span(log.position, ends[p]) for p, log in logs.items()}
        before, begun = self._done, sum(log.position for log in logs.values())
        if not is_last and all(logs[p].reached >= stops[p] for p in logs):
            return
        for outcomes, unreadable in self.source.outcomes(kind, spans, partial(auditor.lose, kind)):
            auditor.add_outcomes(outcomes)
            for offset in unreadable:
                auditor.add_unreadable(kind, outcomes.partition, offset)
            self._advance(len(outcomes) + len(unreadable))
            self._resolve_if_many()
            if not is_last and all(logs[p].reached >= stops[p] for p in logs):
                break
        else:
            for p, log in logs.items():
                log.skip_to(ends[p])
        self._advance(before + sum(log.position for log in logs.values()) - begun - self._done)

    def _extra_partitions(self) -> None:
        """Read partitions that only the outcome topics have: every outcome there is a fault."""
        for kind, ends in self.ends.items():
            extra = {
                p: span.high for p, span in ends.items() if p not in self.auditor.state.ledgers
            }
            if extra:
                self._outcomes(kind, extra, {})

    def _resolve_if_many(self) -> None:
        auditor = self.auditor
        if auditor.unresolved < self._resolve_at:
            return
        auditor.resolve(self.source.inputs_now())
        if auditor.waiting > _MOST_WAITING:
            raise UsageError(
                f"{auditor.waiting:,} outcomes belong to inputs that the group has not committed; "
                "check that KAFKA_GROUP_ID is the scorers' group"
            )
        # What is still held has to be held: resolve again only after the same number on top of it.
        self._resolve_at = auditor.unresolved + _MOST_UNRESOLVED

    def _advance(self, number: int) -> None:
        if number:
            self._done += number
            self.on_progress(self._done, self._total)
