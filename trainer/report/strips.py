"""Small drawings for the cells of tables: bars, intervals, points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from trainer.report.markup import Html, tag
from trainer.report.svg import nice_ticks, segment, text_at
from trainer.report.view import Point

WIDTH: Final = 240
HEIGHT: Final = 22
SWARM_WIDTH: Final = 380
SWARM_HEIGHT: Final = 30
_EDGE: Final = 8
_TICK_ROOM: Final = 80
_BUCKET: Final = 3.0
_LEVELS: Final = 5
"""Colours from a low to a high value."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A range on a strip of some width."""

    low: float
    high: float
    width: float = WIDTH

    def x(self, value: float) -> float:
        """The position of a value; one beyond the range is at its end."""
        span = (self.high - self.low) or 1.0
        share = (min(max(value, self.low), self.high) - self.low) / span
        return _EDGE + share * (self.width - 2 * _EDGE)


def scale_of(values: Sequence[float], *, width: float = WIDTH) -> Scale:
    """A scale with some room on either side of the values."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return Scale(low - room, high + room, width)


def _strip(scale: Scale, height: float, marks: Sequence[Html]) -> Html:
    # The figures stand in the cells beside it, so a screen reader skips the drawing.
    box = f"0 0 {scale.width:g} {height:g}"
    return tag("svg", *marks, viewBox=box, class_="strip", aria_hidden="true")


def axis_strip(scale: Scale, write: Callable[[float], str], zero: float | None = None) -> Html:
    """The ticks above the strips of a column."""
    marks = []
    for tick in nice_ticks(scale.low, scale.high, round(scale.width / _TICK_ROOM)):
        at = scale.x(tick)
        anchor = "start" if at < 22 else "end" if at > scale.width - 22 else "middle"
        marks.append(text_at(at, 12, write(tick), "tick", anchor))
        marks.append(segment(at, HEIGHT - 6, at, HEIGHT, "axis-line"))
    if zero is not None:
        marks.append(segment(scale.x(zero), HEIGHT - 6, scale.x(zero), HEIGHT, "mark"))
    return _strip(scale, HEIGHT, marks)


def interval_strip(
    scale: Scale, value: float, ends: tuple[float, float] | None, reference: float | None = None
) -> Html:
    """A value with its interval, and a dashed line at a reference value."""
    middle, marks = HEIGHT / 2, []
    if reference is not None:
        marks.append(segment(scale.x(reference), 0, scale.x(reference), HEIGHT, "mark"))
    if ends is not None:
        low, high = (scale.x(end) for end in ends)
        marks.append(segment(low, middle, high, middle, "whisker"))
        marks += [segment(at, middle - 4, at, middle + 4, "whisker") for at in (low, high)]
    where = {"cx": f"{scale.x(value):.1f}", "cy": f"{middle:g}", "r": "4"}
    marks.append(tag("circle", class_="dot-a", **where))
    return _strip(scale, HEIGHT, marks)


def bar(share: float, style: str = "fill-a") -> Html:
    """A horizontal bar, ``share`` (0 to 1) of its cell."""
    width = f"width:{min(max(share, 0.0), 1.0) * 100:.1f}%"
    return tag("span", tag("i", class_=style, style=width), class_="bar", aria_hidden="true")


def swarm_strip(scale: Scale, points: Sequence[Point]) -> Html:
    """Contributions as a swarm of points, coloured by the rank of the value (-1: missing)."""
    middle = SWARM_HEIGHT / 2
    buckets: dict[int, list[Point]] = {}
    for point in points:
        buckets.setdefault(int(scale.x(point[0]) / _BUCKET), []).append(point)
    marks = [segment(scale.x(0), 0, scale.x(0), SWARM_HEIGHT, "zero")]
    for some in buckets.values():
        step = min(3.0, (middle - 3) / max(len(some) / 2, 1))
        for k, (contribution, rank, *_) in enumerate(sorted(some, key=lambda p: p[1])):
            away = (k + 1) // 2 * step * (-1 if k % 2 else 1)
            marks.append(
                Html(
                    f'<circle class="{_level(rank)}" cx="{scale.x(contribution):.1f}" '
                    f'cy="{middle + away:.1f}" r="2"/>'
                )
            )
    return _strip(scale, SWARM_HEIGHT, marks)


def _level(rank: float) -> str:
    if rank < 0:
        return "vm"
    return f"v{min(int(rank / 100 * _LEVELS), _LEVELS - 1)}"
