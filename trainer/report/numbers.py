"""Figures as text: shares, counts, intervals, days."""

from __future__ import annotations

from typing import Final

from trainer.report.view import View

NONE: Final = "\N{EN DASH}"
DAY_SECONDS: Final = 86_400
MOST_SETTINGS: Final = 60


def percent(value: float | None) -> str:
    """``0.025`` as ``2.5 %``."""
    return NONE if value is None else f"{value * 100:.3g} %"


def even_percent(value: float | None) -> str:
    """``0.025`` as ``2.50 %``: for columns of figures."""
    return NONE if value is None else f"{value * 100:.2f} %"


def whole(value: float | None) -> str:
    """``12500`` as ``12,500``."""
    return NONE if value is None else f"{value:,.0f}"


def thousands(value: float) -> str:
    """``12500`` as ``12.5k``."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"


def decimal(value: float | None, digits: int = 3) -> str:
    """A figure with a fixed number of digits, so that columns align."""
    return NONE if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """A difference, with its sign (a minus sign and not a hyphen)."""
    return NONE if value is None else f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def interval(ends: tuple[float, float] | None, digits: int = 3) -> str:
    """``0.121 to 0.143``."""
    return NONE if ends is None else f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}"


def shares_interval(ends: tuple[float, float] | None) -> str:
    """``12 to 14 %``."""
    return NONE if ends is None else f"{ends[0] * 100:.1f} to {ends[1] * 100:.1f} %"


def days(first: float | None, last: float | None) -> str:
    """Two times in seconds as days of the data set: ``12.5 to 30.1``."""
    if first is None or last is None:
        return NONE
    return f"{first / DAY_SECONDS:.1f} to {last / DAY_SECONDS:.1f}"


def plain(value: View) -> str:
    """A single value of any type as text; a list as its items, a mapping as its number of keys."""
    number, flag, found = value.number(), value.flag(), value.text()
    if flag is not None:
        return "yes" if flag else "no"
    if number is not None:
        return (
            f"{number:,.0f}" if number.is_integer() and abs(number) >= 10_000 else f"{number:.6g}"
        )
    if found is not None:
        return found
    items = value.items(most=12)
    if items:
        given = value.value
        more = f" and {len(given) - 12} more" if len(given) > 12 else ""
        return ", ".join(_inner(item) for item in items) + more
    entries = value.entries(most=12)
    return ", ".join(f"{name} {_inner(item)}" for name, item in entries) or NONE


def _inner(value: View) -> str:
    number, found = value.number(), value.text()
    if number is not None:
        return f"{number:.6g}"
    return found if found is not None else "…" if value else NONE


def words(name: str) -> str:
    """``early_stopping_trees`` as ``early stopping trees``."""
    return name.replace("_", " ")


def flatten(facts: View, prefix: str = "", depth: int = 3) -> list[tuple[str, str]]:
    """Nested settings as names and values."""
    out: list[tuple[str, str]] = []
    for name, value in facts.entries(most=MOST_SETTINGS):
        label = f"{prefix}{words(name)}"
        if value.entries(most=1) and depth:
            out += flatten(value, f"{label}: ", depth - 1)
        else:
            out.append((label, plain(value) if value else NONE))
    return out[: 2 * MOST_SETTINGS]
