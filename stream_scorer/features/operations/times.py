"""Operations on the time of the transaction, TransactionDT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from stream_scorer.features.interpreter import instructions as kinds
from stream_scorer.features.interpreter.assembler import Assembler
from stream_scorer.features.operations.base import Operation
from stream_scorer.features.operations.columns import Kind


@dataclass(frozen=True)
class Hour(Operation):
    """The hour of the day, 0 to 23: floor(TransactionDT / 3600) modulo 24."""

    OP: ClassVar[str] = "hour"
    KINDS: ClassVar[tuple[Kind, ...]] = ()
    COLUMNS: ClassVar[tuple[int, int]] = (0, 0)

    def default_names(self) -> Sequence[str]:
        """``hour``."""
        return ["hour"]

    def describe(self, feature: int) -> str:  # noqa: ARG002
        """What it is."""
        return "hour of the day"

    def assemble(self, table: Any, rows: int, out: int, to: Assembler) -> None:  # noqa: ARG002
        """One value."""
        to.simple(kinds.HOUR, out)


@dataclass(frozen=True)
class Weekday(Operation):
    """The day of the week, 0 to 6: floor(TransactionDT / 86400) modulo 7.

    Day 0 is the first day of the data set's clock, whatever weekday that was.
    """

    OP: ClassVar[str] = "weekday"
    KINDS: ClassVar[tuple[Kind, ...]] = ()
    COLUMNS: ClassVar[tuple[int, int]] = (0, 0)

    def default_names(self) -> Sequence[str]:
        """``weekday``."""
        return ["weekday"]

    def describe(self, feature: int) -> str:  # noqa: ARG002
        """What it is."""
        return "day of the week"

    def assemble(self, table: Any, rows: int, out: int, to: Assembler) -> None:  # noqa: ARG002
        """One value."""
        to.simple(kinds.WEEKDAY, out)
