"""How values are written on pages; ``static/view.js`` writes live rows the same way."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, Final

MISSING: Final = "—"
GLYPHS: Final = {"low": "", "elevated": "▲", "high": "▲▲", "critical": "▲▲▲"}


def write_time(millis: int | None) -> str:
    """``2026-11-23 14:03:21 UTC``."""
    if millis is None:
        return MISSING
    try:
        return datetime.fromtimestamp(millis / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return f"{millis} ms"


def write_iso(millis: int | None) -> str:
    """For a ``datetime`` attribute."""
    return "" if millis is None else write_time(millis).replace(" UTC", "Z").replace(" ", "T")


def write_score(score: float, *thresholds: float, digits: int = 2) -> str:
    """Rounded, but with as many digits as it takes not to cross a threshold, or reach 1."""
    for places in range(digits, 17):
        text = f"{score:.{places}f}"
        shown = float(text)
        if all((shown >= t) == (score >= t) for t in (*thresholds, 1.0)):
            return text
    return repr(score)


def write_amount(amount: float | None) -> str:
    """``1,234.50``."""
    return MISSING if amount is None or not math.isfinite(amount) else f"{amount:,.2f}"


def write_count(count: int) -> str:
    """``12,480``."""
    return f"{count:,}"


def write_push(contribution: float) -> str:
    """``+1.21``."""
    return f"{contribution:+.2f}".replace("-", "\N{MINUS SIGN}")


def write_arrow(contribution: float) -> str:
    """Which way a reason pushes."""
    return "↑" if contribution > 0 else "↓"


def write_offset(seconds: int | None) -> str:
    """``D+12 04:31:07``: TransactionDT is an offset, not a date."""
    if seconds is None:
        return MISSING
    days, rest = divmod(int(seconds), 86400)
    return f"D{days:+d} {rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"


def write_value(value: Any) -> str:
    """A field's value; whole numbers without a point."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
    return str(value)


FILTERS: Final = {
    "time": write_time,
    "iso": write_iso,
    "score": write_score,
    "amount": write_amount,
    "count": write_count,
    "push": write_push,
    "arrow": write_arrow,
    "dt": write_offset,
    "value": write_value,
}
