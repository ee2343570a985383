"""Card history in plain Python, over lists of earlier rows: slow, obvious, and independent of the
compiled loops.

Everything is computed from the list of a key's earlier rows, which are kept as they came.
Numbers are added in the order of the rows, so that all but the decayed sums agree to the last bit.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

from stream_scorer.features.history.spec import HistorySpec, KeySpace

Row = Mapping[str, Any]

DAY: Final = 86_400
NAN: Final = math.nan
TIMES: Final = ("age", "gap", "gap_before", "gap_ratio")
DECAYED: Final = ("decayed_count", "decayed_amount")


def float32(value: float) -> float:
    """The nearest float32."""
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded


def clean(value: float) -> float:
    """0 for a number that is almost 0."""
    return 0.0 if abs(value) < 1e-30 else value


def amount_of(row: Row) -> float:
    return clean(min(max(float(row["TransactionAmt"]), -1e15), 1e15))


def usable(row: Row, column: str) -> float | None:
    """A value that is remembered: not missing and not absurd."""
    value = row.get(column)
    return None if value is None or abs(value) > 1e30 else clean(float(value))


def power(exponent: float) -> float:
    return 2.0**exponent if exponent > -512 else 0.0


class PlainKey:
    """The earlier rows of one key."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    @property
    def last(self) -> int:
        times: list[int] = [row["TransactionDT"] for row in self.rows]
        return max(times)

    def decayed(self, time: int, half_life: int, *, amounts: bool) -> float:
        """Each row counts half as much for each half-life that the key's last time moved since."""
        total, so_far = 0.0, 0
        for row in self.rows:
            so_far = max(so_far, row["TransactionDT"])
            weight = power(-(max(time, self.last) - so_far) / half_life)
            total += (amount_of(row) if amounts else 1.0) * weight
        return total

    def squares(self) -> float:
        """Sum of the squared amounts."""
        total = 0.0
        for row in self.rows:
            total += amount_of(row) * amount_of(row)
        return total

    def variance(self, mean: float) -> float:
        """Of the amounts, given their mean."""
        return self.squares() / len(self.rows) - mean * mean

    def mean(self, column: str) -> float:
        """Of all values so far; after 255, the newest counts for one in 255."""
        mean, n = 0.0, 0
        for row in self.rows:
            if (value := usable(row, column)) is not None:
                n = min(n + 1, 255)
                mean = clean(float32(clean(mean + (value - mean) / n)))
        return mean if n else NAN

    def last_value(self, column: str) -> float:
        values = [usable(row, column) for row in self.rows]
        found = [value for value in values if value is not None]
        return float32(found[-1]) if found else NAN

    def known(self, column: str) -> list[Any]:
        """The first four different values."""
        values = [row.get(column) for row in self.rows]
        return list(dict.fromkeys(v for v in values if v is not None))[:4]


