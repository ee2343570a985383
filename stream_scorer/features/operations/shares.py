"""Operations that count or average over the training rows: shares, and ratios to a mean.

Fitted on all rows at once, such a table would count the row itself and later rows, which no stream
can. So a training row gets what the rows before it give, and the table after the last row is
served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.contracts import NUMBER_INDEX, TEXT_INDEX
from stream_scorer.features.interpreter.assembler import Assembler
from stream_scorer.features.interpreter.tables import NumberTable
from stream_scorer.features.operations.base import MAX_MIN_COUNT, Learned, Operation, numbers
from stream_scorer.features.operations.columns import Kind, describe_column, kind_of
from stream_scorer.features.operations.keys import (
    column_text_keys,
    learn_shares,
    number_keys,
    pair_keys,
)
from stream_scorer.features.operations.loops import earlier_ratios
from stream_scorer.features.operations.reading import (
    Budget,
    Fields,
    check_counts,
    check_dict,
    check_levels,
    check_list,
    check_numbers,
)


@dataclass(frozen=True)
class Share(Operation):
    """The share of training rows with the same text or number, for each column.

    For a training row: the rows before it with the same value, divided by the number of rows
    before it; 0 in the first row. 0 for a value that was never seen, NaN where it is missing.
    A string of more than 256 bytes counts as never seen. -0.0 and 0.0 are the same number.
    """

    OP: ClassVar[str] = "share"
    KINDS: ClassVar[tuple[Kind, ...]] = (Kind.NUMBER, Kind.TEXT)
    IS_FITTED: ClassVar[bool] = True

    def default_names(self) -> Sequence[str]:
        """Such as ``card1_share``."""
        return [f"{column}_share" for column in self.columns]

    def describe(self, feature: int) -> str:
        """The column in words."""
        return f"share of transactions with the same {describe_column(self.columns[feature])}"

    def fit(self, batch: TransactionBatch) -> Learned:
        """Values or levels of each column, with their counts."""
        table: list[dict[str, Any]] = []
        values = np.empty((len(batch), len(self.columns)))
        for i, column in enumerate(self.columns):
            if kind_of(column) is Kind.TEXT:
                keys, levels = column_text_keys(batch, TEXT_INDEX[column])
                counts, values[:, i] = learn_shares(keys, len(levels))
                table.append({"levels": levels, "counts": counts.tolist()})
            else:
                keys, found = number_keys(batch.numbers[:, NUMBER_INDEX[column]])
                counts, values[:, i] = learn_shares(keys, len(found))
                table.append({"values": found.tolist(), "counts": counts.tolist()})
        return Learned(table, values)

    def check_table(self, table: Any, rows: int, budget: Budget) -> None:
        """Levels or values with counts, for each column."""
        for column, part in zip(self.columns, check_list(table, len(self.columns)), strict=True):
            is_text = kind_of(column) is Kind.TEXT
            part = check_dict(part, ("levels" if is_text else "values", "counts"))
            if is_text:
                length = len(check_levels(part["levels"], budget))
            else:
                length = len(_distinct(check_numbers(part["values"], None, budget)))
            check_counts(part["counts"], length, rows, budget)

    def assemble(self, table: Any, rows: int, out: int, to: Assembler) -> None:
        """A look-up for each column; a text's is that of its code, if it has one."""
        numbered: list[tuple[int, str, NumberTable]] = []
        for i, (column, part) in enumerate(zip(self.columns, table, strict=True)):
            if kind_of(column) is Kind.TEXT:
                pairs = zip(part["levels"], part["counts"], strict=True)
                shares = {level: count / rows for level, count in pairs}
                to.text_share(out + i, TEXT_INDEX[column], shares)
                continue
            of_column = _number_table(part["values"], None, part["counts"], rows)
            if numbered and numbered[-1][0] != out + i - 1:
                _emit(numbered, to)
            numbered.append((out + i, column, of_column))
        _emit(numbered, to)


def _emit(numbered: list[tuple[int, str, NumberTable]], to: Assembler) -> None:
    if numbered:
        columns = numbers([column for _, column, _ in numbered])
        to.number_shares(numbered[0][0], columns, [table for _, _, table in numbered])
    numbered.clear()


