"""The members of a JSON object that anyone may have written: each has its type and its bounds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from stream_scorer.runtime.text import printable

_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"
_SHOWN_CHARACTERS: Final = 80


class JsonFields:
    """Reads members by name. Members that nobody asks for are ignored: a later release adds some.

    Every method raises ValueError if the member is missing or not what the method returns. The
    message names the member, shows its value, and says what it should be.
    """

    def __init__(self, members: Mapping[str, Any], path: str = "") -> None:
        self._members = members
        self._path = path

    def integer(self, name: str, least: int, most: int) -> int:
        """A whole number within bounds."""
        if name not in self._members:
            raise self._fault(name, "")
        return self._checked_integer(name, self._members[name], least, most)

    def integers(self, name: str, least: int, most: int) -> tuple[int, ...]:
        """A list of whole numbers within bounds."""
        values = self._members.get(name)
        if not isinstance(values, list):
            raise self._fault(name, "a list of whole numbers")
        return tuple(
            self._checked_integer(f"{name}[{i}]", value, least, most)
            for i, value in enumerate(values)
        )

    def text(self, name: str, pattern: re.Pattern[str], meaning: str) -> str:
        """A text that matches ``pattern`` as a whole; ``meaning`` says what such a text is."""
        value = self._members.get(name)
        if type(value) is not str or not pattern.fullmatch(value):
            raise self._fault(name, meaning)
        return value

    def note(self, name: str, most: int) -> str:
        """Free text for people of at most ``most`` characters, made safe to print."""
        value = self._members.get(name)
        if type(value) is not str or len(value) > most:
            raise self._fault(name, f"a text of at most {most} characters")
        return printable(value)

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of some texts."""
        value = self._members.get(name)
        if type(value) is not str or value not in choices:
            raise self._fault(name, " or ".join(choices))
        return value

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._members.get(name)
        if type(value) is not bool:
            raise self._fault(name, "true or false")
        return value

    def time(self, name: str) -> datetime:
        """A time in UTC, in whole seconds."""
        value = self._members.get(name)
        try:
            if type(value) is str and _TIME.fullmatch(value):
                return datetime.strptime(value, _TIME_FORMAT).replace(tzinfo=UTC)
        except ValueError:  # such as 31 February
            pass
        raise self._fault(name, "a time such as 2026-01-31T12:00:00Z")

    def is_null(self, name: str) -> bool:
        """Whether the member is there, and null."""
        return name in self._members and self._members[name] is None

    def inner(self, name: str) -> JsonFields:
        """The members of an object within this one."""
        value = self._members.get(name)
        if not isinstance(value, dict):
            raise self._fault(name, "an object")
        return JsonFields(value, f"{self._path}{name}.")

    def rows(self, name: str, most: int) -> list[JsonFields]:
        """The members of each object of a list that has at most ``most`` of them."""
        values = self._members.get(name)
        if not isinstance(values, list) or len(values) > most:
            raise self._fault(name, f"a list of at most {most} objects")
        if not all(isinstance(value, dict) for value in values):
            raise self._fault(name, "a list of objects")
        return [JsonFields(value, f"{self._path}{name}[{i}].") for i, value in enumerate(values)]

    def _checked_integer(self, name: str, value: object, least: int, most: int) -> int:
        if type(value) is not int or not least <= value <= most:
            raise _fault(self._path + name, value, f"a whole number from {least} to {most}")
        return value

    def _fault(self, name: str, wanted: str) -> ValueError:
        if name not in self._members:
            return ValueError(f"{self._path}{name} is missing")
        return _fault(self._path + name, self._members[name], wanted)


def format_time(time: datetime) -> str:
    """A time as :meth:`JsonFields.time` reads it."""
    return time.astimezone(UTC).strftime(_TIME_FORMAT)


def _fault(name: str, value: object, wanted: str) -> ValueError:
    kept = isinstance(value, str | int | float | bool | None)
    text = repr(value) if kept else f"a {type(value).__name__}"
    cut = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
    return ValueError(f"{name} is {printable(cut)}, not {wanted}")
