"""Where the dots of a time line are drawn: time from left to right, the amount as size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 440.0
HEIGHT: Final = 52.0
_MARGIN: Final = 12.0
_SMALLEST: Final = 3.5
_LARGEST: Final = 10.0
_LEVELS: Final = (0.0, -10.0, 10.0)  # neighbours of a burst stand above and below the line

_SHAPES: Final = {
    "fraud": ((0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)),
    "legitimate": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "unsure": ((0.0, -1.2), (1.15, 0.9), (-1.15, 0.9)),
}
"""The corners of decided transactions, in radii: fraud ◆, legitimate ■, unsure ▲."""


@dataclass(frozen=True, slots=True)
class Point:
    """One transaction.

    Attributes:
        at: its time, in the unit of the line.
        amount: None if it is not known.
        state: ``this``, ``flagged``, ``fraud``, ``legitimate``, ``unsure`` or ``other``: a
            transaction that was not flagged.
        id: of the flagged transaction; None if it was not flagged.
    """

    at: int
    amount: float | None
    state: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Dot:
    """A point where it is drawn. ``radius`` grows with the square root of the amount."""

    point: Point
    x: float
    y: float
    radius: float

    @property
    def corners(self) -> str:
        """The corners of its shape. Empty for a circle."""
        r, x, y = self.radius, self.x, self.y
        shape = _SHAPES.get(self.point.state, ())
        return " ".join(f"{x + r * dx:.1f},{y + r * dy:.1f}" for dx, dy in shape)


@dataclass(frozen=True, slots=True)
class TimeLine:
    """The dots from ``start`` to ``end``, in the order of their times.

    ``is_offset``: times are TransactionDT, in seconds; else they are epoch milliseconds.
    """

    start: int
    end: int
    dots: list[Dot]
    is_offset: bool = False

    @property
    def middle(self) -> int:
        """The time halfway."""
        return self.start + (self.end - self.start) // 2


def draw_time_line(
    points: Sequence[Point], start: int, end: int, *, is_offset: bool = False
) -> TimeLine:
    """Place transactions between two times. Those outside are drawn at the ends."""
    span = max(1, end - start)
    largest = max((_size(point) for point in points), default=0.0)
    dots: list[Dot] = []
    last, level = -math.inf, 0
    for point in sorted(points, key=lambda point: (point.at, point.id or "")):
        share = min(1.0, max(0.0, (point.at - start) / span))
        x = _MARGIN + share * (WIDTH - 2 * _MARGIN)
        size = _size(point) / largest if largest else 0.0
        level = (level + 1) % len(_LEVELS) if x - last < 2 * _SMALLEST else 0
        last = x
        y = HEIGHT / 2 + _LEVELS[level]
        radius = _SMALLEST + (_LARGEST - _SMALLEST) * size
        dots.append(Dot(point, round(x, 1), y, round(radius, 1)))
    return TimeLine(start, end, dots, is_offset)


def _size(point: Point) -> float:
    if point.amount is None or not math.isfinite(point.amount):
        return 0.0
    return math.sqrt(abs(point.amount))
