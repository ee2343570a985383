"""What an audit takes in and what it finds, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Span:
    """The offsets ``low`` (inclusive) to ``high`` (exclusive) of one partition."""

    low: int
    high: int


Spans = Mapping[int, Span]
"""Partition number to span."""


class Fault(StrEnum):
    """What can be wrong with an outcome or an input."""

    MISSING = "missing"  # an input without an outcome
    DUPLICATE = "duplicate"  # an outcome of an input that already has one
    OUT_OF_ORDER = "out_of_order"  # a score after that of a later input, in one partition
    ORPHAN = "orphan"  # an outcome of an input that never was
    WRONG_PARTITION = "wrong_partition"  # an outcome in another partition than its input
    WRONG_KEY = "wrong_key"  # an outcome whose key is not its input's
    UNREADABLE = "unreadable"  # an outcome that does not say whose it is


class Kind(StrEnum):
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
    kind: Kind | None
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
    """

    kind: Kind
    partition: int
    offsets: NDArray[np.int64]
    source_partitions: NDArray[np.int64]
    source_offsets: NDArray[np.int64]
    key_hashes: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class PartitionRange:
    """One input partition and the outcomes written to the same partition number."""

    partition: int
    first: int | None
    last: int | None
    inputs: int
    scores: int
    dead_letters: int
    missing: int
    not_judged: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an audit found.

    Attributes:
        faults: how often each occurred.
        offenders: the first of them.
        partitions: per input partition.
        scores: all that were read.
        dead_letters: all that were read.
        expired: outcomes whose inputs retention has removed; no fault.
        later: outcomes of inputs that came after the audit began, or lie beyond what it was asked
            to judge; no fault.
        digest: SHA-256 over the outcomes' coordinates in their order; equal for equal topics.
    """

    faults: Mapping[Fault, int]
    offenders: tuple[Offender, ...]
    partitions: tuple[PartitionRange, ...]
    scores: int
    dead_letters: int
    expired: int
    later: int
    digest: str

    @property
    def inputs(self) -> int:
        """All inputs that were read."""
        return sum(part.inputs for part in self.partitions)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.faults.values())