class PlainSpace:
    """One key space."""

    def __init__(self, space: KeySpace, max_keys: int, new_key: type[PlainKey]) -> None:
        self.new_key = new_key
        self.space = space
        self.max_keys = max_keys
        self.keys: dict[Hashable, PlainKey] = {}

    def key_of(self, row: Row) -> Hashable | None:
        key = [row.get(column) for column in self.space.key]
        if self.space.start_day is not None:
            days = row.get(self.space.start_day)
            if days is None or abs(days) > 2**53:
                return None
            key.append(row["TransactionDT"] // DAY - math.floor(days))
        return tuple(key)

    def known(self, key: Hashable, time: int) -> PlainKey | None:
        """What is known of a key, unless it was unused for too long."""
        found = self.keys.get(key)
        if found is None or found.last < (time // DAY - self.space.ttl_days) * DAY:
            return None
        return found

    def values(self, row: Row) -> list[float]:
        key = self.key_of(row)
        if key is None:
            return [NAN] * len(self.space.named)
        known = self.known(key, row["TransactionDT"])
        if known is None:
            return [0.0 if features.kind == "count" else NAN for _, features, _ in self.space.named]
        return [
            value_of(self.space, known, row, features.kind, operand)
            for _, features, operand in self.space.named
        ]

    def learn(self, row: Row, clock: int) -> None:
        key = self.key_of(row)
        if key is None:
            return
        known = self.known(key, row["TransactionDT"])
        if known is not None and known.rows[-1]["TransactionID"] == row["TransactionID"]:
            return
        if key not in self.keys and len(self.keys) >= self.max_keys:
            self.make_room(clock)
        if known is None:
            known = self.keys[key] = self.new_key()
        known.rows.append(row)

    def make_room(self, clock: int) -> None:
        seconds = self.space.ttl_days * DAY
        while len(self.keys) > self.max_keys * 3 // 4:
            seconds //= 2
            self.forget(clock - seconds if seconds else 2**33)

    def forget(self, time: int) -> None:
        self.keys = {key: known for key, known in self.keys.items() if known.last >= time}


class PlainHistory:
    """All key spaces of one partition."""

    def __init__(
        self,
        spec: HistorySpec,
        max_keys: int = 2**30,
        as_of: int = -1,
        new_key: type[PlainKey] = PlainKey,
    ) -> None:
        self.spaces = [PlainSpace(space, max_keys, new_key) for space in spec.spaces]
        self.n_features = len(spec.names)
        self.as_of = as_of
        self.clock = -1
        self.forgets = True

    def advance(self, row: Row, *, advances: bool = True) -> list[float]:
        """The features of a row, and then the row is one of the earlier ones."""
        if not is_usable(row):
            return [NAN] * self.n_features
        advances = advances and row["TransactionDT"] > self.as_of
        if advances:
            self.move_clock(row["TransactionDT"])
        values = [value for space in self.spaces for value in space.values(row)]
        if advances:
            for space in self.spaces:
                space.learn(row, self.clock)
        return values

    def move_clock(self, time: int) -> None:
        before = self.clock
        self.clock = time if before < 0 else min(max(before, time), before + 3600)
        if self.forgets and before >= 0 and self.clock // DAY != before // DAY:
            for space in self.spaces:
                space.forget((self.clock // DAY - space.space.ttl_days - 7) * DAY)


def is_usable(row: Row) -> bool:
    """Whether a row has a card, a time and an amount."""
    card = row.get("card1")
    is_card = card is not None and abs(card) <= 2**53 and card == math.floor(card)
    return is_card and 0 <= row["TransactionDT"] < 2**32 and row.get("TransactionAmt") is not None


def plain_features(
    spec: HistorySpec,
    rows: Sequence[Row],
    advances: Sequence[bool] | None = None,
    max_keys: int = 2**30,
    as_of: int = -1,
) -> list[list[float]]:
    """The features of rows in their order, each from the rows before it."""
    history = PlainHistory(spec, max_keys, as_of)
    flags = [True] * len(rows) if advances is None else advances
    return [history.advance(row, advances=f) for row, f in zip(rows, flags, strict=True)]


def divide(a: float, b: float) -> float:
    """NaN instead of an infinity."""
    return a / b if b and abs(a / b) < math.inf else NAN


def value_of(space: KeySpace, known: PlainKey, row: Row, kind: str, operand: Any) -> float:
    """One feature."""
    if isinstance(operand, str):
        return value_of_column(known, row, kind, operand)
    time = row["TransactionDT"]
    if kind in DECAYED:
        return known.decayed(time, operand, amounts=kind == "decayed_amount")
    ring = known.rows[-space.ring :] if space.ring else []
    if kind in ("count_in", "amount_in"):
        inside = [e for e in reversed(ring) if abs(time - e["TransactionDT"]) <= operand]
        return float(len(inside)) if kind == "count_in" else add(inside)
    same = sum(float32(amount_of(e)) == float32(amount_of(row)) for e in ring)
    if kind == "same_amount":
        return float(same)
    if kind == "same_amount_share":
        return same / len(ring)
    if kind == "count":
        return float(min(len(known.rows), 64))
    return (value_of_time if kind in TIMES else value_of_amount)(known, row, kind)


def value_of_time(known: PlainKey, row: Row, kind: str) -> float:
    """Age and gaps."""
    rows, time = known.rows, row["TransactionDT"]
    n, first, last = len(rows), rows[0]["TransactionDT"], known.last
    gap = max(time - last, 0)
    if kind == "age":
        return float(min(max(time - first, 0), 90 * DAY))
    if kind == "gap":
        return float(gap)
    if kind == "gap_before":
        return float(max(time - rows[-2]["TransactionDT"], 0)) if n > 1 else NAN
    return gap / ((last - first) / (n - 1)) if n > 1 and last > first else NAN


def value_of_amount(known: PlainKey, row: Row, kind: str) -> float:
    """The amount beside earlier ones."""
    amount, n = amount_of(row), len(known.rows)
    total = 0.0
    for earlier in known.rows:
        total += amount_of(earlier)
    mean = total / n
    if kind == "mean_amount":
        return mean
    if kind == "amount_ratio":
        return divide(amount, mean)
    if kind == "max_ratio":
        return divide(amount, max(float32(amount_of(earlier)) for earlier in known.rows))
    variance = known.variance(mean)
    is_spread = variance > 1e-9 * (mean * mean)
    return divide(amount - mean, math.sqrt(variance)) if is_spread else NAN


def value_of_column(known: PlainKey, row: Row, kind: str, column: str) -> float:
    """A column beside its earlier values."""
    value = row.get(column)
    if kind == "distinct":
        return float(len(known.known(column)))
    if kind == "is_new":
        return NAN if value is None else float(value not in known.known(column))
    if kind == "mean":
        return known.mean(column)
    before = known.mean(column) if kind == "minus_mean" else known.last_value(column)
    return NAN if value is None else float(value) - before


def add(rows: Sequence[Row]) -> float:
    """The amounts as they are remembered, the newest first."""
    total = 0.0
    for row in rows:
        total += float32(amount_of(row))
    return total
