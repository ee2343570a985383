"""Finds the lines of a program's file that a message is about; the TOML reader forgets them."""

from __future__ import annotations

import re
from typing import Final

_OPERATION: Final = re.compile(r"\s*\[\[\s*operation\s*\]\]")
_SPACE: Final = re.compile(r"\s*\[\[\s*history\s*\]\]")
_FEATURES: Final = re.compile(r"\s*\[\[\s*history\s*\.\s*features\s*\]\]")


class ProgramLines:
    """The lines of one file; with an empty ``source`` there is no file and no line."""

    def __init__(self, text: str, source: str) -> None:
        self._lines = text.split("\n")
        self._source = source
        self._starts = [i for i, line in enumerate(self._lines) if _OPERATION.match(line)]
        self._spaces = [i for i, line in enumerate(self._lines) if _SPACE.match(line)]

    def of_key(self, key: str) -> str:
        """Where a field of the program itself is, as a prefix for a message."""
        if not self._source:
            return "program"
        end = min([*self._starts, *self._spaces], default=len(self._lines))
        return self._where(self._find(key, 0, end))

    def of_field(self, number: int, key: str, value: object) -> str:
        """Where a field of operation ``number`` (from 1) is; empty if there is no file.

        For a list, the line of the item ``value``. If the field is not there, where the operation
        begins.
        """
        return self._of_table(self._range(self._starts, number), key, value)

    def of_space(self, number: int, key: str, value: object, listed: int | None = None) -> str:
        """Where a field of key space ``number`` (from 1) is, in the same way.

        ``listed``: the field is one of the features' table with this number (from 1).
        """
        place = self._range(self._spaces, number)
        if place is not None and listed is not None:
            inner = [i for i in range(*place) if _FEATURES.match(self._lines[i])]
            if listed > len(inner):  # features = [{…}, …]
                return self._where(self._find_brace(place, listed))
            place = inner[listed - 1], [*inner, place[1]][listed]
        return self._of_table(place, key, value)

    def _range(self, starts: list[int], number: int) -> tuple[int, int] | None:
        """The lines of table ``number``."""
        if number > len(starts):
            return None
        start = starts[number - 1]
        others = (i for i in sorted(self._starts + self._spaces) if i > start)
        return start, next(others, len(self._lines))

    def _find_brace(self, place: tuple[int, int], number: int) -> int:
        """The line of brace ``number`` within the space's features, or its first line."""
        seen = 0
        for i in range(self._find("features", *place) or place[0], place[1]):
            seen += self._lines[i].count("{")
            if seen >= number:
                return i
        return place[0]

    def _of_table(self, place: tuple[int, int] | None, key: str, value: object) -> str:
        if not self._source:
            return ""
        if place is None:
            return self._source
        start, end = place
        found = self._find(key, start, end)
        if found is not None and isinstance(value, str):
            quoted = (f'"{value}"', f"'{value}'")
            inside = (i for i in range(found, end) if any(q in self._lines[i] for q in quoted))
            found = next(inside, found)
        return self._where(start if found is None else found)

    def _find(self, key: str, start: int, end: int) -> int | None:
        bare = key.strip("'\"")
        pattern = re.compile(rf"\s*['\"]?{re.escape(bare)}['\"]?\s*=")
        return next((i for i in range(start, end) if pattern.match(self._lines[i])), None)

    def _where(self, line: int | None) -> str:
        return self._source if line is None else f"{self._source}, line {line + 1}"
