"""One record of a card as plain data with names, for people."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.features.history.layout import RecordLayout
from stream_scorer.features.history.records import PartitionRecords
from stream_scorer.features.history.spec import HistorySpec, KeySpace

_PLACES: Final = 4  # of a set
_BITS: Final = 16  # of a place


@dataclass(frozen=True, slots=True)
class PastTransaction:
    """A transaction that a record remembers: its ``TransactionDT`` in seconds, and its amount."""

    time: int
    amount: float


@dataclass(frozen=True, slots=True)
class MeanValue:
    """The running mean of a column, and of how many values it is, up to 255."""

    mean: float
    values: int


@dataclass(frozen=True, slots=True)
class Decayed:
    """Transactions and their amount, each counting half as much after a time span.

    They are as of the last transaction of the record.
    """

    count: float
    amount: float


@dataclass(frozen=True, slots=True)
class CardRecord:
    """What is known about one key. Times are ``TransactionDT`` in seconds.

    Attributes:
        space: the key space.
        card: ``card1``.
        rest: a hash of the whole key; the other columns of a key are not stored.
        count: transactions so far.
        largest: the largest amount.
        deviation: standard deviation of the amounts.
        decayed: by half-life in seconds.
        means: by column; only those that have a value.
        lasts: the last value of a column; only those that have one.
        different: by column, how many different values there were; 4 means four or more. Values
            themselves are not stored.
        recent: the last transactions, newest first.
    """

    space: str
    card: int
    rest: int
    count: int
    first_time: int
    last_time: int
    last_transaction: int
    amount: float
    mean: float
    deviation: float
    largest: float
    decayed: dict[int, Decayed]
    means: dict[str, MeanValue]
    lasts: dict[str, float]
    different: dict[str, int]
    recent: list[PastTransaction]

    def as_json(self) -> dict[str, Any]:
        """As JSON; numbers that are not finite, which only a forged record has, become null."""
        return {
            "space": self.space,
            "card1": self.card,
            "key_hash": f"{self.rest:016x}",
            "transactions": self.count,
            "first_time": self.first_time,
            "last_time": self.last_time,
            "last_transaction_id": self.last_transaction,
            "amount": {
                "sum": self.amount,
                "mean": self.mean,
                "standard_deviation": self.deviation,
                "largest": self.largest,
            },
            "decayed": [
                {"half_life_seconds": seconds, "transactions": d.count, "amount": d.amount}
                for seconds, d in self.decayed.items()
            ],
            "means": {c: {"mean": m.mean, "values": m.values} for c, m in self.means.items()},
            "last_values": self.lasts,
            "different_values": self.different,
            "recent": [{"time": past.time, "amount": past.amount} for past in self.recent],
        }


def find_card(spec: HistorySpec, records: PartitionRecords, card: int) -> list[CardRecord]:
    """The records of a card in all key spaces; in each, the one that was used last comes first."""
    found = []
    for space in spec.spaces:
        words = records.spaces[space.name]
        own = [read_record(space, row) for row in words[words[:, 0].view(np.int64) == card]]
        found += sorted(own, key=lambda record: record.last_time, reverse=True)
    return found


def read_record(space: KeySpace, words: NDArray[np.uint64]) -> CardRecord:
    """A record; the words may be any: no content makes this fail.

    Args:
        space: the key space of the record.
        words: uint64 ``[space.width]``.
    """
    layout, row = space.layout, np.ascontiguousarray(words)
    doubles, floats, octets = row.view(np.float64), row.view(np.float32), row.view(np.uint8)
    count, amount, squares = int(row[2]), float(doubles[6]), float(doubles[7])
    mean = amount / max(count, 1)
    variance = squares / max(count, 1) - mean * mean
    values = [int(n) for n in octets[8 * layout.counts_at :][: len(layout.means)]]
    return CardRecord(
        space=space.name,
        card=int(row.view(np.int64)[0]),
        rest=int(row[1]),
        count=count,
        first_time=int(row[3]),
        last_time=int(row[4]),
        last_transaction=int(row.view(np.int64)[5]),
        amount=amount,
        mean=mean,
        deviation=math.sqrt(variance) if 0 < variance < math.inf else 0.0,
        largest=float(floats[16]),
        decayed={
            seconds: Decayed(float(doubles[9 + 2 * h]), float(doubles[10 + 2 * h]))
            for h, seconds in enumerate(layout.half_lives)
        },
        means={
            column: MeanValue(float(floats[2 * layout.means_at + m]), values[m])
            for m, column in enumerate(layout.means)
            if values[m]
        },
        lasts={
            column: float(value)
            for column, value in zip(layout.lasts, floats[2 * layout.lasts_at :], strict=False)
            if not math.isnan(value)
        },
        different={
            column: _places(int(row[layout.sets_at + s])) for s, column in enumerate(layout.sets)
        },
        recent=_recent(layout, count, row),
    )


def _places(word: int) -> int:
    return sum((word >> (_BITS * place)) & (2**_BITS - 1) != 0 for place in range(_PLACES))


def _recent(layout: RecordLayout, count: int, row: NDArray[np.uint64]) -> list[PastTransaction]:
    found = []
    for back in range(min(count, layout.ring)):
        at = layout.ring_at + (count - 1 - back) % layout.ring
        event = row[at : at + 1]
        found.append(
            PastTransaction(int(event.view(np.uint32)[0]), float(event.view(np.float32)[1]))
        )
    return found
