"""Operations on number columns that learn nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from stream_scorer.features.interpreter import instructions as kinds
from stream_scorer.features.interpreter.assembler import Assembler
from stream_scorer.features.operations.base import Operation, numbers
from stream_scorer.features.operations.columns import Kind, describe_column


@dataclass(frozen=True)
class Copy(Operation):
    """Number columns, unchanged: every bit of them, NaN where missing.

    Trees do not change under a monotone transform of a feature, so there is no logarithm here.
    """

    OP: ClassVar[str] = "copy"
    KINDS: ClassVar[tuple[Kind, ...]] = (Kind.NUMBER,)

    def default_names(self) -> Sequence[str]:
        """The columns' own names."""
        return self.columns

    def describe(self, feature: int) -> str:
        """The column in words."""
        return describe_column(self.columns[feature])

    def assemble(self, table: Any, rows: int, out: int, to: Assembler) -> None:  # noqa: ARG002
        """Runs of columns."""
        to.copy(out, numbers(self.columns))


@dataclass(frozen=True)
class Difference(Operation):
    """The first column minus the second; NaN where either is missing."""

    OP: ClassVar[str] = "difference"
    KINDS: ClassVar[tuple[Kind, ...]] = (Kind.NUMBER,)
    COLUMNS: ClassVar[tuple[int, int]] = (2, 2)

    def default_names(self) -> Sequence[str]:
        """Such as ``D1_minus_D15``."""
        return ["_minus_".join(self.columns)]

    def describe(self, feature: int) -> str:  # noqa: ARG002
        """Both columns in words."""
        first, second = map(describe_column, self.columns)
        return f"{first} minus {second}"

    def assemble(self, table: Any, rows: int, out: int, to: Assembler) -> None:  # noqa: ARG002
        """One subtraction."""
        to.simple(kinds.DIFFERENCE, out, numbers(self.columns))


@dataclass(frozen=True)
class MinusDay(Operation):
    """Each column minus the day of the transaction, floor(TransactionDT / 86400).

    A column that counts days since an event grows each day; the difference is the event's own day
    (negative), which stays the same for a client. Source: the winning solution of the IEEE-CIS
    competition, which removed the growth of the D columns in the same way.
    """

    OP: ClassVar[str] = "minus_day"
    KINDS: ClassVar[tuple[Kind, ...]] = (Kind.NUMBER,)

    def default_names(self) -> Sequence[str]:
        """Such as ``D15_minus_day``."""
        return [f"{column}_minus_day" for column in self.columns]

    def describe(self, feature: int) -> str:
        """The column in words, and what is subtracted."""
        return f"{describe_column(self.columns[feature])} minus the day of the transaction"

    def assemble(self, table: Any, rows: int, out: int, to: Assembler) -> None:  # noqa: ARG002
        """One subtraction for each column."""
        to.minus_day(out, numbers(self.columns))


@dataclass(frozen=True)
class Cents(Operation):
    """The cents of an amount, rounded to whole cents: floor(100 x + 1/2) - 100 floor(x)."""

    OP: ClassVar[str] = "cents"
    KINDS: ClassVar[tuple[Kind, ...]] = (Kind.NUMBER,)
    COLUMNS: ClassVar[tuple[int, int]] = (1, 1)

    def default_names(self) -> Sequence[str]:
        """Such as ``TransactionAmt_cents``."""
        return [f"{self.columns[0]}_cents"]

    def describe(self, feature: int) -> str:  # noqa: ARG002
        """The column in words."""
        return f"cents of the {describe_column(self.columns[0])}"

    def assemble(self, table: Any, rows: int, out: int, to: Assembler) -> None:  # noqa: ARG002
        """One value."""
        to.simple(kinds.CENTS, out, numbers(self.columns))


@dataclass(frozen=True)
class CentFraction(Operation):
    """1 if an amount is more than 1/10,000 of a cent away from whole cents, else 0; 0 if missing.

    Amounts in other currencies, converted, have fractions of a cent. Source: published analyses of
    the data set, in which amounts of product C have three decimals.
    """

    OP: ClassVar[str] = "cent_fraction"
    KINDS: ClassVar[tuple[Kind, ...]] = (Kind.NUMBER,)
    COLUMNS: ClassVar[tuple[int, int]] = (1, 1)

    def default_names(self) -> Sequence[str]:
        """Such as ``TransactionAmt_has_fraction_of_cent``."""
        return [f"{self.columns[0]}_has_fraction_of_cent"]

    def describe(self, feature: int) -> str:  # noqa: ARG002
        """The column in words."""
        return f"whether the {describe_column(self.columns[0])} has a fraction of a cent"

    def assemble(self, table: Any, rows: int, out: int, to: Assembler) -> None:  # noqa: ARG002
        """One value."""
        to.simple(kinds.CENT_FRACTION, out, numbers(self.columns))
