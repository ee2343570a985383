"""Every operation in plain Python, one row at a time: slow, and independent of the interpreter.

An operation's ``value`` is what it gives for a row after the rows that it has ``learned``. So a
training row's features are those before it was learned, and the served ones those after the last.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stream_scorer.features.operations import missing, numbers, shares, texts, times
from stream_scorer.features.operations.base import Operation
from stream_scorer.features.program import Program, parse_program

Row = Mapping[str, Any]
NAN = math.nan

EVERY_OPERATION = """
format = 1
name = "every-operation/1"
title = "Each operation at least once"

[[operation]]
op = "missing_count"
version = 1
group = "missing"
columns = ["TransactionAmt..DeviceInfo"]

[[operation]]
op = "copy"
version = 1
group = "amount"
columns = ["TransactionAmt", "card1..card3", "V3", "V1", "C1..C5", "id_01..id_03"]

[[operation]]
op = "share"
version = 1
group = "shares"
columns = ["card1", "P_emaildomain", "id_31", "V258", "addr1"]

[[operation]]
op = "code"
version = 1
group = "texts"
columns = ["DeviceInfo", "P_emaildomain", "R_emaildomain", "card4"]
min_count = 2

[[operation]]
op = "copy"
version = 1
group = "amount"
columns = ["V258"]
names = ["V258_again"]

[[operation]]
op = "share"
version = 1
group = "shares"
columns = ["P_emaildomain", "card4"]
names = ["P_emaildomain_share_again", "card4_share"]

[[operation]]
op = "level_code"
version = 1
group = "texts"
columns = ["card4", "M1"]
levels = ["T", "F", "visa", "", "é☃"]
names = ["card4_level", "M1"]

[[operation]]
op = "text_part"
version = 1
group = "parts"
columns = ["P_emaildomain", "R_emaildomain"]
separators = "."
part = "first"
min_count = 2

[[operation]]
op = "text_part"
version = 1
group = "parts"
columns = ["P_emaildomain", "DeviceInfo"]
separators = "./ 0123456789"
part = "last"
min_count = 1

[[operation]]
op = "pair_share"
version = 1
group = "shares"
columns = ["card1", "addr1"]

[[operation]]
op = "ratio_to_mean"
version = 1
group = "ratios"
columns = ["TransactionAmt", "card1"]
min_count = 2

[[operation]]
op = "ratio_to_mean"
version = 1
group = "ratios"
columns = ["V258", "addr1"]
min_count = 1

[[operation]]
op = "cents"
version = 1
group = "amount"
columns = ["TransactionAmt"]

[[operation]]
op = "cent_fraction"
version = 1
group = "amount"
columns = ["TransactionAmt"]

[[operation]]
op = "difference"
version = 1
group = "days"
columns = ["D1", "D15"]

[[operation]]
op = "minus_day"
version = 1
group = "days"
columns = ["D1..D3", "D15"]

[[operation]]
op = "hour"
version = 1
group = "time"

[[operation]]
op = "weekday"
version = 1
group = "time"

[[operation]]
op = "equal"
version = 1
group = "texts"
columns = ["P_emaildomain", "R_emaildomain"]

[[operation]]
op = "missing_count"
version = 1
group = "missing"
columns = ["C1..C4", "V1", "card4", "P_emaildomain"]
names = ["few_missing"]

[[operation]]
op = "missing_pattern"
version = 1
group = "missing"
columns = ["card1", "card4", "P_emaildomain", "addr1", "V258"]
min_count = 2

