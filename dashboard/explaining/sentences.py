"""A value of a feature as a sentence that a person can say aloud."""

from __future__ import annotations

import math
import re
from typing import Final

MISSING: Final = "missing"
_YES_NO: Final = {"0": "no", "1": "yes", "F": "no", "T": "yes"}
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_SINCE: Final = re.compile(r"(seconds|days) since (.*)", re.DOTALL)
_COUNTED: Final = ("earlier transactions", "remembered transactions")
_MOST_CHARS: Final = 120  # of a value; a sentence is for reading, not for pages of text


def sentence(text: str, value: str | None, percentile: str | None = None) -> str:
    """One sentence about a value, without any judgement.

    Args:
        text: the feature in words, as in ``bundle.features.texts``.
        value: as in a reason; None if it is missing, which is not the same as 0.
        percentile: what :func:`dashboard.explain.percentile` says of the value.
    """
    tail = f", {percentile}" if percentile else ""
    if text.startswith("whether "):
        return _about_whether(text, value, tail)
    if (found := _SINCE.fullmatch(text)) is not None:
        unit, event = found.groups()
        return f"{_start(f'time since {event}')} {_duration(unit, value)}{tail}."
    if text.startswith("share of "):
        return f"{_start(text)} {_share(value)}{tail}."
    if text.startswith(_COUNTED):
        text = f"number of {text}"
    return f"{_start(text)} {_shown(value)}{tail}."


def _start(text: str) -> str:
    """Subject and verb. A text of one word is a name."""
    subject = text if " " not in text else f"The {text}"
    return f"{subject}, is" if "," in text else f"{subject} is"


def _about_whether(text: str, value: str | None, tail: str) -> str:
    if value is None:
        return f"It is not known {text}{tail}."
    return f"The answer to {text} is {_YES_NO.get(value, _shown(value))}{tail}."


def _duration(unit: str, value: str | None) -> str:
    number = _number(value)
    if value is None or number is None:
        return _shown(value)
    seconds = number if unit == "seconds" else number * _DAY
    for size, name in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if abs(seconds) >= size or (unit == "days" and name == "day"):
            return _counted(seconds / size, name)
    return _counted(seconds, "second")


def _counted(count: float, name: str) -> str:
    shown = f"{count:,.1f}".removesuffix(".0")
    return f"{shown} {name}" if shown == "1" else f"{shown} {name}s"


def _share(value: str | None) -> str:
    number = _number(value)
    return _shown(value) if number is None else f"{number * 100:.3g} %"


def _shown(value: str | None) -> str:
    if value is None:
        return MISSING
    if not value.strip():
        return "an empty text" if not value else "a blank text"
    return value if len(value) <= _MOST_CHARS else value[:_MOST_CHARS] + "…"


def _number(value: str | None) -> float | None:
    try:
        number = math.nan if value is None else float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
