"""Which number columns a batch keeps, and where: a model that reads few needs no others stored.

A decoder validates every value whatever is kept: a record is accepted or rejected for its own
sake, never for the model's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from schemas.contracts import AMOUNT, CONTEXT_NUMBERS, NUMBER_COLUMNS, NUMBER_INDEX


class Layout:
    """Some of the number columns, side by side. Two layouts of the same columns are equal.

    ``width`` is the number of cells of a row: one for each kept column, and a last one into which
    a decoder writes whatever is not kept.

    Attributes:
        columns: the kept columns, in their order; the amount and those that a score's context
            shows are always among them.
        positions: uint32 ``[len(NUMBER_COLUMNS)]``, each column's cell.
    """

    __slots__ = ("columns", "positions")

    def __init__(self, columns: Iterable[str]) -> None:
        kept = dict.fromkeys((*columns, AMOUNT, *CONTEXT_NUMBERS))
        self.columns = tuple(kept)
        self.positions = np.full(len(NUMBER_COLUMNS), len(kept), np.uint32)
        for position, column in enumerate(kept):
            self.positions[NUMBER_INDEX[column]] = position
        self.positions.flags.writeable = False

    @property
    def width(self) -> int:
        """Cells of a row."""
        return len(self.columns) + 1

    @property
    def is_complete(self) -> bool:
        """Whether every column is kept, so that nothing is gained."""
        return len(self.columns) == len(NUMBER_COLUMNS)

    def at(self, column: int) -> int:
        """The cell of a kept column, given its index in ``NUMBER_COLUMNS``.

        Raises:
            KeyError: the column is not kept.
        """
        position = int(self.positions[column])
        if position == len(self.columns):
            raise KeyError(NUMBER_COLUMNS[column])
        return position

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and (other is self or other.columns == self.columns)

    def __hash__(self) -> int:
        return hash(self.columns)


def number_cells(layout: Layout | None, columns: Sequence[int]) -> list[int]:
    """The cells of number columns in a batch of this layout; None keeps every column in order."""
    return list(columns) if layout is None else [layout.at(column) for column in columns]