[[operation]]
op = "missing_pattern"
version = 1
group = "missing"
columns = ["D1", "V200..V325", "R_emaildomain"]
names = ["long_pattern"]
min_count = 1
"""


def every_operation() -> Program:
    """A program with each operation, several of them twice."""
    return parse_program(EVERY_OPERATION)


class Plain:
    """One operation."""

    def __init__(self, operation: Any) -> None:
        self.operation = operation
        self.columns: tuple[str, ...] = operation.columns

    def learn(self, row: Row) -> None:
        """Learn from a row; most operations learn nothing."""

    def values(self, row: Row) -> Sequence[float]:
        """The features of a row."""
        raise NotImplementedError


def number(row: Row, column: str) -> float:
    """A number column; NaN where missing."""
    value = row.get(column)
    return NAN if value is None else float(value)


class Copy(Plain):
    def values(self, row: Row) -> Sequence[float]:
        return [number(row, column) for column in self.columns]


class Vocabulary:
    """Codes in the order in which levels were seen often enough."""

    def __init__(self, min_count: int) -> None:
        self.min_count = min_count
        self.seen: Counter[str] = Counter()
        self.codes: dict[str, int] = {}

    def learn(self, level: str | None) -> None:
        if level is None or len(level.encode()) > 256:
            return
        self.seen[level] += 1
        if self.seen[level] == self.min_count:
            self.codes[level] = len(self.codes)

    def code(self, level: str | None) -> float:
        return NAN if level is None else float(self.codes.get(level, -1))


class Code(Plain):
    def __init__(self, operation: Any) -> None:
        super().__init__(operation)
        self.vocabularies = [Vocabulary(operation.min_count) for _ in self.columns]

    def text(self, row: Row, column: str) -> str | None:
        text: str | None = row.get(column)
        return text

    def learn(self, row: Row) -> None:
        for vocabulary, column in zip(self.vocabularies, self.columns, strict=True):
            vocabulary.learn(self.text(row, column))

    def values(self, row: Row) -> Sequence[float]:
        pairs = zip(self.vocabularies, self.columns, strict=True)
        return [vocabulary.code(self.text(row, column)) for vocabulary, column in pairs]


class TextPart(Code):
    def text(self, row: Row, column: str) -> str | None:
        text: str | None = row.get(column)
        if text is None:
            return None
        places = [i for i, c in enumerate(text) if c in self.operation.separators]
        if places and self.operation.part == "first":
            text = text[: places[0]]
        elif places:
            text = text[places[-1] + 1 :]
        return text.strip(" ")


class LevelCode(Plain):
    def values(self, row: Row) -> Sequence[float]:
        codes = {level: float(i) for i, level in enumerate(self.operation.levels)}
        levels = (row.get(column) for column in self.columns)
        return [NAN if level is None else codes.get(level, -1.0) for level in levels]


class Share(Plain):
    def __init__(self, operation: Any) -> None:
        super().__init__(operation)
        self.rows = 0
        self.seen: dict[str, Counter[Any]] = defaultdict(Counter)

    def learn(self, row: Row) -> None:
        self.rows += 1
        for column in self.columns:
            if not (isinstance(value := row.get(column), str) and len(value.encode()) > 256):
                self.seen[column][value] += 1

    def values(self, row: Row) -> Sequence[float]:
        return [self.share(column, row.get(column)) for column in self.columns]

    def share(self, key: str, value: Any) -> float:
        if value is None:
            return NAN
        return self.seen[key][value] / self.rows if self.rows else 0.0


class PairShare(Share):
    def pair(self, row: Row) -> tuple[float, ...] | None:
        pair = tuple(row.get(column) for column in self.columns)
        return None if None in pair else tuple(map(float, pair))  # type: ignore[arg-type]

    def learn(self, row: Row) -> None:
        self.rows += 1
        self.seen["pair"][self.pair(row)] += 1

    def values(self, row: Row) -> Sequence[float]:
        return [self.share("pair", self.pair(row))]


class RatioToMean(Plain):
    def __init__(self, operation: Any) -> None:
        super().__init__(operation)
        self.counts: Counter[float] = Counter()
        self.totals: dict[float, float] = defaultdict(float)

    def learn(self, row: Row) -> None:
        value, key = (number(row, column) for column in self.columns)
        if not math.isnan(value) and not math.isnan(key):
            self.counts[key] += 1
            self.totals[key] += value

    def values(self, row: Row) -> Sequence[float]:
        value, key = (number(row, column) for column in self.columns)
        if math.isnan(key) or self.counts[key] < self.operation.min_count:
            return [NAN]
        total = self.totals[key]
        if not 0 < total < math.inf:
            return [NAN]
        return [divide(value, total / self.counts[key])]


def divide(a: float, b: float) -> float:
    with np.errstate(all="ignore"):
        return float(np.float64(a) / np.float64(b))


class Cents(Plain):
    def values(self, row: Row) -> Sequence[float]:
        amount = np.float64(number(row, self.columns[0]))
        with np.errstate(all="ignore"):
            return [float(np.floor(amount * 100 + 0.5) - np.floor(amount) * 100)]


class CentFraction(Plain):
    def values(self, row: Row) -> Sequence[float]:
        amount = np.float64(number(row, self.columns[0]))
        with np.errstate(all="ignore"):
            return [float(abs(amount * 100 - np.floor(amount * 100 + 0.5)) > 1e-4)]


class Difference(Plain):
    def values(self, row: Row) -> Sequence[float]:
        first, second = (number(row, column) for column in self.columns)
        return [first - second]


class MinusDay(Plain):
    def values(self, row: Row) -> Sequence[float]:
        day = float(row["TransactionDT"] // 86_400)
        return [number(row, column) - day for column in self.columns]


class Hour(Plain):
    def values(self, row: Row) -> Sequence[float]:
        return [row["TransactionDT"] // 3600 % 24]


class Weekday(Plain):
    def values(self, row: Row) -> Sequence[float]:
        return [row["TransactionDT"] // 86_400 % 7]


class Equal(Plain):
    def values(self, row: Row) -> Sequence[float]:
        first, second = (row.get(column) for column in self.columns)
        return [NAN if first is None or second is None else float(first == second)]


class MissingCount(Plain):
    def values(self, row: Row) -> Sequence[float]:
        return [sum(row.get(column) is None for column in self.columns)]


class MissingPattern(Plain):
    def __init__(self, operation: Any) -> None:
        super().__init__(operation)
        self.vocabulary = Vocabulary(operation.min_count)

    def pattern(self, row: Row) -> str:
        return "".join("m" if row.get(column) is None else "." for column in self.columns)

    def learn(self, row: Row) -> None:
        self.vocabulary.learn(self.pattern(row))

    def values(self, row: Row) -> Sequence[float]:
        return [self.vocabulary.code(self.pattern(row))]


PLAIN: dict[type[Operation], type[Plain]] = {
    numbers.Copy: Copy,
    numbers.Difference: Difference,
    numbers.MinusDay: MinusDay,
    numbers.Cents: Cents,
    numbers.CentFraction: CentFraction,
    texts.Code: Code,
    texts.TextPart: TextPart,
    texts.LevelCode: LevelCode,
    texts.Equal: Equal,
    shares.Share: Share,
    shares.PairShare: PairShare,
    shares.RatioToMean: RatioToMean,
    times.Hour: Hour,
    times.Weekday: Weekday,
    missing.MissingCount: MissingCount,
    missing.MissingPattern: MissingPattern,
}


class PlainFeatures:
    """A program in plain Python."""

    def __init__(self, program: Program) -> None:
        self._operations = [PLAIN[type(operation)](operation) for operation in program.operations]

    def learn(self, row: Row) -> None:
        """Learn from one more training row."""
        for operation in self._operations:
            operation.learn(row)

    def values(self, row: Row) -> list[float]:
        """The features of a row, given the rows learned so far."""
        return [float(v) for operation in self._operations for v in operation.values(row)]

    def fit_transform(self, rows: Sequence[Row]) -> list[list[float]]:
        """Learn from rows; the features that each had before it was learned."""
        matrix = []
        for row in rows:
            matrix.append(self.values(row))
            self.learn(row)
        return matrix
