"""The two sides of a comparison of card histories: the transactions of a file, and of the topic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.contracts import NUMBER_INDEX, TEXT_INDEX, TIME
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.records import PartitionRecords
from stream_scorer.features.history.spec import CARD, HistorySpec

FILE: Final = "the file"
TOPIC: Final = "the topic"

_PRIME: Final = np.uint64(0x9FB21C651E98DF25)
_SHIFT: Final = np.uint64(32)
_START: Final = np.uint64(0x9E3779B97F4A7C15)
BLOCK_ROWS: Final = 20_000
"""Rows whose features are in memory at once."""

_MOST_EXACT: Final = 2.0**53

Bits = NDArray[np.uint64]
Places = NDArray[np.int64]
Value = str | float | int | None


def digest(values: NDArray[np.float64]) -> Bits:
    """64 bits for each row of features."""
    bits = np.ascontiguousarray(values).view(np.uint64)
    found = np.full(len(values), _START)
    with np.errstate(over="ignore"):
        for column in range(bits.shape[1]):
            found = (found ^ bits[:, column]) * _PRIME
            found ^= found >> _SHIFT
    return found


class Start(NamedTuple):
    """The histories with which both sides begin.

    Attributes:
        records: of all cards; None: none.
        as_of: transactions up to this time are in the records, and do not advance them.
    """

    records: PartitionRecords | None = None
    as_of: int = -1

    def history(self, spec: HistorySpec, cards: NDArray[np.float64]) -> PartitionHistory:
        """The histories of some cards, which are all that their features depend on."""
        if self.records is None:
            return PartitionHistory(spec, as_of=self.as_of)
        whole = np.unique(cards[np.abs(cards) <= _MOST_EXACT]).astype(np.int64)
        spaces = {
            name: words[np.isin(words[:, 0].view(np.int64), whole)]
            for name, words in self.records.spaces.items()
        }
        records = PartitionRecords(self.records.clock, spaces)
        return PartitionHistory.restore(spec, records, as_of=self.as_of)


def side_of(
    name: str,
    batch: TransactionBatch,
    advances: NDArray[np.bool_],
    partitions: Places,
    spec: HistorySpec,
    start: Start,
    place: Callable[[int], str],
) -> Side:
    """The features of all transactions, each from the earlier ones of its partition."""
    digests = np.empty(len(batch), np.uint64)
    cards = number_column(batch, CARD)
    for partition in np.unique(partitions):
        mine = np.flatnonzero(partitions == partition)
        history = start.history(spec, cards[mine])
        for first in range(0, len(mine), BLOCK_ROWS):
            rows = mine[first : first + BLOCK_ROWS]
            some = batch.take(rows)
            out = np.empty((len(rows), len(spec.names)))
            history.settle(history.step(some, np.arange(len(rows)), advances[rows], out))
            digests[rows] = digest(out)
    return Side(name, batch, advances, partitions, digests, place)


def number_column(batch: TransactionBatch, column: str) -> NDArray[np.float64]:
    """All values of a number column."""
    layout, index = batch.layout, NUMBER_INDEX[column]
    values: NDArray[np.float64] = batch.numbers[:, index if layout is None else layout.at(index)]
    return values


@dataclass(frozen=True, slots=True)
class Side:
    """Transactions in the order in which they advance histories.

    Attributes:
        name: ``the file`` or ``the topic``.
        batch: with the columns that the spec reads.
        advances: bool ``[n]``; a redriven input that was accepted the first time does not advance.
        partitions: int64 ``[n]``; the order of two transactions counts within one partition.
        digests: uint64 ``[n]``, of the features.
        place: where a row is, for people.
    """

    name: str
    batch: TransactionBatch
    advances: NDArray[np.bool_]
    partitions: Places
    digests: Bits
    place: Callable[[int], str]

    def first_rows(self) -> tuple[Places, Places]:
        """Each ``TransactionID`` once, ascending, and its first row; one that advances if any."""
        order = np.argsort(~self.advances, kind="stable")
        ids, at = np.unique(self.batch.ids[order], return_index=True)
        return ids, order[at]

    def numbers(self, column: str) -> NDArray[np.float64]:
        """All values of a number column."""
        return number_column(self.batch, column)

    def value(self, row: int, column: str) -> Value:
        """The value of any column; None if it is missing."""
        if column == TIME:
            return int(self.batch.times[row])
        if column in TEXT_INDEX:
            return self.batch.string(row, TEXT_INDEX[column])
        number = float(self.numbers(column)[row])
        return None if number != number else number

    def of_card(self, row: int) -> Places:
        """The rows of a transaction's card in its partition, up to that transaction."""
        cards = self.numbers(CARD)
        of_card = (cards == cards[row]) & (self.partitions == self.partitions[row])
        of_card[row + 1 :] = False
        found: Places = np.flatnonzero(of_card)
        return found

    def features(self, spec: HistorySpec, start: Start, row: int) -> NDArray[np.float64]:
        """The features of one transaction, from the earlier ones of its card."""
        rows = self.of_card(row)
        if not len(rows):  # it has no card
            return np.full(len(spec.names), np.nan)
        alone, advances = self.batch.take(rows), self.advances[rows]
        history = start.history(spec, self.numbers(CARD)[row : row + 1])
        out = np.empty((len(rows), len(spec.names)))
        history.settle(history.step(alone, np.arange(len(rows)), advances, out))
        found: NDArray[np.float64] = out[-1]
        return found
