"""What an audit reports: faults, ranges and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from stream_scorer.audit.records.columns import Coordinates, OutcomeKind


class Fault(StrEnum):
    """What can be wrong with an outcome or an input."""

    MISSING = "missing"  # an input without an outcome
    DUPLICATE = "duplicate"  # an outcome of an input that already has one
    OUT_OF_ORDER = "out_of_order"  # a score after that of a later input, in one partition
    ORPHAN = "orphan"  # an outcome of an input that does not exist
    WRONG_PARTITION = "wrong_partition"  # an outcome in a different partition from its input
    WRONG_KEY = "wrong_key"  # an outcome whose key differs from its input's
    WRONG_TRANSACTION = "wrong_transaction"  # a score of another transaction than its input's
    IMPLAUSIBLE = "implausible"  # a score outside 0 to 1, or one that contradicts its own decision
    UNREADABLE = "unreadable"  # an outcome without readable source coordinates
    REDRIVEN_TWICE = "redriven_twice"  # an input from a dead letter that was redriven before
    MALFORMED = "malformed"  # a score with bytes after its end
    WRONG_VERSION = "wrong_version"  # a score of a model version that cannot exist
    OTHER_THRESHOLDS = "other_thresholds"  # thresholds that other scores of the version don't have
    UNSCORABLE = "unscorable"  # a score of an input that no scorer can score
    WRONG_REJECTION = "wrong_rejection"  # a dead letter that calls a good input undecodable
    WRONG_VALUE = "wrong_value"  # a dead letter whose value differs from its input's
    UNEXPLAINED = "unexplained"  # a dead letter without a known stage or without a reason
    NOT_REPRODUCED = "not_reproduced"  # a score that its model version does not give for its input


@dataclass(frozen=True, slots=True)
class Offender:
    """One fault: the outcome that has it (None if it is missing) and that outcome's input.

    ``detail`` says what differs, where a score was recomputed.
    """

    fault: Fault
    kind: OutcomeKind | None
    outcome: Coordinates | None
    source: Coordinates | None
    detail: str | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON for the report."""
        more = {"detail": self.detail} if self.detail else {}
        return {
            "fault": self.fault,
            "kind": self.kind,
            "outcome": self.outcome._asdict() if self.outcome else None,
            "input": self.source._asdict() if self.source else None,
            **more,
        }


@dataclass(frozen=True, slots=True)
class PartitionRange:
    """One input partition and the outcomes written to the same partition number.

    Attributes:
        partition: partition number.
        first: offset of the first input read in this run; None if there was none.
        last: offset of the last input read in this run; None if there was none.
        inputs: inputs read in this run.
        scores: scores read from the partition with the same number.
        dead_letters: dead letters read from the partition with the same number.
        missing: inputs without an outcome.
        not_judged: inputs whose outcomes may have expired.
        inputs_lost: inputs that were deleted before they had an outcome, an upper bound.
        next_input: offset at which the next run continues.
    """

    partition: int
    first: int | None
    last: int | None
    inputs: int
    scores: int
    dead_letters: int
    missing: int
    not_judged: int
    inputs_lost: int
    next_input: int


@dataclass(slots=True)
class Interval:
    """Consecutive scores of one model version in one partition: input offsets and score times."""

    first_offset: int
    last_offset: int
    first_time: int
    last_time: int
    count: int

    def extend(self, other: Interval) -> None:
        """Merge the following interval into this one."""
        self.first_offset = min(self.first_offset, other.first_offset)
        self.last_offset = max(self.last_offset, other.last_offset)
        self.first_time = min(self.first_time, other.first_time)
        self.last_time = max(self.last_time, other.last_time)
        self.count += other.count


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of an audit.

    Attributes:
        faults: number of occurrences of each fault.
        offenders: the first occurrences.
        partitions: one entry for each input partition.
        counts: counters of this run, by name (see :mod:`stream_scorer.audit.tally`).
        totals: the same counters over all runs of a state file, including this one.
        versions: number of scores of each model version in this run.
        intervals: (model version, partition) → the intervals of its scores, over all runs.
        times: first and last timestamp of the inputs read, epoch milliseconds; None if no input was
            read.
        digest: digest of the outcomes of all audited inputs, over all runs; equal topics have equal
            digests.
        unjudged: number of scores of this run that could not be recomputed, by reason.
    """

    faults: Mapping[Fault, int]
    offenders: tuple[Offender, ...]
    partitions: tuple[PartitionRange, ...]
    counts: Mapping[str, int]
    totals: Mapping[str, int]
    versions: Mapping[str, int]
    intervals: Mapping[tuple[str, int], Sequence[Interval]]
    times: tuple[int, int] | None
    digest: str
    unjudged: Mapping[str, int] = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """Inputs read in this run."""
        return self.counts.get("inputs", 0)

    @property
    def scores(self) -> int:
        """Scores read in this run."""
        return self.counts.get("scores", 0)

    @property
    def dead_letters(self) -> int:
        """Dead letters read in this run."""
        return self.counts.get("dead_letters", 0)

    @property
    def judged(self) -> int:
        """Inputs for which it is known whether they have an outcome."""
        return self.inputs - self.counts.get("not_judged", 0)

    @property
    def judged_ever(self) -> int:
        """The same over all runs of a state file."""
        return self.totals.get("inputs", 0) - self.totals.get("not_judged", 0)

    @property
    def inputs_lost(self) -> int:
        """Inputs that were deleted before they had an outcome, an upper bound."""
        return self.counts.get("inputs_lost", 0)

    @property
    def expired(self) -> int:
        """Outcomes whose inputs were removed by retention; not a fault."""
        return self.counts.get("expired", 0)

    @property
    def later(self) -> int:
        """Outcomes of inputs after the judged range; not a fault."""
        return self.counts.get("later", 0)

    @property
    def recomputed(self) -> int:
        """Scores that were computed again and compared."""
        return self.counts.get("recomputed", 0)

    @property
    def not_recomputed(self) -> int:
        """Scores that were to be computed again and could not; the reasons are in ``unjudged``."""
        return self.counts.get("not_recomputed", 0)

    @property
    def is_clean(self) -> bool:
        """Whether there is no fault."""
        return not any(self.faults.values())
