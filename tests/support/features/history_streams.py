"""Specs and streams for tests of card history, from whole numbers alone, and passes over them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch, build_batch
from schemas.contracts import NUMBER_INDEX
from stream_scorer.features.history.kinds import KINDS, Takes
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.records import PartitionRecords
from stream_scorer.features.history.spec import HistorySpec, read_space

Row = dict[str, Any]
Matrix = NDArray[np.float64]

DAY: Final = 86_400
HOUR: Final = 3_600
TEXTS: Final = ("gmail.com", "yahoo.com", "hotmail.com", "a", "", "abcdefgh", "mail.example.org")
NUMBERS: Final = (0.0, 1.0, 2.0, 3.0, 17.0, 0.5, -4.0, 117.25)


class Numbers:
    """Whole numbers that look random, the same everywhere (splitmix64)."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def below(self, n: int) -> int:
        """A number from 0 to ``n - 1``."""
        self._state = (self._state + 0x9E3779B97F4A7C15) % 2**64
        x = self._state
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return (x ^ (x >> 31)) % n

    def of(self, values: Sequence[Any]) -> Any:
        """One of some values."""
        return values[self.below(len(values))]


def features(kind: str, *columns: str, seconds: Sequence[int] = ()) -> dict[str, Any]:
    """Features of one kind, as a program has them."""
    plain: dict[str, Any] = {"kind": kind, "group": "past"}
    return (
        plain
        | ({"columns": list(columns)} if columns else {})
        | ({"seconds": list(seconds)} if seconds else {})
    )


def plain_space(name: str, key: Sequence[str], *listed: dict[str, Any], **fields: Any) -> Row:
    """A key space as a program has it."""
    base = {"space": name, "version": 1, "key": list(key), "ttl_days": 90, "ring": 4}
    return base | fields | {"features": list(listed)}


def make_spec(*spaces: Row) -> HistorySpec:
    return HistorySpec(tuple(read_space(space) for space in spaces))


ALONE: Final = [features(name) for name, kind in KINDS.items() if kind.takes is Takes.NOTHING]


@cache
def every_kind() -> HistorySpec:
    """Each kind of feature, several columns and time spans, and keys of numbers, text and a day."""
    return make_spec(
        plain_space(
            "client",
            ("card1", "addr1"),
            *ALONE,
            features("count_in", seconds=(HOUR, DAY, 7 * DAY)),
            features("amount_in", seconds=(DAY, 600)),
            features("decayed_count", seconds=(DAY, 7 * DAY)),
            features("decayed_amount", seconds=(7 * DAY, 5_000)),
            features("mean", "C1", "V45"),
            features("minus_mean", "V45", "D4", "TransactionAmt"),
            features("minus_last", "D15", "C1", "D10"),
            features("distinct", "id_31", "addr1", "C1"),
            features("is_new", "P_emaildomain", "id_31"),
            start_day="D1",
            ttl_days=3,
            ring=8,
        ),
        plain_space("mail", ("card1", "P_emaildomain"), *ALONE[:6], ttl_days=1),
        plain_space("card", ("card1",), features("mean", "D4"), ring=0, ttl_days=30),
    )


@cache
def wide() -> HistorySpec:
    """One space with many columns of each kind."""
    columns = [f"V{i}" for i in range(1, 38)]
    return make_spec(
        plain_space(
            "c",
            ("card1",),
            features("minus_mean", *columns),
            features("minus_last", *columns[:9]),
            features("is_new", *columns[:5], "DeviceInfo"),
            features("count"),
            features("decayed_amount", seconds=(1, 10**7)),
            features("amount_in", seconds=(366 * DAY,)),
            ring=32,
            ttl_days=400,
        )
    )


@cache
def count_alone() -> HistorySpec:
    """The smallest spec."""
    return make_spec(plain_space("card", ("card1",), features("count"), ring=0))


SPECS: Final = {"every kind": every_kind, "wide": wide, "count alone": count_alone}


