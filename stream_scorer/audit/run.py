"""Feeds an audit from the topics, stripe by stripe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from stream_scorer.audit.auditor import Audit
from stream_scorer.audit.findings import Inputs, OutcomeKind, Outcomes, Verdict
from stream_scorer.audit.ledger import Ledger
from stream_scorer.errors import UsageError
from stream_scorer.kafka.spans import Span, Spans

STRIPE_OFFSETS: Final = 1_048_576
"""Inputs between two checkpoints: some seconds of work and 5 MiB of memory."""

_DOUBTFUL: Final = 100_000  # so many outcomes without an input are held before they are judged
_MOST_WAITING: Final = 1_000_000
"""Outcomes of inputs that are not committed: as many as a scorer commits in a moment."""

OnProgress = Callable[[int, int], None]
"""Told how many offsets have been read, and how many there are to read."""

OnLost = Callable[[int, int], None]
"""Told a partition and its first offset when what was to be read before that was removed."""


class AuditSource(Protocol):
    """Where an audit reads: Kafka, or memory in tests."""

    def inputs(self, spans: Spans) -> Iterator[Inputs]:
        """The inputs of the spans; a partition's in its order."""
        ...

    def outcomes(
        self, kind: OutcomeKind, spans: Spans, on_lost: OnLost
    ) -> Iterator[tuple[Outcomes, list[int]]]:
        """Outcomes, each with the offsets of unreadable ones in the same partition."""
        ...

    def inputs_now(self) -> Spans:
        """What the input holds by now."""
        ...


def plan_stripes(
    ledgers: Mapping[int, Ledger], size: int = STRIPE_OFFSETS
) -> Iterator[dict[int, int]]:
    """Which partitions to read up to which offset: together at most ``size`` offsets at a time.

    Each partition's last stripe ends at its edge, even when nothing is left to read before it.
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
    """One run of an audit whose ``begin_run`` was called.

    Attributes:
        audit: is fed.
        source: is read.
        ends: where the outcomes end, by kind and partition.
        checkpoint: called between two stripes.
        on_progress: see :data:`OnProgress`.
        stripe_offsets: see :data:`STRIPE_OFFSETS`.
    """

    audit: Audit
    source: AuditSource
    ends: Mapping[OutcomeKind, Spans]
    checkpoint: Callable[[], None] = lambda: None
    on_progress: OnProgress = lambda _done, _total: None
    stripe_offsets: int = STRIPE_OFFSETS
    _done: int = field(default=0, init=False)
    _total: int = field(default=0, init=False)
    _resolve_at: int = field(default=_DOUBTFUL, init=False)

    def run(self) -> Verdict:
        """Read everything up to the edges, and judge.

        Raises:
            UsageError: far too many outcomes are of inputs the group has not committed.
            RetryableError: the topics could not be read to their ends.
        """
        audit = self.audit
        self._total = sum(x.edge - x.head for x in audit.ledgers.values()) + sum(
            max(0, span.high - audit.logs[kind, p].position)
            for kind, spans in self.ends.items()
            for p, span in spans.items()
        )
        self.on_progress(0, self._total)
        for stops in list(plan_stripes(audit.ledgers, self.stripe_offsets)):
            self._stripe(stops)
            self.checkpoint()
        self._extra_partitions()
        return audit.finish(self.source.inputs_now())

    def _stripe(self, stops: Mapping[int, int]) -> None:
        audit = self.audit
        heads = {p: audit.ledgers[p].head for p in stops}
        audit.begin_stripe(stops)
        before, counted = self._done, sum(stops[p] - head for p, head in heads.items())
        for inputs in self.source.inputs({p: Span(heads[p], stop) for p, stop in stops.items()}):
            audit.add_inputs(inputs)
            self._advance(len(inputs.offsets))
        self._advance(before + counted - self._done)  # offsets of txn markers
        audit.inputs_read()
        for kind, ends in self.ends.items():
            self._outcomes(kind, {p: ends[p].high for p in stops if p in ends}, stops)
        audit.end_stripe()

    def _outcomes(
        self, kind: OutcomeKind, ends: Mapping[int, int], stops: Mapping[int, int]
    ) -> None:
        """Read on until the outcomes have gone past the stripe, or to their ends."""
        audit = self.audit
        logs = {p: audit.logs[kind, p] for p in ends}
        is_last = all(stops[p] >= audit.ledgers[p].edge for p in stops)
        spans = {p: Span(log.position, ends[p]) for p, log in logs.items()}
        before, begun = self._done, sum(log.position for log in logs.values())
        if not is_last and all(logs[p].reached >= stops[p] for p in logs):
            return
        for outcomes, unreadable in self.source.outcomes(kind, spans, partial(audit.lose, kind)):
            audit.add_outcomes(outcomes)
            for offset in unreadable:
                audit.add_unreadable(kind, outcomes.partition, offset)
            self._advance(len(outcomes) + len(unreadable))
            self._resolve_if_many()
            if not is_last and all(logs[p].reached >= stops[p] for p in logs):
                break
        else:
            for p, log in logs.items():
                log.position = max(log.position, ends[p])
        self._advance(before + sum(log.position for log in logs.values()) - begun - self._done)

    def _extra_partitions(self) -> None:
        """Partitions that only the outcome topics have: whatever is there is wrong."""
        for kind, ends in self.ends.items():
            extra = {p: span.high for p, span in ends.items() if p not in self.audit.ledgers}
            if extra:
                self._outcomes(kind, extra, {})

    def _resolve_if_many(self) -> None:
        if self.audit.doubtful < self._resolve_at:
            return
        self.audit.resolve(self.source.inputs_now())
        if self.audit.waiting > _MOST_WAITING:
            raise UsageError(
                f"{self.audit.waiting:,} outcomes are of inputs that the group has not committed; "
                "is KAFKA_GROUP_ID that of the scorers?"
            )
        # What stays is held rightly: not asked about again until as much has come on top.
        self._resolve_at = self.audit.doubtful + _DOUBTFUL

    def _advance(self, number: int) -> None:
        if number:
            self._done += number
            self.on_progress(self._done, self._total)
