"""Times as people give them on a command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_time(text: str, now: datetime | None = None) -> int:
    """Epoch milliseconds of an ISO 8601 time (UTC unless it says else), or of ``36h`` ago.

    Raises:
        ValueError: neither.
    """
    if found := re.fullmatch(r"(\d{1,9})([smhd])", text):
        ago = timedelta(**{_UNITS[found[2]]: int(found[1])})
        return max(0, _milliseconds((now or datetime.now(UTC)) - ago))
    moment = datetime.fromisoformat(text)
    return _milliseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def format_time(milliseconds: int) -> str:
    """ISO 8601, to the second, in UTC; a record without a time has none."""
    if milliseconds < 0:
        return "no time"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
