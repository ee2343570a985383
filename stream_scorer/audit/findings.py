"""What an audit takes in and what it finds, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

LEAF_BYTES: Final = 32
"""A SHA-256."""

NOT_SAMPLED: Final = np.iinfo(np.int64).min
"""Instead of a transaction's id: it was not looked at. No id we know of is so far from zero."""

NOT_DECODED: Final = NOT_SAMPLED + 1
"""Instead of a transaction's id: the input was looked at and cannot be read."""


class Fault(StrEnum):
    """What can be wrong with an outcome or an input."""

    MISSING = "missing"  # an input without an outcome
    DUPLICATE = "duplicate"  # an outcome of an input that already has one
    OUT_OF_ORDER = "out_of_order"  # a score after that of a later input, in one partition
    ORPHAN = "orphan"  # an outcome of an input that never was
    WRONG_PARTITION = "wrong_partition"  # an outcome in another partition than its input
    WRONG_KEY = "wrong_key"  # an outcome whose key is not its input's
    WRONG_TRANSACTION = "wrong_transaction"  # a score of another transaction than its input's
    IMPLAUSIBLE = "implausible"  # a score outside 0 to 1, or at odds with its own decision
    UNREADABLE = "unreadable"  # an outcome that does not say whose it is
    REDRIVEN_TWICE = "redriven_twice"  # an input made of a dead letter that was redriven before


class OutcomeKind(StrEnum):
    """The two kinds of outcome."""

    SCORE = "score"
    DEAD_LETTER = "dead_letter"


class Coordinates(NamedTuple):
    """Where a record is."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Offender:
    """One fault: the outcome it was found at (None for a missing one) and its input."""

    fault: Fault
    kind: OutcomeKind | None
    outcome: Coordinates | None
    source: Coordinates | None

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        return {
            "fault": self.fault,
            "kind": self.kind,
            "outcome": self.outcome._asdict() if self.outcome else None,
            "input": self.source._asdict() if self.source else None,
        }


def _no_origins() -> NDArray[np.int64]:
    return np.empty((0, 3), np.int64)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Data records of one input partition, in its order.

    Attributes:
        partition: theirs.
        offsets: int64 ``[n]``.
        key_hashes: CRC-32 of the keys, uint32 ``[n]``.
        times: record timestamps, epoch milliseconds, int64 ``[n]``.
        transactions: their ids, int64 ``[n]``; ``NOT_SAMPLED`` or ``NOT_DECODED`` without.
        origins: the redriven ones among them, int64 ``[k, 3]``: the input's offset, and partition
            and offset of the dead letter it was made of.
    """

    partition: int
    offsets: NDArray[np.int64]
    key_hashes: NDArray[np.uint32]
    times: NDArray[np.int64]
    transactions: NDArray[np.int64]
    origins: NDArray[np.int64] = field(default_factory=_no_origins)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Outcomes of one kind from one partition, in its order.

    Attributes:
        kind: scores or dead letters.
        partition: where they were written.
        offsets: where they were written, int64 ``[n]``.
        source_partitions: int64 ``[n]``; -1 where the outcome does not name an input of the topic.
        source_offsets: int64 ``[n]``.
        key_hashes: CRC-32 of the keys, uint32 ``[n]``.
        times: record timestamps, epoch milliseconds, int64 ``[n]``.
        leaves: a SHA-256 of each outcome (:func:`stream_scorer.audit.digest.leaf`), uint8
            ``[n, 32]``.
        versions: index into ``version_names`` of a score's model version, int32 ``[n]``; -1 for
            dead letters.
        transactions: ids of the transactions that scores say they are of, int64 ``[n]``;
            ``NOT_SAMPLED`` for dead letters.
        is_plausible: False for a score that is at odds with itself, bool ``[n]``.
        version_names: such as ``v3``.
    """

    kind: OutcomeKind
    partition: int
    offsets: NDArray[np.int64]
    source_partitions: NDArray[np.int64]
    source_offsets: NDArray[np.int64]
    key_hashes: NDArray[np.uint32]
    times: NDArray[np.int64]
    leaves: NDArray[np.uint8]
    versions: NDArray[np.int32]
    transactions: NDArray[np.int64]
    is_plausible: NDArray[np.bool_]
    version_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many."""
        return len(self.offsets)

    def take(self, rows: NDArray[Any]) -> Outcomes:
        """Some of them, by mask or row numbers."""
        return Outcomes(
            self.kind,
            self.partition,
            self.offsets[rows],
            self.source_partitions[rows],
            self.source_offsets[rows],
            self.key_hashes[rows],
            self.times[rows],
            self.leaves[rows],
            self.versions[rows],
            self.transactions[rows],
            self.is_plausible[rows],
            self.version_names,
        )

    def source(self, row: int) -> Coordinates | None:
        """The input of one; None where it names none of the topic."""
        partition = int(self.source_partitions[row])
        return Coordinates(partition, int(self.source_offsets[row])) if partition >= 0 else None

    def place(self, row: int) -> Coordinates:
        """Where one was written."""
        return Coordinates(self.partition, int(self.offsets[row]))


@dataclass(frozen=True, slots=True)
class PartitionRange:
    """One input partition and the outcomes written to the same partition number.

    Attributes:
        partition: its number.
        first: offset of the first input of this run; None without any.
        last: of the last.
        inputs: read in this run.
        scores: written to the partition of the same number.
        dead_letters: likewise.
        missing: inputs without an outcome.
        not_judged: inputs whose outcomes may have expired.
        next_input: where the next run goes on.
    """

    partition: int
    first: int | None
    last: int | None
    inputs: int
    scores: int
    dead_letters: int
    missing: int
    not_judged: int
    next_input: int


@dataclass(slots=True)
class Interval:
    """Neighbouring scores of one model version in one partition: inputs and score times."""

    first_offset: int
    last_offset: int
    first_time: int
    last_time: int
    count: int

    def extend(self, other: Interval) -> None:
        """Take in what comes after."""
        self.first_offset = min(self.first_offset, other.first_offset)
        self.last_offset = max(self.last_offset, other.last_offset)
        self.first_time = min(self.first_time, other.first_time)
        self.last_time = max(self.last_time, other.last_time)
        self.count += other.count


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an audit found.

    Attributes:
        faults: how often each occurred.
        offenders: the first of them.
        partitions: per input partition.
        counts: figures of this run, by name (see :mod:`stream_scorer.audit.tally`).
        totals: the same over all runs of a state, this one included.
        versions: scores of each model version in this run.
        intervals: (model version, partition) → where its scores are, over all runs.
        times: of the inputs read, first and last, epoch milliseconds; None without inputs.
        digest: over the outcomes of the audited inputs, of all runs; equal for equal topics.
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

    @property
    def inputs(self) -> int:
        """All inputs that were read."""
        return self.counts.get("inputs", 0)

    @property
    def scores(self) -> int:
        """All that were read."""
        return self.counts.get("scores", 0)

    @property
    def dead_letters(self) -> int:
        """All that were read."""
        return self.counts.get("dead_letters", 0)

    @property
    def judged(self) -> int:
        """Inputs of which is known whether they have an outcome."""
        return self.inputs - self.counts.get("not_judged", 0)

    @property
    def expired(self) -> int:
        """Outcomes whose inputs retention has removed; no fault."""
        return self.counts.get("expired", 0)

    @property
    def later(self) -> int:
        """Outcomes of inputs beyond those that were judged; no fault."""
        return self.counts.get("later", 0)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.faults.values())
