"""Inputs and outcomes as columns, as an audit reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

LEAF_BYTES: Final = 32
"""A SHA-256."""

NOT_SAMPLED: Final = np.iinfo(np.int64).min
"""In place of a transaction id: the record is not in the sample. No known id is that low."""

NOT_DECODED: Final = NOT_SAMPLED + 1
"""In place of a transaction id: the input is in the sample but cannot be decoded."""


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
        transactions: transaction ids, int64 ``[n]``; ``NOT_SAMPLED`` or ``NOT_DECODED`` where there
            is no id.
        origins: the redriven inputs, int64 ``[k, 3]``: offset of the input, then partition and
            offset of the dead letter it was redriven from.
    """

    partition: int
    offsets: NDArray[np.int64]
    key_hashes: NDArray[np.uint32]
    times: NDArray[np.int64]
    transactions: NDArray[np.int64]
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
        transactions: transaction ids stored in the scores, int64 ``[n]``; ``NOT_SAMPLED`` for dead
            letters.
        is_plausible: False for a score that contradicts itself, bool ``[n]``.
        version_names: model versions, such as ``v3``.
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
            self.is_plausible[rows],
            self.version_names,
        )

    def source(self, row: int) -> Coordinates | None:
        """Coordinates of an outcome's input; None if it names no input of the input topic."""
        partition = int(self.source_partitions[row])
        return Coordinates(partition, int(self.source_offsets[row])) if partition >= 0 else None

    def place(self, row: int) -> Coordinates:
        """Coordinates an outcome was written at."""
        return Coordinates(self.partition, int(self.offsets[row]))