@dataclass(frozen=True)
class PairShare(Operation):
    """The share of training rows with the same pair of numbers; NaN where either is missing.

    Otherwise as ``share``.
    """

    OP: ClassVar[str] = "pair_share"
    KINDS: ClassVar[tuple[Kind, ...]] = (Kind.NUMBER,)
    COLUMNS: ClassVar[tuple[int, int]] = (2, 2)
    IS_FITTED: ClassVar[bool] = True

    def default_names(self) -> Sequence[str]:
        """Such as ``card1_addr1_share``."""
        return ["_".join((*self.columns, "share"))]

    def describe(self, feature: int) -> str:  # noqa: ARG002
        """Both columns in words."""
        first, second = map(describe_column, self.columns)
        return f"share of transactions with the same {first} and {second}"

    def fit(self, batch: TransactionBatch) -> Learned:
        """Pairs with their counts."""
        first, second = (batch.numbers[:, column] for column in numbers(self.columns))
        keys, firsts, seconds = pair_keys(first, second)
        counts, values = learn_shares(keys, len(firsts))
        table = {
            "first": firsts.tolist(),
            "second": seconds.tolist(),
            "counts": counts.tolist(),
        }
        return Learned(table, values[:, np.newaxis])

    def check_table(self, table: Any, rows: int, budget: Budget) -> None:
        """Two columns of numbers, with counts."""
        table = check_dict(table, ("first", "second", "counts"))
        first = check_numbers(table["first"], None, budget)
        second = check_numbers(table["second"], len(first), budget)
        pairs = zip((first + 0.0).tolist(), (second + 0.0).tolist(), strict=True)
        if len(set(pairs)) != len(first):
            raise ValueError("a pair of numbers occurs twice")
        check_counts(table["counts"], len(first), rows, budget)

    def assemble(self, table: Any, rows: int, out: int, to: Assembler) -> None:
        """One look-up."""
        first, second = numbers(self.columns)
        pairs = _number_table(table["first"], table["second"], table["counts"], rows)
        to.pair_share(out, first, second, pairs)


@dataclass(frozen=True)
class RatioToMean(Operation):
    """The first column divided by its mean over training rows with the same second column.

    For a training row: the mean over the rows before it. NaN where either is missing, where fewer
    than ``min_count`` rows have the key, and where the mean is not positive. The sum is taken in
    the order of the rows.
    """

    OP: ClassVar[str] = "ratio_to_mean"
    KINDS: ClassVar[tuple[Kind, ...]] = (Kind.NUMBER,)
    COLUMNS: ClassVar[tuple[int, int]] = (2, 2)
    IS_FITTED: ClassVar[bool] = True

    min_count: int

    @classmethod
    def read_own(cls, source: Fields) -> dict[str, Any]:
        """How many rows a mean needs."""
        return {"min_count": source.integer("min_count", 1, MAX_MIN_COUNT)}

    def default_names(self) -> Sequence[str]:
        """Such as ``TransactionAmt_to_card1_mean``."""
        return ["{}_to_{}_mean".format(*self.columns)]

    def describe(self, feature: int) -> str:  # noqa: ARG002
        """Both columns in words."""
        value, key = map(describe_column, self.columns)
        return f"{value}, divided by its mean for the same {key}"

    def fit(self, batch: TransactionBatch) -> Learned:
        """Keys with their means."""
        column, key = numbers(self.columns)
        keys, found = number_keys(batch.numbers[:, key])
        amounts = np.ascontiguousarray(batch.numbers[:, column])
        counts, totals = np.zeros(len(found), np.int64), np.zeros(len(found))
        values = np.empty((len(batch), 1))
        earlier_ratios(keys, amounts, self.min_count, counts, totals, values[:, 0])
        enough = (counts >= self.min_count) & (totals > 0) & np.isfinite(totals)
        means = totals[enough] / counts[enough]
        return Learned({"values": found[enough].tolist(), "means": means.tolist()}, values)

    def check_table(self, table: Any, rows: int, budget: Budget) -> None:  # noqa: ARG002
        """Keys, with positive means."""
        table = check_dict(table, ("values", "means"))
        keys = _distinct(check_numbers(table["values"], None, budget))
        if not (check_numbers(table["means"], len(keys), budget) > 0).all():
            raise ValueError("a mean is not positive")

    def assemble(self, table: Any, rows: int, out: int, to: Assembler) -> None:  # noqa: ARG002
        """One look-up and a division."""
        column, key = numbers(self.columns)
        keys = _words(table["values"])
        means = np.array(table["means"], np.float64)
        to.ratio(out, column, key, NumberTable(keys, np.zeros_like(keys), means, np.nan))


def _distinct(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(np.unique(values)) != len(values):
        raise ValueError("a number occurs twice in a table")
    return values


def _words(values: Sequence[float]) -> NDArray[np.uint64]:
    return (np.array(values, np.float64) + 0.0).view(np.uint64)


def _number_table(
    first: Sequence[float], second: Sequence[float] | None, counts: Sequence[int], rows: int
) -> NumberTable:
    """Shares by one or two numbers."""
    words = _words(first)
    others = np.zeros_like(words) if second is None else _words(second)
    return NumberTable(words, others, np.array(counts, np.float64) / max(rows, 1), 0.0)
