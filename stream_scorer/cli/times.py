"""Times on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AGO: Final = re.compile(r"(\d{1,9})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_time(text: str, now: datetime | None = None) -> int:
    """Epoch milliseconds of an ISO 8601 time (UTC by default), or of an age such as ``36h``.

    Raises:
        ValueError: the text is neither.
    """
    if ago := _AGO.fullmatch(text):
        try:
            elapsed = timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            return max(0, _milliseconds((now or datetime.now(UTC)) - elapsed))
        except OverflowError:  # before the first representable date
            return 0
    try:
        given = datetime.fromisoformat(text)
        return max(0, _milliseconds(given if given.tzinfo else given.replace(tzinfo=UTC)))
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is not a time: use 15m, 2h, 3d or 1w for an age, or ISO 8601 such as "
            "2026-01-31 or 2026-01-31T12:30:00Z"
        ) from None


def format_time(milliseconds: int, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    """A time in UTC, by default ISO 8601 to the second; never fails.

    ``no time`` for a record without a timestamp. A number beyond year 9999 was probably meant in
    other units, so it is shown as it is.
    """
    if milliseconds < 0:
        return "no time"
    try:
        return (_EPOCH + timedelta(milliseconds=milliseconds)).strftime(form)
    except OverflowError:
        return f"{milliseconds} ms (after year 9999)"


def format_seconds(seconds: float) -> str:
    """A time span in one or two units: ``45 s``, ``12 min``, ``3 h 20 min``, ``5 d 2 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days:,} d {hours} h"


def format_transaction_time(seconds: int) -> str:
    """``TransactionDT``, seconds since an instant that only the data's owner knows."""
    days, left = divmod(seconds, 86_400)
    hours, minutes = divmod(left // 60, 60)
    return f"day {days:,} {hours:02d}:{minutes:02d}:{left % 60:02d}"


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
