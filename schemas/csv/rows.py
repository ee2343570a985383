"""Rows of a file, and where they are in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FileRows:
    """A record batch with the known column names, and where its rows are in the file.

    Attributes:
        batch: the columns.
        name: the file, for messages.
        first_row: 0 for the first row of the file; a CSV's header is none.
        number_of: the number that people know a row of the file by.
        unit: what that number counts: ``line`` or ``row``.
    """

    batch: Any
    name: str
    first_row: int
    number_of: Callable[[int], int]
    unit: str = "line"

    def number(self, row: int) -> int:
        """The number of a row of the batch; of a CSV, the line that it begins at."""
        return self.number_of(self.first_row + row)

    def at(self, row: int, column: str) -> str:
        """The beginning of a message about one cell."""
        return f"{self.name}, {self.unit} {self.number(row)}, column {column}"

    def slice(self, start: int, size: int) -> FileRows:
        """At most ``size`` rows from ``start`` on."""
        return FileRows(
            self.batch.slice(start, size),
            self.name,
            self.first_row + start,
            self.number_of,
            self.unit,
        )
