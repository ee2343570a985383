"""Inputs and outcomes as columns, as an audit reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag, StrEnum
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import NO_EVENT_TIME
from stream_scorer.audit.records.results import Results

LEAF_BYTES: Final = 32
"""A SHA-256."""

NOT_STATED: Final = NO_EVENT_TIME + 1
"""In place of an event time: the score's schema has none."""

EARLIEST_TIME: Final = NOT_STATED + 1
"""A score that states an earlier event time, which none can have, counts as stating this one."""

NOT_HASHED: Final = 0
"""In place of the hash of a value: it was not computed, or the value was cut."""


class Content(IntEnum):
    """What an audit knows about the content of an input."""

    NOT_SAMPLED = 0
    """It was not decoded."""

    UNKNOWN = 1
    """It cannot be decoded now, for want of its schema; it may have been possible before."""

    REJECTED = 2
    """No scorer of this release can score it."""

    DECODED = 3
    """It was decoded."""


class Mark(IntFlag):
    """What is wrong with an outcome by itself, whatever its input; a bit each."""

    IMPLAUSIBLE = 1
    TRAILING = 2
    """Bytes are left over after its last field."""
    WRONG_VERSION = 4
    OTHER_THRESHOLDS = 8
    """Its thresholds differ from those of other scores of its model version."""
    UNEXPLAINED = 16
    """A dead letter without a known stage or without a reason."""
    BLAMES_RECORD = 32
    """Not a fault by itself: a dead letter that says that the record cannot be decoded."""
    REFUSED = 64
    """Not a fault by itself: a dead letter of a stage before scoring. Its input is part of no
    card's history."""


class OutcomeKind(StrEnum):
    """The two kinds of outcome."""

    SCORE = "score"
    DEAD_LETTER = "dead_letter"


class Coordinates(NamedTuple):
    """Partition and offset of a record."""

    partition: int
    offset: int


def _no_origins() -> NDArray[np.int64]:
    return np.empty((0, 3), np.int64)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Data records of one input partition, in offset order.

    Attributes:
        partition: the input partition.
        offsets: int64 ``[n]``.
        key_hashes: CRC-32 of the keys, uint32 ``[n]``.
        times: record timestamps, epoch milliseconds, int64 ``[n]``.
        contents: a :class:`Content` each, uint8 ``[n]``; the next three columns have meaningless
            values where it is ``NOT_SAMPLED``, the next two where it is not ``DECODED``.
        transactions: transaction ids, int64 ``[n]``.
        event_times: epoch milliseconds, int64 ``[n]``; ``NO_EVENT_TIME`` where there is none.
        value_hashes: hashes of the values (:func:`value_hash`), int64 ``[n]``.
        origins: the redriven inputs, int64 ``[k, 3]``: offset of the input, then partition and
            offset of the dead letter it was redriven from.
    """

    partition: int
    offsets: NDArray[np.int64]
    key_hashes: NDArray[np.uint32]
    times: NDArray[np.int64]
    contents: NDArray[np.uint8]
    transactions: NDArray[np.int64]
    event_times: NDArray[np.int64]
    value_hashes: NDArray[np.int64]
    origins: NDArray[np.int64] = field(default_factory=_no_origins)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Outcomes of one kind from one partition, in offset order.

    Attributes:
        kind: scores or dead letters.
        partition: the partition they were written to.
        offsets: the offsets they were written at, int64 ``[n]``.
        source_partitions: int64 ``[n]``; -1 where the outcome names no input of the input topic.
        source_offsets: int64 ``[n]``.
        key_hashes: CRC-32 of the keys, uint32 ``[n]``.
        times: record timestamps, epoch milliseconds, int64 ``[n]``.
        leaves: a SHA-256 of each outcome (:func:`stream_scorer.audit.records.digest.leaf`), uint8
            ``[n, 32]``.
        versions: index into ``version_names`` of a score's model version, int32 ``[n]``; -1 for
            dead letters.
        transactions: transaction ids stored in the scores, int64 ``[n]``; 0 for dead letters.
        event_times: event times stored in the scores, int64 ``[n]``: epoch milliseconds,
            ``NO_EVENT_TIME`` or ``NOT_STATED``.
        value_hashes: hashes of the values of dead letters, int64 ``[n]``; ``NOT_HASHED`` for scores
            and for values that were cut.
        marks: :class:`Mark` bits, uint8 ``[n]``.
        version_names: model versions, such as ``v3``.
        results: what scores state about their model's result; None unless they are recomputed.
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
    event_times: NDArray[np.int64]
    value_hashes: NDArray[np.int64]
    marks: NDArray[np.uint8]
    version_names: tuple[str, ...] = ()
    results: Results | None = None

    def __len__(self) -> int:
        """Number of outcomes."""
        return len(self.offsets)

    def take(self, rows: NDArray[Any]) -> Outcomes:
        """A subset, by mask or row numbers."""
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
            self.event_times[rows],
            self.value_hashes[rows],
            self.marks[rows],
            self.version_names,
            self.results and self.results.take(rows),
        )

    def have(self, mark: Mark) -> NDArray[np.bool_]:
        """Which outcomes have a mark."""
        found: NDArray[np.bool_] = (self.marks & mark) != 0
        return found

    def source(self, row: int) -> Coordinates | None:
        """Coordinates of an outcome's input; None if it names no input of the input topic."""
        partition = int(self.source_partitions[row])
        return Coordinates(partition, int(self.source_offsets[row])) if partition >= 0 else None

    def place(self, row: int) -> Coordinates:
        """Coordinates an outcome was written at."""
        return Coordinates(self.partition, int(self.offsets[row]))
