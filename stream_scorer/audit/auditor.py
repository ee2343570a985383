"""The rules behind ``stream-scorer verify``: one outcome for each input, in order. Pure.

The audit is a merge. Each partition's inputs are read in stripes. After the inputs of a stripe come
the outcomes, which are in the order of the inputs, so a stripe is complete once the outcomes have
passed its end. Only outcomes that are out of order, in another partition or not yet due are held.
Memory therefore does not grow with the length of the topics, except for the completed offsets
(:mod:`stream_scorer.audit.completed_offsets`).

The calls of a run: :meth:`Auditor.begin_run`; for each stripe :meth:`~Auditor.begin_stripe`,
``add_inputs``, :meth:`~Auditor.inputs_read`, ``add_outcomes``, :meth:`~Auditor.end_stripe`; at the
end :meth:`~Auditor.finish` and :meth:`~Auditor.end_run`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from stream_scorer.audit.expiry import Cuts, LogKey
from stream_scorer.audit.judging import judge_missing
from stream_scorer.audit.ledger import Clocks, Ledger
from stream_scorer.audit.matching import (
    count_marks,
    highs_of,
    leave_unjudged,
    lows_of,
    match_outcomes,
    take_some,
)
from stream_scorer.audit.recompute.recomputer import NO_INPUT
from stream_scorer.audit.records.columns import Coordinates, Inputs, OutcomeKind, Outcomes
from stream_scorer.audit.records.digest import combine
from stream_scorer.audit.state import AuditState
from stream_scorer.audit.tally import AuditTally
from stream_scorer.audit.verdict import Fault, Offender, Verdict
from stream_scorer.kafka.spans import Spans

MOST_STRAYS: Final = 1_000_000
"""Outcomes in a different partition from their input that are kept until the input is read, about
80 bytes each. A topic with more of them is too broken to list the inputs that lack an outcome."""


class Auditor:
    """Matches outcomes with inputs, counts the faults and judges.

    Args:
        state: the state to continue from; nobody else may change it during a run.
        has_next_run: keep outcomes of inputs after the edge for the next run.
        is_compacted: the input topic is compacted, so inputs may be missing from its middle.
    """

    def __init__(
        self, state: AuditState, *, has_next_run: bool = False, is_compacted: bool = False
    ) -> None:
        self.state = state
        self._has_next_run = has_next_run
        self._is_compacted = is_compacted
        self._stripe: list[int] = []
        self._known: Spans = {}
        self._known_lows = np.zeros(1, np.int64)

    # --- the calls of a run

    def begin_run(self, inputs: Spans, edges: Mapping[int, int], log_lows: Mapping[LogKey, int],
                  *, lows: Mapping[int, int] | None = None, cuts: Cuts | None = None,
                  committed: Mapping[int, int] | None = None,
                  clocks: Clocks | None = None) -> None:  # fmt: skip
        """Set what this run judges.

        Args:
            inputs: the offsets that the input partitions hold now.
            edges: the input offset to stop before, by partition.
            log_lows: the first offset that still exists in each partition of outcomes.
            lows: where to begin in partitions that were never audited; by default at their first
                record.
            cuts: what retention can have removed; by default it may have removed anything.
            committed: the offsets that the scorers' group has committed, by partition.
            clocks: what to make of timestamps.
        """
        state = self.state
        self._known = inputs
        self._known_lows = np.zeros(max(inputs, default=-1) + 2, np.int64)  # the last: unknown
        for partition, span in inputs.items():
            low = max(span.low, (lows or {}).get(partition, span.low))
            self._known_lows[partition] = span.low
            known = state.ledgers.get(partition)
            state.lost.begin_run(
                partition,
                span.low,
                audited=known.head if known else None,
                committed=(committed or {}).get(partition),
                is_resumed=state.is_open,
            )
            ledger = state.ledgers.setdefault(partition, Ledger(low, low))
            ledger.clocks = clocks or Clocks()
            state.tally.count("unaudited", ledger.skip_to(span.low))
            ledger.begin_run(edges[partition], is_resumed=state.is_open)
        lost = [
            key
            for key, low in log_lows.items()
            if state.log(key).begin_run(low, is_resumed=state.is_open)
        ]
        state.expiry.begin_run(cuts or Cuts(), lost, is_resumed=state.is_open)
        state.is_open = True
        held, state.held = state.held, []
        for outcomes in held:
            self._sort(outcomes)

    def begin_stripe(self, stops: Mapping[int, int]) -> None:
        """Begin a stripe: next come the inputs of these partitions up to these offsets."""
        self._stripe = list(stops)
        for partition, stop in stops.items():
            self.state.ledgers[partition].open(stop)

    def add_inputs(self, inputs: Inputs) -> None:
        """Add data records of one input partition in the stripe, in offset order."""
        if not len(inputs.offsets):
            return
        self.state.ledgers[inputs.partition].add(inputs)
        self.state.expiry.see(inputs.partition, inputs.offsets, inputs.times)
        self.state.lost.see_inputs(inputs)
        self.state.count_inputs(inputs)
        if len(inputs.origins):
            self._check_redriven(inputs)

    def inputs_read(self) -> None:
        """All inputs of the stripe were added; the outcomes come next."""
        early, self.state.early = self.state.early, []
        for outcomes in early:
            self._route(outcomes)

    def add_outcomes(self, outcomes: Outcomes) -> None:
        """Add outcomes of one partition, in offset order."""
        if not len(outcomes):
            return
        self._tally.count_outcomes(outcomes.kind, len(outcomes))
        self.state.log((outcomes.kind, outcomes.partition)).read(outcomes)
        self.state.expiry.see_outcomes(outcomes)
        self._sort(outcomes)

    def add_unreadable(self, kind: OutcomeKind, partition: int, offset: int) -> None:
        """Add an outcome whose source coordinates cannot be read."""
        self._tally.count_outcomes(kind, 1)
        self.state.log((kind, partition)).read_unreadable(offset)
        place = Coordinates(partition, offset)
        self._tally.add_fault(Offender(Fault.UNREADABLE, kind, place, None))

    def lose(self, kind: OutcomeKind, partition: int, low: int) -> None:
        """Outcomes before ``low`` were removed, perhaps before they were read."""
        self.state.log((kind, partition)).lose(low)

    def end_stripe(self) -> None:
        """The outcomes have passed the end of the stripe, or there are no more."""
        self._match_strays()  # while the keys of the stripe's inputs are still held
        for partition in self._stripe:
            self.state.ledgers[partition].close()
        self._stripe = []

    @property
    def unresolved(self) -> int:
        """Number of held outcomes that :meth:`resolve` may release."""
        state = self.state
        return sum(len(outcomes) for outcomes in (*state.held, *state.gaps, *state.strays))

    @property
    def waiting(self) -> int:
        """Number of held outcomes of inputs at or after the edge."""
        return sum(len(outcomes) for outcomes in self.state.held)

    def resolve(self, now: Spans) -> None:
        """Judge the outcomes for which no input was found.

        Args:
            now: the offsets that the input partitions hold, queried after those outcomes were read.
                An outcome is no orphan if retention has removed its input in the meantime; it is
                one if its input offset does not exist yet.
        """
        state = self.state
        self._match_strays()
        if (many := sum(len(outcomes) for outcomes in state.strays)) > MOST_STRAYS:
            state.tally.count("unplaced", many)
            state.strays = []
        gaps, state.gaps = state.gaps, []
        for outcomes in gaps:
            expired = outcomes.source_offsets < lows_of(now, outcomes)
            state.tally.count("expired", np.count_nonzero(expired))
            if self._is_compacted:
                state.tally.count("compacted", np.count_nonzero(~expired))
            else:
                state.tally.add_faults(Fault.ORPHAN, outcomes, ~expired)
        held, state.held = state.held, []
        for outcomes in held:
            self._resolve_held(outcomes, now)

    def finish(self, now: Spans) -> Verdict:
        """The verdict of this run; ``now`` as for :meth:`resolve`."""
        state = self.state
        self.resolve(now)
        ranges = [
            judge_missing(state, p, is_compacted=self._is_compacted) for p in sorted(state.ledgers)
        ]
        if self._has_next_run:
            state.tally.count("waiting", self.waiting)
        state.add_totals()
        return Verdict(
            faults=state.tally.faults(),
            offenders=state.tally.offenders(),
            partitions=tuple(ranges),
            counts=dict(state.tally.counts),
            totals=state.totals,
            versions=dict(sorted(state.versions.counts.items())),
            intervals=state.versions.intervals,
            times=state.times,
            digest=combine({key: (log.chained, log.chain) for key, log in state.logs.items()}),
            unjudged=dict(state.unjudged),
        )

    def end_run(self) -> None:
        """Reset the counters for the next run; the totals stay."""
        self.state.end_run()

    # --- matching outcomes with inputs

    @property
    def _tally(self) -> AuditTally:
        return self.state.tally

    def _sort(self, outcomes: Outcomes) -> None:
        """Sort outcomes by their input: unknown, removed, at or after the edge, or audited."""
        partitions, sources = outcomes.source_partitions, outcomes.source_offsets
        size = max(self.state.ledgers, default=-1) + 2
        lows, edges = np.zeros(size, np.int64), np.full(size, -1, np.int64)
        for partition, ledger in self.state.ledgers.items():
            lows[partition], edges[partition] = ledger.low, ledger.edge
        places = np.where((partitions < 0) | (partitions >= size), size - 1, partitions)
        low, edge = lows[places], edges[places]
        unknown = edge < 0
        self._tally.add_faults(Fault.ORPHAN, outcomes, unknown)
        removed = ~unknown & (sources < low)
        self._tally.count("expired", np.count_nonzero(removed))
        is_gone = removed & (low == self._known_lows[places])  # and not outside of a range of times
        leave_unjudged(self.state, outcomes, is_gone, NO_INPUT)
        if self._known_lows.any():
            self._see_removed(outcomes)
        beyond = ~unknown & (sources >= edge) & ~removed
        if beyond.any():
            self._hold(outcomes.take(beyond))
        self._accept(take_some(outcomes, ~(unknown | removed | beyond)))

    def _see_removed(self, outcomes: Outcomes) -> None:
        lows = self._known_lows
        places = outcomes.source_partitions.clip(-1, len(lows) - 1)
        if (removed := outcomes.source_offsets < lows[places]).any():
            self.state.lost.see_outcomes(places[removed], outcomes.source_offsets[removed])

    def _accept(self, outcomes: Outcomes) -> None:
        """Check outcomes of audited inputs, and pass them on to their inputs."""
        if not len(outcomes):
            return
        log = self.state.logs[outcomes.kind, outcomes.partition]
        log.append(outcomes)
        outcomes = self._without_older(outcomes)
        if not len(outcomes):
            return
        late = log.advance(outcomes)
        if outcomes.kind is OutcomeKind.SCORE:
            self._tally.add_faults(Fault.OUT_OF_ORDER, outcomes, late)
        count_marks(self._tally, outcomes)
        self.state.versions.add(outcomes)
        elsewhere = outcomes.source_partitions != outcomes.partition
        if elsewhere.any():
            self._tally.add_faults(Fault.WRONG_PARTITION, outcomes, elsewhere)
            self.state.strays.append(outcomes.take(elsewhere))
        self._route(take_some(outcomes, ~elsewhere), is_newer=True)

    def _route(self, outcomes: Outcomes, *, is_newer: bool = False) -> None:
        """Match outcomes in their own partition, or hold them until their inputs are read."""
        if not len(outcomes):
            return
        ledger = self.state.ledgers[outcomes.partition]
        ready = outcomes.source_offsets < ledger.head
        if not ready.all():
            self.state.early.append(outcomes.take(~ready))
        self._match(outcomes.partition, take_some(outcomes, ready), is_newer=is_newer)

    def _match(self, partition: int, outcomes: Outcomes, *, is_newer: bool = False) -> None:
        if not len(outcomes):
            return
        absent = match_outcomes(self.state, partition, outcomes, is_newer=is_newer)
        if absent is not None:
            self.state.gaps.append(absent)

    def _without_older(self, outcomes: Outcomes) -> Outcomes:
        """Leave out outcomes that are older than their inputs; later stripes' are found later."""
        ledger = self.state.ledgers.get(outcomes.partition)
        if ledger is None:
            return outcomes
        older = ledger.older(outcomes) & (outcomes.source_partitions == outcomes.partition)
        self._tally.count("older", np.count_nonzero(older))
        return take_some(outcomes, ~older)

    def _hold(self, outcomes: Outcomes) -> None:
        """Hold outcomes of inputs at or after the edge.

        Without a next run, only those are held whose input did not exist when this run began.
        """
        if not self._has_next_run:
            highs = highs_of(self._known, outcomes)
            self._tally.count("later", np.count_nonzero(outcomes.source_offsets < highs))
            outcomes = outcomes.take(outcomes.source_offsets >= highs)
        if len(outcomes):
            self.state.held.append(outcomes)

    def _match_strays(self) -> None:
        strays, self.state.strays = self.state.strays, []
        for outcomes in strays:
            for partition in np.unique(outcomes.source_partitions).tolist():
                part = outcomes.take(outcomes.source_partitions == partition)
                ready = part.source_offsets < self.state.ledgers[partition].head
                self._match(partition, part.take(ready))
                if not ready.all():
                    self.state.strays.append(part.take(~ready))

    def _resolve_held(self, outcomes: Outcomes, now: Spans) -> None:
        highs = np.maximum(highs_of(now, outcomes), highs_of(self._known, outcomes))
        nowhere = outcomes.source_offsets >= highs
        self._tally.add_faults(Fault.ORPHAN, outcomes, nowhere)
        if not self._has_next_run:
            self._tally.count("later", np.count_nonzero(~nowhere))
        elif not nowhere.all():
            self.state.held.append(outcomes.take(~nowhere))

    def _check_redriven(self, inputs: Inputs) -> None:
        self._tally.count("redriven", len(inputs.origins))
        again = self.state.redriven.add(inputs.origins[:, 1:])
        for offset, partition, origin in inputs.origins[again].tolist():
            self._tally.add_fault(
                Offender(
                    Fault.REDRIVEN_TWICE,
                    OutcomeKind.DEAD_LETTER,
                    Coordinates(partition, origin),
                    Coordinates(inputs.partition, offset),
                )
            )
