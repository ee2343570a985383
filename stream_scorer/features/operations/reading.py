"""Reads an operation's fields and its table from plain data that anyone may have written."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.features.interpreter.tables import MAX_LEVEL_BYTES

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}")
"""Of features and groups: LightGBM's model text separates names by spaces."""

MAX_LISTED: Final = 2048
"""Items of a list in one operation."""

_SHOWN: Final = 80
_MAX_TEXT: Final = 4096


class FieldFault(ValueError):
    """A field that cannot be used. ``value`` is the item at fault, if the field is a list."""

    def __init__(self, field_name: str, why: str, value: object = None) -> None:
        super().__init__(f"{field_name}: {why}")
        self.field_name = field_name
        self.value = value


def shown(value: object) -> str:
    """A value for a message; a long one is truncated, and nothing in it is interpreted."""
    text = repr(value) if isinstance(value, str | int | float | bool) else type(value).__name__
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


class Fields:
    """The fields of an operation or of another table; each is read once, none may be left over."""

    def __init__(self, fields: dict[str, Any], what: str = "this operation") -> None:
        self._fields = dict(fields)
        self._what = what

    def take(self, name: str) -> Any:
        """The value of a field, of any type; None if it is absent."""
        return self._fields.pop(name, None)

    def text(self, name: str) -> str:
        """A short text."""
        value = self.take(name)
        if value is None:
            raise FieldFault(name, "is missing")
        if type(value) is not str or len(value) > _MAX_TEXT:
            raise FieldFault(name, f"must be text, not {shown(value)}")
        return value

    def name(self, name: str) -> str:
        """A text of ASCII characters from A to z, 0 to 9, and ``_``."""
        return check_name(name, self.text(name))

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of some texts."""
        value = self.text(name)
        if value not in choices:
            raise FieldFault(name, f"must be {' or '.join(choices)}, not {shown(value)}")
        return value

    def integer(self, name: str, least: int, most: int) -> int:
        """A whole number."""
        value = self.take(name)
        if value is None:
            raise FieldFault(name, "is missing")
        if type(value) is not int or not least <= value <= most:
            must = f"must be a whole number from {least} to {most}"
            raise FieldFault(name, f"{must}, not {shown(value)}")
        return value

    def texts(self, name: str, *, required: bool = True) -> list[str] | None:
        """A list of short texts."""
        value = self.take(name)
        if value is None and not required:
            return None
        if type(value) is not list or not 0 < len(value) <= MAX_LISTED:
            found = f"a list of {len(value)}" if type(value) is list else shown(value)
            raise FieldFault(name, f"must be a list of 1 to {MAX_LISTED} texts, not {found}")
        for item in value:
            if type(item) is not str or len(item) > _MAX_TEXT:
                raise FieldFault(name, f"contains {shown(item)}, which is not a text", item)
        return value

    def finish(self) -> None:
        """Check that all fields were read."""
        for name in self._fields:
            raise FieldFault(shown(name), f"is not a field of {self._what}")


def check_name(field_name: str, value: str) -> str:
    """A name of characters from A to z, 0 to 9, and ``_``, the first from A to z.

    Raises:
        FieldFault: it has other characters.
    """
    if not NAME.fullmatch(value):
        rule = "must begin with A to z, and have up to 80 characters A to z, 0 to 9 and _"
        raise FieldFault(field_name, f"{shown(value)} {rule}", value)
    return value


@dataclass(slots=True)
class Budget:
    """What all tables of a program may hold together; a list that is shared counts each time."""

    max_entries: int = 1_000_000
    """About 200 bytes each; 100,000 are usual."""
    max_characters: int = 64 * 1024 * 1024
    """Of all levels."""
    entries: int = field(default=0, init=False)
    characters: int = field(default=0, init=False)

    def use(self, entries: int, characters: int = 0) -> None:
        """Count what a table is about to hold.

        Raises:
            ValueError: it is too much.
        """
        self.entries += entries
        self.characters += characters
        if self.entries > self.max_entries:
            raise ValueError(f"more than {self.max_entries} levels and counts")
        if self.characters > self.max_characters:
            raise ValueError(f"levels with more than {self.max_characters} characters")


def check_list(value: object, length: int | None = None) -> list[Any]:
    """A list, of this length if one is given.

    Raises:
        ValueError: it is not.
    """
    if type(value) is not list:
        raise ValueError(f"a table's part must be a list, not {type(value).__name__}")
    if length is not None and len(value) != length:
        raise ValueError(f"a table has {len(value)} items where it needs {length}")
    return value


def check_dict(value: object, keys: Sequence[str]) -> dict[str, Any]:
    """A dictionary with exactly these keys.

    Raises:
        ValueError: it is not.
    """
    if type(value) is not dict or value.keys() != set(keys):
        raise ValueError(f"a table must have exactly {', '.join(keys)}")
    return value


def check_levels(value: object, budget: Budget) -> list[str]:
    """Distinct texts that a record can contain.

    Raises:
        ValueError: they are not, or too large.
    """
    levels = check_list(value)
    budget.use(len(levels))
    for level in levels:
        if type(level) is not str:
            raise ValueError(f"a level is {shown(level)}, not a text")
    budget.use(0, sum(map(len, levels)))
    # A lone surrogate cannot be encoded, which is a ValueError too.
    if any(len(level.encode("utf-8")) > MAX_LEVEL_BYTES for level in levels):
        raise ValueError(f"a level is longer than {MAX_LEVEL_BYTES} bytes")
    if len(set(levels)) != len(levels):
        raise ValueError("a level occurs twice")
    return levels


def check_numbers(value: object, length: int | None, budget: Budget) -> NDArray[np.float64]:
    """Finite doubles.

    Raises:
        ValueError: they are not, or too many.
    """
    numbers = check_list(value, length)
    budget.use(len(numbers))
    for number in numbers:
        if type(number) is not float or not math.isfinite(number):
            raise ValueError(f"a table has {shown(number)} where it needs a finite number")
    return np.array(numbers, np.float64)


def check_counts(value: object, length: int, rows: int, budget: Budget) -> list[int]:
    """Numbers of rows, each at least 1, together at most ``rows``.

    Raises:
        ValueError: they are not.
    """
    counts = check_list(value, length)
    budget.use(len(counts))
    for count in counts:
        if type(count) is not int or not 0 < count <= rows:
            raise ValueError(f"a count is {shown(count)}, not from 1 to {rows} rows")
    if sum(counts) > rows:
        raise ValueError(f"counts add up to more than {rows} rows")
    return counts
