"""Times in a filter: ``24h`` (before now), ``2026-11-23T14:03Z`` or epoch milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

UNITS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
"""Milliseconds in each unit of a span."""

WAY_OUT: Final = (
    "must be a span before now such as 15m, 24h or 7d, a time in UTC such as "
    "2026-11-23T14:03Z, or epoch milliseconds"
)

_MILLIS: Final = re.compile(r"[0-9]{1,15}")
_SPAN: Final = re.compile(r"([0-9]{1,6})([smhdw])")
_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?)?Z?"
)


def parse_span(text: str) -> int | None:
    """Milliseconds of ``15m`` or ``24h``. None if the text is no span."""
    found = _SPAN.fullmatch(text)
    return int(found[1]) * UNITS[found[2]] if found else None


def parse_time(text: str, now: int) -> int | None:
    """Epoch milliseconds of a time in a filter. None if the text is none.

    ``static/filter.js`` reads times in the same way.
    """
    if _MILLIS.fullmatch(text):
        return int(text)
    span = parse_span(text)
    if span is not None:
        return now - span
    found = _TIME.fullmatch(text)
    if not found:
        return None
    try:
        year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
        when = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return int(when.timestamp()) * 1000
