"""Typed and bounded reading of a version's metadata, which is untrusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

LARGEST: Final = 1e15
"""A larger number is not a figure of a report."""

MOST_ITEMS: Final = 400
Point = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class View:
    """A value somewhere in the metadata.

    Every reader returns None, or an empty list, if the value is absent or is not what was asked
    for. None of them raises.
    """

    value: Any

    def at(self, *names: str) -> View:
        """The value under these keys."""
        value = self.value
        for name in names:
            value = value.get(name) if isinstance(value, Mapping) else None
        return View(value)

    def __bool__(self) -> bool:
        return self.value is not None

    def number(self, *names: str) -> float | None:
        """A finite number."""
        value = self.at(*names).value
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if -LARGEST < value < LARGEST else None

    def count(self, *names: str) -> int | None:
        """A whole number, zero or more."""
        value = self.number(*names)
        return int(value) if value is not None and value >= 0 and value.is_integer() else None

    def share(self, *names: str) -> float | None:
        """A number from 0 to 1."""
        value = self.number(*names)
        return value if value is not None and 0 <= value <= 1 else None

    def text(self, *names: str) -> str | None:
        """A text that is not empty."""
        value = self.at(*names).value
        return value if isinstance(value, str) and value else None

    def flag(self, *names: str) -> bool | None:
        """True or false."""
        value = self.at(*names).value
        return value if isinstance(value, bool) else None

    def interval(self, *names: str) -> tuple[float, float] | None:
        """Two finite numbers in order."""
        ends = [item.number() for item in self.items(*names)]
        if len(ends) != 2 or ends[0] is None or ends[1] is None or ends[0] > ends[1]:
            return None
        return ends[0], ends[1]

    def items(self, *names: str, most: int = MOST_ITEMS) -> list[View]:
        """The items of a list, at most ``most``."""
        value = self.at(*names).value
        return [View(item) for item in value[:most]] if isinstance(value, list | tuple) else []

    def entries(self, *names: str, most: int = MOST_ITEMS) -> list[tuple[str, View]]:
        """Keys and values of a mapping, at most ``most``."""
        value = self.at(*names).value
        if not isinstance(value, Mapping):
            return []
        return [(str(name), View(item)) for name, item in list(value.items())[:most]]

    def points(self, *names: str, width: int = 2, most: int = 1000) -> list[Point]:
        """Rows of ``width`` finite numbers; other rows are left out."""
        rows = []
        for item in self.items(*names, most=most):
            row = [part.number() for part in item.items()[:width]]
            known = tuple(part for part in row if part is not None)
            if len(known) == width and all(map(math.isfinite, known)):
                rows.append(known)
        return rows

    def texts(self, *names: str, most: int = MOST_ITEMS) -> list[str]:
        """The texts in a list."""
        found = (item.text() for item in self.items(*names, most=most))
        return [item for item in found if item is not None]