def make_rows(
    n: int, seed: int = 1, cards: int = 40, seconds: int = 600, late: int = 5_000
) -> list[Row]:
    """Transactions of some cards: some late, repeated, or without parts of a key.

    Args:
        n: how many.
        seed: another stream for each.
        cards: how many cards; low ones are more frequent.
        seconds: the mean time between two transactions.
        late: a twentieth is up to this many seconds late.
    """
    draw, rows, clock = Numbers(seed), list[Row](), 10 * DAY
    for number in range(n):
        clock += draw.below(2 * seconds)
        card = 1000 + draw.below(1 + draw.below(cards))
        time = clock - (draw.below(late) if draw.below(20) == 0 else 0)
        row: Row = {
            "TransactionID": 10_000 + number,
            "TransactionDT": time,
            "TransactionAmt": draw.of((5.0, 59.0, (1 + draw.below(30_000)) / 100)),
            "card1": float(card),
            "addr1": None if card % 7 == 0 else float(card % 5),
            "D1": None if draw.below(15) == 0 else time // DAY - card % 3 + draw.below(2) / 2,
            "P_emaildomain": draw.of((*TEXTS, None)),
            "id_31": draw.of((*TEXTS, None)),
            "DeviceInfo": draw.of((*TEXTS[:3], None)),
        }
        for column in ("C1", "V45", "D4", "D10", "D15", *(f"V{i}" for i in range(1, 38))):
            row[column] = draw.of((*NUMBERS, None, None))
        if rows and draw.below(40) == 0:
            row = dict(rows[-1 - draw.below(min(3, len(rows)))])
        if draw.below(50) == 0:
            row["card1"] = draw.of((None, 0.5, 2.0**54, -7.0))
        rows.append(row)
    return rows


@cache
def make_stream(n: int, seed: int = 1, cards: int = 40, seconds: int = 600) -> TransactionBatch:
    """The same as a batch. Shared: nobody may write to it."""
    return build_batch(make_rows(n, seed, cards, seconds))


def every_row(n: int) -> NDArray[np.bool_]:
    return np.ones(n, np.bool_)


def some_rows(n: int, seed: int = 5) -> NDArray[np.bool_]:
    """Nineteen of twenty rows advance."""
    draw = Numbers(seed)
    return np.array([draw.below(20) > 0 for _ in range(n)])


def one_pass(
    spec: HistorySpec,
    batch: TransactionBatch,
    advances: NDArray[np.bool_] | None = None,
    max_keys: int = 2**30,
) -> tuple[Matrix, PartitionHistory]:
    """All rows in one step of one partition."""
    history = PartitionHistory(spec, max_keys)
    out = np.full((len(batch), len(spec.names)), 7.0)
    advances = every_row(len(batch)) if advances is None else advances
    history.settle(history.step(batch, np.arange(len(batch)), advances, out))
    return out, history


def passes_in(sizes: Iterable[int], n: int) -> list[NDArray[np.int64]]:
    """Rows 0 to ``n`` in runs of these sizes, which are repeated until all rows are in."""
    runs, first, listed = list[NDArray[np.int64]](), 0, list(sizes)
    while first < n:
        last = min(n, first + max(1, listed[len(runs) % len(listed)]))
        runs.append(np.arange(first, last))
        first = last
    return runs


def partition_of(batch: TransactionBatch, partitions: int) -> NDArray[np.int64]:
    """A partition for each row by its card, as a producer would choose one."""
    cards = np.nan_to_num(batch.numbers[:, NUMBER_INDEX["card1"]])
    return np.abs(cards).astype(np.int64) % partitions


def bits(values: Matrix) -> NDArray[np.uint64]:
    return values.view(np.uint64)


def differing(spec: HistorySpec, actual: Matrix, expected: Matrix) -> dict[str, int]:
    """Features that have other bits, and in how many rows."""
    wrong = (bits(actual) != bits(expected)).sum(axis=0)
    return {name: int(n) for name, n in zip(spec.names, wrong, strict=True) if n}


def same_records(a: PartitionRecords, b: PartitionRecords) -> bool:
    return (
        a.clock == b.clock
        and list(a.spaces) == list(b.spaces)
        and all(np.array_equal(a.spaces[name], b.spaces[name]) for name in a.spaces)
    )
