"""The proof behind ``stream-scorer verify``: one outcome for each input, order kept. Pure.

A merge. Each partition's inputs are read in stripes; after a stripe's inputs come the outcomes,
which keep the inputs' order, so a stripe is settled when the outcomes have gone past its end. Only
what is out of order, in another partition or not yet due is held, so memory does not grow with the
length of the topics but for the settled offsets (:mod:`stream_scorer.audit.settled`).

The calls of a run: :meth:`Audit.begin_run`; for each stripe :meth:`~Audit.begin_stripe`,
``add_inputs``, :meth:`~Audit.inputs_read`, ``add_outcomes``, :meth:`~Audit.end_stripe`; at the end
:meth:`~Audit.finish`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.audit.digest import combine
from stream_scorer.audit.expiry import Cuts, Expiry, LogKey
from stream_scorer.audit.findings import (
    Coordinates,
    Fault,
    Inputs,
    Offender,
    OutcomeKind,
    Outcomes,
    PartitionRange,
    Verdict,
)
from stream_scorer.audit.ledger import Ledger
from stream_scorer.audit.outcome_log import OutcomeLog
from stream_scorer.audit.redriven import RedrivenOnce
from stream_scorer.audit.tally import AuditTally
from stream_scorer.audit.versions import VersionRanges
from stream_scorer.kafka.spans import Spans

MOST_STRAYS: Final = 1_000_000
"""Outcomes in another partition than their input that are kept until that is read, some 80 bytes
each; a topic with more of them is beyond being told which inputs lack one."""


class Audit:
    """Collects inputs and outcomes, then judges.

    Args:
        limit: how many offenders are named; all are counted.
        is_carrying: outcomes of inputs beyond the audited ones are kept for the next run.
        is_compacted: the input topic is, so inputs may be gone from its middle.
    """

    def __init__(
        self, limit: int = 20, *, is_carrying: bool = False, is_compacted: bool = False
    ) -> None:
        self.is_carrying = is_carrying
        self.is_compacted = is_compacted
        self.ledgers: dict[int, Ledger] = {}
        self.logs: dict[LogKey, OutcomeLog] = {}
        self.tally = AuditTally(limit)
        self.totals: dict[str, int] = {}
        self.versions = VersionRanges()
        self.redriven = RedrivenOnce()
        self.expiry = Expiry()
        self.held: list[Outcomes] = []
        """Outcomes beyond the edge."""
        self.strays: list[Outcomes] = []
        """Outcomes in another partition than their input, which may not have been read yet."""
        self.gaps: list[Outcomes] = []
        """Outcomes of offsets that hold no input; retention may have done that."""
        self.early: list[Outcomes] = []
        """Outcomes of inputs that come in a later stripe."""
        self.is_open = False
        """A run has begun and not ended: the next one goes on with its figures."""
        self.times: tuple[int, int] | None = None
        self.ranges: dict[int, tuple[int, int, int]] = {}
        """Of each partition in this run: first and last input, and how many."""
        self._stripe: list[int] = []
        self._known: Spans = {}

    # --- the calls of a run

    def begin_run(self, inputs: Spans, edges: Mapping[int, int], log_lows: Mapping[LogKey, int],
                  *, lows: Mapping[int, int] | None = None,
                  cuts: Cuts | None = None) -> None:  # fmt: skip
        """Say what this run is to judge.

        Args:
            inputs: what the input partitions hold as of now.
            edges: the input offset to stop before, by partition.
            log_lows: the first offset that is left of each partition of outcomes.
            lows: where to begin partitions that were never audited; their first record without.
            cuts: what retention can have removed; without, it may have been anything.
        """
        self._known = inputs
        for partition, span in inputs.items():
            low = max(span.low, (lows or {}).get(partition, span.low))
            ledger = self.ledgers.setdefault(partition, Ledger(low, low))
            self.tally.count("unaudited", ledger.skip_to(span.low))
            ledger.begin_run(edges[partition], is_resumed=self.is_open)
        lost = [
            key
            for key, low in log_lows.items()
            if self.logs.setdefault(key, OutcomeLog()).begin_run(low, is_resumed=self.is_open)
        ]
        self.expiry.begin_run(cuts or Cuts(), lost, is_resumed=self.is_open)
        self.is_open = True
        waiting, self.held = self.held, []
        for outcomes in waiting:
            self._sort(outcomes)

    def begin_stripe(self, stops: Mapping[int, int]) -> None:
        """The inputs of these partitions up to these offsets come next."""
        self._stripe = list(stops)
        for partition, stop in stops.items():
            self.ledgers[partition].open(stop)

    def add_inputs(self, inputs: Inputs) -> None:
        """Data records of one input partition in the stripe, in its order."""
        if not len(inputs.offsets):
            return
        self.ledgers[inputs.partition].add(inputs)
        self.expiry.see(inputs.partition, inputs.offsets, inputs.times)
        self.tally.count("inputs", len(inputs.offsets))
        first, last = int(inputs.offsets[0]), int(inputs.offsets[-1])
        begun = self.ranges.get(inputs.partition, (first, last, 0))
        self.ranges[inputs.partition] = (begun[0], last, begun[2] + len(inputs.offsets))
        low, high = int(inputs.times.min()), int(inputs.times.max())
        self.times = (
            (min(self.times[0], low), max(self.times[1], high)) if self.times else (low, high)
        )
        if len(inputs.origins):
            self._check_redriven(inputs)

    def inputs_read(self) -> None:
        """All inputs of the stripe were added; outcomes come next."""
        early, self.early = self.early, []
        for outcomes in early:
            self._route(outcomes)

    def add_outcomes(self, outcomes: Outcomes) -> None:
        """Outcomes of one partition, in its order."""
        if not len(outcomes):
            return
        self.tally.count(
            "scores" if outcomes.kind is OutcomeKind.SCORE else "dead_letters", len(outcomes)
        )
        self.logs.setdefault((outcomes.kind, outcomes.partition), OutcomeLog()).read(outcomes)
        self.expiry.see_outcomes(outcomes)
        self._sort(outcomes)

    def lose(self, kind: OutcomeKind, partition: int, low: int) -> None:
        """Outcomes before ``low`` were removed, perhaps before they were read."""
        self.logs.setdefault((kind, partition), OutcomeLog()).lose(low)

    def add_unreadable(self, kind: OutcomeKind, partition: int, offset: int) -> None:
        """An outcome that does not say whose it is."""
        self.tally.count("scores" if kind is OutcomeKind.SCORE else "dead_letters", 1)
        log = self.logs.setdefault((kind, partition), OutcomeLog())
        log.position = max(log.position, offset + 1)
        log.count += 1
        self.tally.note(Offender(Fault.UNREADABLE, kind, Coordinates(partition, offset), None))

    def end_stripe(self) -> None:
        """The outcomes have gone past the stripe, or are at their end."""
        self._answer_strays()  # while the keys of the stripe's inputs are there to compare
        for partition in self._stripe:
            self.ledgers[partition].close()
        self._stripe = []

    @property
    def doubtful(self) -> int:
        """Outcomes held that :meth:`resolve` might let go."""
        return sum(len(outcomes) for outcomes in (*self.held, *self.gaps, *self.strays))

    @property
    def waiting(self) -> int:
        """Outcomes of inputs beyond the edge that are held."""
        return sum(len(outcomes) for outcomes in self.held)

    def resolve(self, now: Spans) -> None:
        """Judge the outcomes that found no input.

        Args:
            now: what the input partitions hold, asked after those outcomes were read: an
                outcome of what retention has removed meanwhile is no orphan, one of an offset
                that is not there yet is one.
        """
        self._answer_strays()
        if (many := sum(len(outcomes) for outcomes in self.strays)) > MOST_STRAYS:
            self.tally.count("unplaced", many)
            self.strays = []
        gaps, self.gaps = self.gaps, []
        for outcomes in gaps:
            expired = outcomes.source_offsets < _lows(now, outcomes)
            self.tally.count("expired", np.count_nonzero(expired))
            if self.is_compacted:
                self.tally.count("compacted", np.count_nonzero(~expired))
            else:
                self.tally.blame(Fault.ORPHAN, outcomes, ~expired)
        held, self.held = self.held, []
        for outcomes in held:
            self._resolve_held(outcomes, now)

    def finish(self, now: Spans) -> Verdict:
        """The verdict on this run; ``now`` as for :meth:`resolve`."""
        self.resolve(now)
        ranges = [self._judge_missing(partition) for partition in sorted(self.ledgers)]
        if self.is_carrying:
            self.tally.count("waiting", self.waiting)
        totals = defaultdict(int, self.totals)
        for name, number in self.tally.counts.items():
            totals[name] += number
        self.totals = {**totals, "waiting": self.tally.counts["waiting"]}
        return Verdict(
            faults=self.tally.faults(),
            offenders=self.tally.offenders(),
            partitions=tuple(ranges),
            counts=dict(self.tally.counts),
            totals=self.totals,
            versions=dict(sorted(self.versions.counts.items())),
            intervals=self.versions.intervals,
            times=self.times,
            digest=combine({key: (log.chained, log.chain) for key, log in self.logs.items()}),
        )

    def end_run(self, limit: int) -> None:
        """Begin the next run's figures; the totals stay."""
        self.is_open = False
        self.tally = AuditTally(limit)
        self.versions.begin_run()
        self.times = None
        self.ranges = {}

    # --- what becomes of an outcome

    def _sort(self, outcomes: Outcomes) -> None:
        """By where its input is: nowhere, gone, beyond the edge, or audited."""
        partitions, sources = outcomes.source_partitions, outcomes.source_offsets
        size = max(self.ledgers, default=-1) + 2
        lows, edges = np.zeros(size, np.int64), np.full(size, -1, np.int64)
        for partition, ledger in self.ledgers.items():
            lows[partition], edges[partition] = ledger.low, ledger.edge
        places = np.where((partitions < 0) | (partitions >= size), size - 1, partitions)
        low, edge = lows[places], edges[places]
        unknown = edge < 0
        self.tally.blame(Fault.ORPHAN, outcomes, unknown)
        gone = ~unknown & (sources < low)
        self.tally.count("expired", np.count_nonzero(gone))
        beyond = ~unknown & (sources >= edge) & ~gone
        if beyond.any():
            self._hold(outcomes.take(beyond))
        self._take_in(_some(outcomes, ~(unknown | gone | beyond)))

    def _take_in(self, outcomes: Outcomes) -> None:
        """Outcomes of audited inputs."""
        if not len(outcomes):
            return
        late = self.logs[outcomes.kind, outcomes.partition].advance(outcomes)
        if outcomes.kind is OutcomeKind.SCORE:
            self.tally.blame(Fault.OUT_OF_ORDER, outcomes, late)
        self.tally.blame(Fault.IMPLAUSIBLE, outcomes, ~outcomes.is_plausible)
        self.versions.add(outcomes)
        elsewhere = outcomes.source_partitions != outcomes.partition
        if elsewhere.any():
            self.tally.blame(Fault.WRONG_PARTITION, outcomes, elsewhere)
            self.strays.append(outcomes.take(elsewhere))
        self._route(_some(outcomes, ~elsewhere))

    def _route(self, outcomes: Outcomes) -> None:
        """Outcomes in their own partition: to their inputs, if those were read."""
        if not len(outcomes):
            return
        ledger = self.ledgers[outcomes.partition]
        ready = outcomes.source_offsets < ledger.head
        if not ready.all():
            self.early.append(outcomes.take(~ready))
        self._answer(outcomes.partition, _some(outcomes, ready))

    def _answer(self, partition: int, outcomes: Outcomes) -> None:
        if not len(outcomes):
            return
        ledger = self.ledgers[partition]
        found = ledger.answer(outcomes)
        self.tally.blame(Fault.DUPLICATE, outcomes, found.again)
        self.tally.blame(Fault.WRONG_KEY, outcomes, found.wrong_key)
        self.tally.blame(Fault.WRONG_TRANSACTION, outcomes, found.wrong_transaction)
        self.tally.count("transactions_compared", np.count_nonzero(found.compared))
        self.tally.count("inputs_unread", np.count_nonzero(found.unread))
        self.tally.count("keys_not_compared", np.count_nonzero(found.late))
        earlier = outcomes.source_offsets < ledger.run_start
        self.tally.count("settled_late", np.count_nonzero(earlier & ~found.absent & ~found.again))
        if found.absent.any():
            self.gaps.append(outcomes.take(found.absent))

    def _hold(self, outcomes: Outcomes) -> None:
        """Outcomes beyond the edge; without a next run, those of inputs that are there go."""
        if not self.is_carrying:
            highs = _highs(self._known, outcomes)
            self.tally.count("later", np.count_nonzero(outcomes.source_offsets < highs))
            outcomes = outcomes.take(outcomes.source_offsets >= highs)
        if len(outcomes):
            self.held.append(outcomes)

    def _answer_strays(self) -> None:
        strays, self.strays = self.strays, []
        for outcomes in strays:
            for partition in np.unique(outcomes.source_partitions).tolist():
                part = outcomes.take(outcomes.source_partitions == partition)
                ready = part.source_offsets < self.ledgers[partition].head
                self._answer(partition, part.take(ready))
                if not ready.all():
                    self.strays.append(part.take(~ready))

    def _resolve_held(self, outcomes: Outcomes, now: Spans) -> None:
        highs = np.maximum(_highs(now, outcomes), _highs(self._known, outcomes))
        nowhere = outcomes.source_offsets >= highs
        self.tally.blame(Fault.ORPHAN, outcomes, nowhere)
        if not self.is_carrying:
            self.tally.count("later", np.count_nonzero(~nowhere))
        elif not nowhere.all():
            self.held.append(outcomes.take(~nowhere))

    def _check_redriven(self, inputs: Inputs) -> None:
        self.tally.count("redriven", len(inputs.origins))
        again = self.redriven.add(inputs.origins[:, 1:])
        for offset, partition, origin in inputs.origins[again].tolist():
            self.tally.note(
                Offender(
                    Fault.REDRIVEN_TWICE,
                    OutcomeKind.DEAD_LETTER,
                    Coordinates(partition, origin),
                    Coordinates(inputs.partition, offset),
                )
            )

    def _judge_missing(self, partition: int) -> PartitionRange:
        ledger = self.ledgers[partition]
        logs = {kind: self.logs.get((kind, partition), OutcomeLog()) for kind in OutcomeKind}
        left = {kind: log.judged_from(ledger.edge) for kind, log in logs.items()}
        judged_from = max(
            min(first, self.expiry.judged_from(kind, partition, ledger.edge))
            for kind, first in left.items()
        )
        missing = ledger.count_missing(judged_from)
        not_judged = ledger.count_missing(0) - missing
        doubtful = missing - ledger.count_missing(max(judged_from, *left.values()))
        self.tally.count("removed_early", doubtful)
        room = self.tally.room(Fault.MISSING)
        self.tally.miss(partition, missing, ledger.missing(judged_from, room))
        self.tally.count("not_judged", not_judged)
        first, last, count = self.ranges.get(partition, (None, None, 0))
        return PartitionRange(
            partition=partition,
            first=first,
            last=last,
            inputs=count,
            scores=logs[OutcomeKind.SCORE].count,
            dead_letters=logs[OutcomeKind.DEAD_LETTER].count,
            missing=missing,
            not_judged=not_judged,
            next_input=ledger.head,
        )


def _some(outcomes: Outcomes, rows: NDArray[np.bool_]) -> Outcomes:
    """``take``, without copying when all are taken, which is the rule."""
    return outcomes if rows.all() else outcomes.take(rows)


def _lows(spans: Spans, outcomes: Outcomes) -> NDArray[np.int64]:
    return np.array([spans[p].low for p in outcomes.source_partitions.tolist()], np.int64)


def _highs(spans: Spans, outcomes: Outcomes) -> NDArray[np.int64]:
    return np.array([spans[p].high for p in outcomes.source_partitions.tolist()], np.int64)
