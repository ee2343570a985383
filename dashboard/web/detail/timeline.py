"""Where the dots of a time line are drawn: time from left to right, the amount as size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

WIDTH: Final = 600.0
HEIGHT: Final = 56.0
_MARGIN: Final = 12.0
_SMALLEST: Final = 3.5
_LARGEST: Final = 11.0


@dataclass(frozen=True, slots=True)
class Dot:
    """One transaction on the time line.

    Attributes:
        id: of the flagged transaction.
        x, y: its centre.
        radius: grows with the square root of the amount, so that areas compare.
        state: ``this``, ``flagged``, or the label in lower case.
    """

    id: str
    x: float
    y: float
    radius: float
    state: str

    @property
    def points(self) -> str:
        """The corners of the shape of a decided transaction: fraud ◆, legitimate ■, unsure ▲."""
        r, x, y = self.radius, self.x, self.y
        corners = {
            "fraud": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
            "legitimate": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
            "unsure": ((0, -1.2), (1.15, 0.9), (-1.15, 0.9)),
        }.get(self.state, ())
        return " ".join(f"{x + r * dx:.1f},{y + r * dy:.1f}" for dx, dy in corners)


@dataclass(frozen=True, slots=True)
class Mark:
    """A time below the line."""

    x: float
    millis: int


@dataclass(frozen=True, slots=True)
class TimeLine:
    """The dots from ``start`` to ``end``, in the order of their times."""

    start: int
    end: int
    dots: list[Dot]
    marks: list[Mark]


def draw_time_line(items: Sequence[Mapping[str, Any]], this: str, start: int, end: int) -> TimeLine:
    """Place flagged transactions.

    Args:
        items: as the API sends them, with ``case`` if there is one.
        this: the id of the transaction that the page is about.
        start: epoch milliseconds of the left end.
        end: of the right end.
    """
    span = max(1, end - start)
    largest = max((_size(item) for item in items), default=0.0)
    dots, last = [], -math.inf
    level = 0
    for item in sorted(items, key=lambda item: (item["scored_at"], item["id"])):
        share = min(1.0, max(0.0, (item["scored_at"] - start) / span))
        x = _MARGIN + share * (WIDTH - 2 * _MARGIN)
        size = _size(item) / largest if largest else 0.0
        radius = _SMALLEST + (_LARGEST - _SMALLEST) * size
        # A burst would be one dot: neighbours alternate above and below the line.
        level = (level + 1) % 3 if x - last < 2 * _SMALLEST else 0
        last = x
        y = HEIGHT / 2 + (0.0, -9.0, 9.0)[level]
        dots.append(Dot(item["id"], round(x, 1), y, round(radius, 1), _state(item, this)))
    marks = [
        Mark(round(_MARGIN + part * (WIDTH - 2 * _MARGIN) / 4, 1), start + span * part // 4)
        for part in range(5)
    ]
    return TimeLine(start, end, dots, marks)


def _size(item: Mapping[str, Any]) -> float:
    amount = item.get("amount")
    if not isinstance(amount, int | float) or not math.isfinite(amount):
        return 0.0
    return math.sqrt(abs(amount))


def _state(item: Mapping[str, Any], this: str) -> str:
    label = (item.get("case") or {}).get("label")
    if label in ("FRAUD", "LEGITIMATE", "UNSURE"):
        return str(label).lower()
    return "this" if item["id"] == this else "flagged"
