"""Formats values for pages. ``static/view.js`` formats live rows in the same way."""

from __future__ import annotations

import math
import shlex
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, Final

MISSING: Final = "—"
MINUS: Final = "\N{MINUS SIGN}"
_SECOND_MS: Final = 1000
_TENTHS_MS: Final = 10_000  # tenths of a second are shown below this
_UNITS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"))
_CENT: Final = Decimal("0.01")
_ANY_SIZE: Final = Context(prec=400)  # a double has at most 309 digits before the point
GLYPHS: Final = {"low": "", "elevated": "▲", "high": "▲▲", "critical": "▲▲▲"}


def format_time(millis: int | None) -> str:
    """``2026-11-23 14:03:21 UTC``."""
    if millis is None:
        return MISSING
    try:
        return datetime.fromtimestamp(millis / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return f"{millis} ms"


def format_moment(when: datetime) -> str:
    """The same, of a time with a zone."""
    return format_time(int(when.timestamp() * 1000))


def format_iso(millis: int | None) -> str:
    """``2026-11-23T14:03:21Z``, for a ``datetime`` attribute."""
    return "" if millis is None else format_time(millis).replace(" UTC", "Z").replace(" ", "T")


def format_score(score: float, *thresholds: float, digits: int = 2) -> str:
    """Rounded, with enough digits that rounding neither crosses a threshold nor reaches 1."""
    for places in range(digits, 17):
        text = f"{score:.{places}f}"
        shown = float(text)
        if all((shown >= t) == (score >= t) for t in (*thresholds, 1.0)):
            return text
    return repr(score)


def format_threshold(value: float | None, *others: float | None) -> str:
    """With as many decimals as the thresholds beside it need, and at least two: ``0.62``."""
    if value is None:
        return MISSING
    texts = [f"{each or 0:.6g}" for each in (value, *others)]
    if any("e" in text for text in texts):
        return texts[0]
    digits = max(len(text.partition(".")[2]) for text in texts)
    return f"{float(texts[0]):.{max(2, digits)}f}"


def format_amount(amount: float | None) -> str:
    """``1,234.50``. Halves are rounded up, as JavaScript does: 136.515 is 136.52."""
    if amount is None or not math.isfinite(amount):
        return MISSING
    # repr() has the shortest digits that give the same number; they are what JavaScript rounds.
    return f"{Decimal(repr(float(amount))).quantize(_CENT, ROUND_HALF_UP, _ANY_SIZE):,}"


def format_count(count: int) -> str:
    """``12,480``."""
    return f"{count:,}"


def format_share(count: int, total: int) -> str:
    """``3.5 % (n=1,003)``: the share of ``count`` in ``total``. Empty without any."""
    return f"{100 * count / total:.1f} % (n={total:,})" if total else ""


def format_signed(value: float) -> str:
    """``+1.21``."""
    return f"{value:+.2f}".replace("-", MINUS)


def format_arrow(contribution: float) -> str:
    """Whether a reason raises or lowers the score."""
    return "↑" if contribution > 0 else "↓"


def format_transaction_dt(seconds: int | None) -> str:
    """``D+12 04:31:07``: TransactionDT is an offset, not a date."""
    if seconds is None:
        return MISSING
    days, rest = divmod(int(seconds), 86400)
    return f"D{days:+d} {rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"


def format_value(value: Any) -> str:
    """The value of a field. Whole numbers have no decimal point."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
    return str(value)


def format_sentence(text: str) -> str:
    """The text with its first character in upper case. One word with digits or ``_`` is a name."""
    if " " not in text and any(each.isdigit() or each == "_" for each in text):
        return text
    return text[:1].upper() + text[1:]


def format_duration(millis: int | None) -> str:
    """``0.4 s``, ``12 s``, ``3 min``, ``2 h``, ``5 d``."""
    if millis is None:
        return MISSING
    if millis < _TENTHS_MS:
        return f"{max(0, millis) / _SECOND_MS:.1f} s"
    for size, unit in (*_UNITS, (_SECOND_MS, "s")):
        if millis >= 2 * size:
            return f"{(2 * millis + size) // (2 * size)} {unit}"
    raise AssertionError(millis)


def describe_duration(start: int | None, end: int | None) -> str | None:
    """``38 ms``, ``1.2 s`` or ``3 min``. None if a time is missing or the end is before the start.

    Args:
        start: epoch milliseconds.
        end: epoch milliseconds.
    """
    if start is None or end is None or end < start:
        return None
    millis = end - start
    for size, unit in _UNITS:
        if millis >= 2 * size:
            return f"{millis // size:,} {unit}"
    return f"{millis / _SECOND_MS:.1f} s" if millis >= _SECOND_MS else f"{millis} ms"


def split_name(text: str) -> tuple[str, str]:
    """A text and the name at its end: ``("indicator of the payment provider", " (V258)")``.

    ``static/view.js`` does the same.
    """
    at = text.rfind(" (") if text.endswith(")") else -1
    return (text, "") if at < 0 else (text[:at], text[at:])


FILTERS: Final = {
    "split_name": split_name,
    "time": format_time,
    "moment": format_moment,
    "iso": format_iso,
    "score": format_score,
    "threshold": format_threshold,
    "shell": shlex.quote,
    "amount": format_amount,
    "count": format_count,
    "share": format_share,
    "signed": format_signed,
    "sentence": format_sentence,
    "arrow": format_arrow,
    "dt": format_transaction_dt,
    "value": format_value,
}
