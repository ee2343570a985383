"""Scores and labels as columns. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scorer.labels.labels import FRAUD, UNSURE

NONE: Final = -2
"""In place of a label: there is none of this kind."""

NO_PRODUCT: Final = -2
"""In place of a product: the transaction has none. -1: it is not known."""

APPROVE, REVIEW, BLOCK = 0, 1, 2  # positions in the schema's enum

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Small = NDArray[np.int8]
Flags = NDArray[np.bool_]


class ScoreRows(NamedTuple):
    """Scores of the stream, ``n`` rows.

    Attributes:
        times: when the score was written, epoch milliseconds, int64.
        transactions: transaction ids, int64.
        scores: float64.
        decisions: positions in the schema's enum, int8.
        versions: positions in ``version_names``, int32.
        partitions: of the input record, int64; -1 where it is of another topic.
        offsets: of the input record, int64.
        is_sampled: in the random lane, bool.
        shares: the share that the random lane had, float64; NaN where it is not stated.
        amounts: float64; NaN where the score does not state it.
        products: positions in ``product_names``, int16; -1 where the score does not state it.
        version_names: of this batch.
        product_names: of this batch.
    """

    times: Integers
    transactions: Integers
    scores: Floats
    decisions: Small
    versions: NDArray[np.int32]
    partitions: Integers
    offsets: Integers
    is_sampled: Flags
    shares: Floats
    amounts: Floats
    products: NDArray[np.int16]
    version_names: tuple[str, ...]
    product_names: tuple[str, ...]

    def take(self, rows: Any) -> ScoreRows:
        """A subset, by mask or row numbers."""
        return ScoreRows._make([*(column[rows] for column in self[:11]), *self[11:]])


@dataclass(frozen=True, slots=True)
class LabelTable:
    """The labels of each transaction, sorted by transaction id, each id once.

    Attributes:
        ids: transaction ids, int64 ``[n]``.
        standing: the last label of any origin, int8: fraud 1, legitimate 0, unsure -1.
        decided_at: when that was decided, epoch milliseconds, int64.
        analyst: the last label of an analyst, int8; ``NONE`` if there is none.
        report: the last label of a chargeback or its reversal, int8; ``NONE`` if there is none.
        partitions: of the input record that the last label is about, int64; -1 if it states none.
        offsets: of that record, int64.
        bad_records: records of the topic that are no labels.
    """

    ids: Integers
    standing: Small
    decided_at: Integers
    analyst: Small
    report: Small
    partitions: Integers
    offsets: Integers
    bad_records: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Any) -> LabelTable:
        """A subset that stays sorted, by mask or row numbers."""
        return LabelTable(
            self.ids[rows],
            self.standing[rows],
            self.decided_at[rows],
            self.analyst[rows],
            self.report[rows],
            self.partitions[rows],
            self.offsets[rows],
            self.bad_records,
        )

    @property
    def is_conflicting(self) -> Flags:
        """Where an analyst and a report say different things, and both are sure."""
        is_sure = (self.analyst >= 0) & (self.report >= 0)
        found: Flags = is_sure & (self.analyst != self.report)
        return found

    def find(self, rows: ScoreRows) -> Integers:
        """The position of the label of each row, int64 ``[n]``; -1 where it has none.

        A label that names an input record is about the score of that record alone: a transaction
        id may have been used twice.
        """
        if not len(self):
            return np.full(len(rows.transactions), -1, np.int64)
        at = np.searchsorted(self.ids, rows.transactions).clip(0, len(self) - 1)
        names_other = (
            (self.partitions[at] >= 0)
            & (rows.partitions >= 0)
            & ((self.partitions[at] != rows.partitions) | (self.offsets[at] != rows.offsets))
        )
        found: Integers = np.where((self.ids[at] == rows.transactions) & ~names_other, at, -1)
        return found


class LabelledRows(NamedTuple):
    """Scores that have a label, kept one by one, ``n`` rows.

    Attributes:
        scores: float64.
        decisions: int8.
        standing: int8, as in :class:`LabelTable`; so are ``analyst`` and ``report``.
        analyst: int8.
        report: int8.
        is_mature: old enough for reports to have come in, bool.
        is_sampled: bool.
        shares: float64.
        amounts: float64.
        products: positions in the names of all products, int16; -1 or ``NO_PRODUCT`` without.
        partitions: of the input record, int64.
        offsets: of the input record, int64.
    """

    scores: Floats
    decisions: Small
    standing: Small
    analyst: Small
    report: Small
    is_mature: Flags
    is_sampled: Flags
    shares: Floats
    amounts: Floats
    products: NDArray[np.int16]
    partitions: Integers
    offsets: Integers

    def take(self, rows: Any) -> LabelledRows:
        """A subset, by mask or row numbers."""
        return LabelledRows(*(column[rows] for column in self))

    @property
    def is_flagged(self) -> Flags:
        """The decision is not APPROVE."""
        found: Flags = self.decisions != APPROVE
        return found

    @property
    def is_reviewed(self) -> Flags:
        """An analyst looked at it and could decide."""
        found: Flags = (self.analyst != NONE) & (self.analyst != UNSURE)
        return found

    @property
    def is_fraud(self) -> Flags:
        """The last label says so, whoever gave it."""
        found: Flags = self.standing == FRAUD
        return found


_KINDS: Final = (
    np.float64, np.int8, np.int8, np.int8, np.int8, np.bool_, np.bool_, np.float64, np.float64,
    np.int16, np.int64, np.int64,
)  # fmt: skip


def join_labelled(parts: list[LabelledRows]) -> LabelledRows:
    """The rows of several, in order; none of none."""
    columns = zip(*parts, strict=True) if parts else [[] for _ in _KINDS]
    return LabelledRows(
        *(
            np.concatenate([np.empty(0, kind), *column])
            for kind, column in zip(_KINDS, columns, strict=True)
        )
    )
