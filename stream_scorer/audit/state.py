"""What an audit knows between two stripes: all that the next run needs. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from stream_scorer.audit.expiry import Expiry, LogKey
from stream_scorer.audit.ledger import Ledger, RedrivenOnce
from stream_scorer.audit.lost_inputs import LostInputs
from stream_scorer.audit.outcome_log import OutcomeLog
from stream_scorer.audit.recompute.stated import StatedScores
from stream_scorer.audit.records.columns import Inputs, Outcomes
from stream_scorer.audit.tally import AuditTally
from stream_scorer.audit.versions import VersionRanges

_MOST_REASONS: Final = 50  # a topic can name any number of versions that do not exist
_OTHER_REASONS: Final = "other reasons"


@dataclass(slots=True)
class AuditState:
    """The state of an audit.

    Only :class:`stream_scorer.audit.auditor.Auditor` changes it;
    :mod:`stream_scorer.audit.state_file` saves and loads it.

    Attributes:
        tally: the counters of the current run, and its first offenders.
        ledgers: the inputs, by partition.
        logs: the outcomes, by kind and partition.
        totals: the counters summed over all finished runs.
        versions: what each model version scored.
        redriven: the dead letters that inputs were redriven from.
        expiry: the first inputs whose outcomes cannot have expired.
        lost: what shows that inputs were deleted before they were scored.
        held: outcomes of inputs at or after the edge.
        strays: outcomes in a different partition from their input, which may not have been read
            yet.
        gaps: outcomes of offsets that hold no input; retention may have removed it.
        early: outcomes of inputs in a later stripe.
        is_open: a run began and has not ended; the next one continues its counters.
        times: first and last timestamp of the inputs read in this run, epoch milliseconds.
        ranges: of each partition in this run: first input, last input, number of inputs.
        stated: what the scores of the open stripe state, if they are recomputed; empty between two
            stripes.
        unjudged: number of scores of this run that could not be recomputed, by reason.
    """

    tally: AuditTally = field(default_factory=AuditTally)
    ledgers: dict[int, Ledger] = field(default_factory=dict)
    logs: dict[LogKey, OutcomeLog] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    versions: VersionRanges = field(default_factory=VersionRanges)
    redriven: RedrivenOnce = field(default_factory=RedrivenOnce)
    expiry: Expiry = field(default_factory=Expiry)
    lost: LostInputs = field(default_factory=LostInputs)
    held: list[Outcomes] = field(default_factory=list)
    strays: list[Outcomes] = field(default_factory=list)
    gaps: list[Outcomes] = field(default_factory=list)
    early: list[Outcomes] = field(default_factory=list)
    is_open: bool = False
    times: tuple[int, int] | None = None
    ranges: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    stated: StatedScores | None = None
    unjudged: Counter[str] = field(default_factory=Counter)

    def log(self, key: LogKey) -> OutcomeLog:
        """The log of one partition of outcomes, created when it is first needed."""
        return self.logs.setdefault(key, OutcomeLog())

    def count_inputs(self, inputs: Inputs) -> None:
        """Count inputs of one partition, and extend its range and the time range."""
        self.tally.count("inputs", len(inputs.offsets))
        first, last = int(inputs.offsets[0]), int(inputs.offsets[-1])
        begun = self.ranges.get(inputs.partition, (first, last, 0))
        self.ranges[inputs.partition] = (begun[0], last, begun[2] + len(inputs.offsets))
        low, high = int(inputs.times.min()), int(inputs.times.max())
        self.times = (
            (min(self.times[0], low), max(self.times[1], high)) if self.times else (low, high)
        )

    def leave_unjudged(self, reasons: Mapping[str, int]) -> None:
        """Count scores that cannot be recomputed, by reason."""
        for reason, number in reasons.items():
            is_new = reason not in self.unjudged
            is_full = len(self.unjudged) >= _MOST_REASONS
            self.unjudged[_OTHER_REASONS if is_new and is_full else reason] += number
            self.tally.count("not_recomputed", number)

    def add_totals(self) -> None:
        """Add the counters of the finished run to the totals."""
        totals = Counter(self.totals)
        totals.update(self.tally.counts)
        self.totals = {**totals, "waiting": self.tally.counts["waiting"]}

    def end_run(self) -> None:
        """Reset the counters of the run; totals, intervals and held outcomes stay."""
        self.is_open = False
        self.tally = AuditTally(self.tally.limit)
        self.versions.begin_run()
        self.times = None
        self.ranges = {}
        self.unjudged = Counter()
