"""Reads a selection from a query string, for the API and the pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from dashboard.cache.reading import Sort
from dashboard.cache.selection import DECISIONS, STATUSES, Selection
from dashboard.cache.times import WAY_OUT, parse_time

MAX_TEXT: Final = 200
_INT64_MAX: Final = 2**63 - 1
_INT64_DIGITS: Final = len(str(_INT64_MAX))


class Parameter(NamedTuple):
    """A query parameter. ``parse`` returns None for a text that is not valid."""

    description: str
    rule: str
    parse: Callable[[str], Any]
    schema: dict[str, Any]


def _number(low: float, high: float) -> Callable[[str], float | None]:
    def parse(text: str) -> float | None:
        try:
            value = float(text)
        except ValueError:
            return None
        return value if math.isfinite(value) and low <= value <= high else None

    return parse


def _whole_number(text: str) -> int | None:
    # Python refuses to parse an int with thousands of digits.
    if not (text.isascii() and text.isdigit() and len(text) <= _INT64_DIGITS):
        return None
    return int(text) if int(text) <= _INT64_MAX else None


def _one_of(*values: str) -> Callable[[str], str | None]:
    return lambda text: text if text in values else None


def _text(text: str) -> str | None:
    return text if len(text) <= MAX_TEXT and text.isprintable() else None


def _valid_time(text: str) -> str | None:
    return text if parse_time(text, now=0) is not None else None


def _score(what: str) -> Parameter:
    schema = {"type": "number", "minimum": 0, "maximum": 1}
    return Parameter(what, "must be a number from 0 to 1", _number(0, 1), schema)


def _any_number(what: str) -> Parameter:
    limit = 1e15
    return Parameter(what, "must be a number", _number(-limit, limit), {"type": "number"})


def _any_text(what: str) -> Parameter:
    rule = f"must be text of at most {MAX_TEXT} characters"
    return Parameter(what, rule, _text, {"type": "string", "maxLength": MAX_TEXT})


def _choice(what: str, *values: str) -> Parameter:
    rule = f"must be {', '.join(values[:-1])} or {values[-1]}"
    return Parameter(what, rule, _one_of(*values), {"type": "string", "enum": list(values)})


def _time(what: str) -> Parameter:
    return Parameter(what, WAY_OUT, _valid_time, {"type": "string", "examples": ["24h"]})


SELECTION_PARAMETERS: Final[dict[str, Parameter]] = {
    "min_score": _score("lowest score"),
    "max_score": _score("highest score"),
    "min_amount": _any_number("lowest amount"),
    "max_amount": _any_number("highest amount"),
    "product": _any_text("ProductCD"),
    "card1": _any_number("the card, by its card1"),
    "addr1": _any_number("the billing region, by its addr1"),
    "email": _any_text("the purchaser's email domain"),
    "device": _any_text("the device, by its DeviceInfo"),
    "decision": _choice("the scorer's decision; SAMPLE: approved, sampled for review", *DECISIONS),
    "model": _any_text("the model version that made the score"),
    "reason": _any_text("a feature that is among the reasons"),
    "status": _choice("the status of its case", *STATUSES),
    "since": _time("scored at this time or later"),
    "until": _time("scored at this time or earlier"),
    "transaction_id": Parameter(
        "the transaction id", "must be a whole number below 2^63", _whole_number,
        {"type": "integer", "minimum": 0, "maximum": _INT64_MAX},
    ),
    "q": _any_text("the start of a transaction id, an email domain or a device, or a card1"),
}  # fmt: skip

SORT_PARAMETER: Final = _choice("the order of the list", *Sort)


def parse_selection(query: Mapping[str, str]) -> tuple[Selection, list[dict[str, str]]]:
    """The selection in a query string, and each fault as field and reason.

    Empty parameters are ignored, because forms send them. Other parameters are not looked at.
    """
    found: dict[str, Any] = {}
    faults: list[dict[str, str]] = []
    for name, parameter in SELECTION_PARAMETERS.items():
        if text := query.get(name, "").strip():
            found[name] = parse_parameter(name, parameter, text, faults)
    return Selection(**found), faults


def parse_sort(query: Mapping[str, str]) -> tuple[Sort, list[dict[str, str]]]:
    """The order in a query string, newest first by default, and its fault if it has one."""
    faults: list[dict[str, str]] = []
    text = query.get("sort", "").strip() or Sort.NEWEST
    return Sort(parse_parameter("sort", SORT_PARAMETER, text, faults) or Sort.NEWEST), faults


def parse_parameter(
    name: str, parameter: Parameter, text: str, faults: list[dict[str, str]]
) -> Any:
    """The value of a parameter. None, with a fault, if its text is not valid."""
    value = parameter.parse(text)
    if value is None:
        faults.append({"field": name, "reason": f"{parameter.rule}, not {_shown(text)}"})
    return value


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
