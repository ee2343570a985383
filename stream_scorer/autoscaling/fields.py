"""Reads the fields of a manifest; an error names the field, and its line where that is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from stream_scorer.errors import UsageError

_INT32_MAX: Final = 2**31 - 1
_INT64_MAX: Final = 2**63 - 1
_SHOWN: Final = 40  # characters of a value in a message


class Located(dict[Any, Any]):
    """A mapping of a file, with the line of each key and its own line, from 1."""

    line: int = 0
    lines: Mapping[Any, int] = {}


def fault(parent: Mapping[str, Any], where: str, text: str) -> UsageError:
    """The error about a field of ``parent``; ``where`` is its full name."""
    line = 0
    if isinstance(parent, Located):
        line = parent.lines.get(where.rpartition(".")[2], parent.line)
    at = f"line {line}: " if line else ""
    return UsageError(f"{at}{where} {text}")


def check_names(parent: Mapping[str, Any], where: str, known: str) -> None:
    """Check that ``parent`` has no fields but these.

    Raises:
        UsageError: it has.
    """
    if odd := sorted(str(key) for key in parent.keys() - set(known.split())):
        raise fault(parent, f"{where}.{odd[0]}", "is unknown to the simulator")


def as_mapping(parent: Mapping[str, Any], where: str, value: Any) -> Mapping[str, Any]:
    """``value``, a field of ``parent``.

    Raises:
        UsageError: it is not a mapping.
    """
    if not isinstance(value, Mapping):
        raise fault(parent, where, "must be a mapping")
    return value


def mapping(
    parent: Mapping[str, Any], where: str, default: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    """The mapping in a field, or the default if it is not set.

    Raises:
        UsageError: it is not a mapping, or is missing and has no default.
    """
    return as_mapping(parent, where, parent.get(where.rpartition(".")[2], default))


def whole(parent: Mapping[str, Any], where: str, default: Any) -> Any:
    """A whole number of 0 or more, or the default, which may be None, if it is not set.

    Raises:
        UsageError: it is none, or the API server would refuse its size.
    """
    value = parent.get(where.rpartition(".")[2], default)
    if value is default:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _INT32_MAX:
        raise fault(
            parent, where, f"is {shown(value)}, not a whole number from 0 to {_INT32_MAX:,}"
        )
    return value


def number(metadata: Mapping[str, Any], where: str, default: int) -> int:
    """A whole number in a string, as KEDA's trigger metadata has it.

    Raises:
        UsageError: it is none, or too large for KEDA.
    """
    text = metadata.get(where.rpartition(".")[2], str(default))
    digits = text.lstrip("0") or "0"
    is_number = text.isascii() and text.isdecimal() and len(digits) <= len(str(_INT64_MAX))
    if not is_number or int(digits) > _INT64_MAX:
        raise fault(
            metadata, where, f"is {shown(text)}, not a whole number from 0 to {_INT64_MAX:,}"
        )
    return int(digits)


def flag(metadata: Mapping[str, Any], where: str) -> bool:
    """A string "true" or "false"; False if it is not set.

    Raises:
        UsageError: it is neither.
    """
    return choice(metadata, where, "false", ("true", "false")) == "true"


def choice(parent: Mapping[str, Any], where: str, default: str, choices: tuple[str, ...]) -> str:
    """One of ``choices``, or the default if the field is not set.

    Raises:
        UsageError: it is another value.
    """
    value = parent.get(where.rpartition(".")[2], default)
    if value not in choices:
        raise fault(parent, where, f"is {shown(value)}, not one of {', '.join(choices)}")
    return str(value)


def quantity(parent: Mapping[str, Any], where: str, default: float) -> float:
    """A Kubernetes quantity of 0 or more, such as 0.1 or 50m.

    Raises:
        UsageError: it is none.
    """
    value = parent.get(where.rpartition(".")[2], default)
    text = str(value)
    try:
        if isinstance(value, bool):
            raise ValueError(text)
        found = float(text.removesuffix("m")) / (1000 if text.endswith("m") else 1)
    except (ValueError, OverflowError):
        found = math.nan
    if not 0 <= found < math.inf:
        raise fault(parent, where, f"is {shown(value)}, not a number of 0 or more")
    return found


def shown(value: object) -> str:
    """A value for a message; a long one is cut."""
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:
        return f"a number with more than {_SHOWN} digits"  # Python does not print very long ones
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text):,} characters)"
