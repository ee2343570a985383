"""Plain SVG charts: axes, lines, bands, points and bars; the style sheet sets the colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from trainer.report.markup import Html, join, tag

WIDTH: Final = 480
WIDE: Final = 1000
HEIGHT: Final = 310
LEFT, RIGHT, TOP, BOTTOM = 58, 20, 14, 46
_LABEL_STEP: Final = 15
"""The least distance between two labels at the end of lines."""

Point = Sequence[float]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its name, range, ticks (computed if not given) and the ticks' format."""

    name: str
    low: float
    high: float
    ticks: tuple[float, ...] = ()
    write: Callable[[float], str] = field(default=lambda value: f"{value:g}")
    is_log: bool = False

    def share(self, value: float) -> float:
        """A value's position between the ends, 0 to 1; values beyond are clamped."""
        low, high, value = (
            (math.log(v) if self.is_log else v)
            for v in (self.low, self.high, min(max(value, self.low), self.high))
        )
        return (value - low) / ((high - low) or 1.0)

    def marks(self) -> tuple[float, ...]:
        """The tick values."""
        return self.ticks or nice_ticks(self.low, self.high)


def nice_ticks(low: float, high: float, wanted: int = 5) -> tuple[float, ...]:
    """Round numbers that divide a range into about ``wanted`` steps."""
    span = high - low
    if not span > max(abs(low), abs(high), 1e-300) * 1e-12:
        return (low,)
    raw = span / wanted
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10, 20) if m * magnitude >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return tuple(round(i * step, 12) for i in range(first, last + 1))


def text_at(x: float, y: float, words: str, style: str = "tick", anchor: str | None = None) -> Html:
    """Text in a chart; ``anchor`` is start, middle or end."""
    return tag("text", words, class_=style, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def segment(x1: float, y1: float, x2: float, y2: float, style: str) -> Html:
    """A straight line."""
    return tag("line", class_=style, x1=f"{x1:.1f}", x2=f"{x2:.1f}", y1=f"{y1:.1f}", y2=f"{y2:.1f}")


def canvas(label: str, width: float, height: float, marks: Sequence[Html], style: str = "") -> Html:
    """A whole drawing; ``label`` is its text alternative."""
    box = f"0 0 {width:g} {height:g}"
    return tag("svg", *marks, viewBox=box, role="img", aria_label=label, class_=style or None)


class Chart:
    """Collects the marks of one chart and renders them."""

    def __init__(
        self, label: str, x: Axis, y: Axis, width: int = WIDTH, right: int = RIGHT
    ) -> None:
        self._label = label
        self._x = x
        self._y = y
        self._width = width
        self._right = right
        self._marks: list[Html] = []
        self._front: list[Html] = []
        self._notes: list[tuple[float, float, int]] = []  # left end, right end and row of a text
        self._words: list[Html] = []  # in front of all lines, so that no line crosses a text
        self._ends: list[tuple[float, str, str]] = []

    def band(self, rows: Sequence[Point], style: str = "band") -> None:
        """The area between a lower and an upper line; rows are x, lower, upper."""
        if len(rows) < 2:
            return
        there = [self._place(x, high) for x, _, high in rows]
        back = [self._place(x, low) for x, low, _ in reversed(rows)]
        self._marks.append(tag("polygon", class_=style, points=Html(" ".join(there + back))))

    def line(self, points: Sequence[Point], style: str, end: str = "") -> None:
        """A line through points, with its name in ``end`` at its right end."""
        if not points:
            return
        path = " ".join(self._place(p[0], p[1]) for p in points)
        self._marks.append(Html(f'<polyline class="{style}" points="{path}"/>'))
        if end:
            self._ends.append((self._at_y(points[-1][1]), end, style))

    def point(self, x: float, y: float, style: str, tip: str, radius: float = 4) -> None:
        """One point, with a tooltip."""
        where = {"cx": f"{self._at_x(x):.1f}", "cy": f"{self._at_y(y):.1f}", "r": f"{radius:g}"}
        self._front.append(tag("circle", tag("title", tip), class_=style, **where))

    def note(self, x: float, y: float, words: str, dx: float = 8, dy: float = -8) -> None:
        """Text beside a point; it goes to the left of points near the right edge."""
        is_late = self._x.share(x) > 0.66
        at = self._at_x(x) + (-dx if is_late else dx)
        self._front.append(
            text_at(at, self._at_y(y) + dy, words, "note", "end" if is_late else "start")
        )

    def bar(self, left: float, right: float, height: float, style: str, tip: str) -> None:
        """A bar standing on the lower axis."""
        x, top, base = self._at_x(left), self._at_y(height), self._at_y(self._y.low)
        self._marks.append(
            tag(
                "rect",
                tag("title", tip),
                class_=style,
                x=f"{x:.1f}",
                y=f"{top:.1f}",
                width=f"{max(self._at_x(right) - x - 0.8, 0.8):.1f}",
                height=f"{max(base - top, 0):.1f}",
            )
        )

    def vertical(self, x: float, words: str) -> None:
        """A marked value on the lower axis; the texts of close marks stand below each other."""
        at = self._at_x(x)
        is_late = self._x.share(x) > 0.66
        room = 7.0 * len(words) + 8
        left, right = (at - room, at) if is_late else (at, at + room)
        taken = {row for start, end, row in self._notes if start < right and left < end}
        row = next(row for row in range(len(taken) + 1) if row not in taken)
        self._notes.append((left, right, row))
        anchor, shift = ("end", -5) if is_late else ("start", 5)
        self._front.append(segment(at, TOP, at, HEIGHT - BOTTOM, "mark"))
        self._words.append(text_at(at + shift, TOP + 11 + 15 * row, words, "note", anchor))

    def write(self) -> Html:
        """The whole chart as an ``<svg>`` element."""
        marks = [*self._grid(), *self._marks, *self._front, *self._words, *self._end_labels()]
        style = "wide" if self._width > WIDTH else ""
        return canvas(self._label, self._width, HEIGHT, marks, style)

    def _end_labels(self) -> list[Html]:
        """The names of lines at their right ends, moved apart where they would overlap."""
        x = self._width - self._right + 6
        lowest = HEIGHT - BOTTOM + 4.0
        placed = []
        rows = sorted(self._ends, reverse=True)
        for y, words, style in rows:
            y = min(y + 4, lowest)
            lowest = y - _LABEL_STEP
            placed.append(text_at(x, y, words, f"end {style}"))
        return placed

    def _place(self, x: float, y: float) -> str:
        return f"{self._at_x(x):.1f},{self._at_y(y):.1f}"

    def _at_x(self, value: float) -> float:
        return LEFT + self._x.share(value) * (self._width - LEFT - self._right)

    def _at_y(self, value: float) -> float:
        return HEIGHT - BOTTOM - self._y.share(value) * (HEIGHT - TOP - BOTTOM)

    def _grid(self) -> list[Html]:
        out = []
        bottom, right = HEIGHT - BOTTOM, self._width - self._right
        for tick in self._y.marks():
            at = self._at_y(tick)
            out.append(segment(LEFT, at, right, at, "grid"))
            out.append(text_at(LEFT - 7, at + 4, self._y.write(tick), "tick", "end"))
        for tick in self._x.marks():
            at = self._at_x(tick)
            out.append(segment(at, bottom, at, bottom + 4, "axis-line"))
            out.append(text_at(at, bottom + 17, self._x.write(tick), "tick", "middle"))
        out.append(segment(LEFT, bottom, right, bottom, "axis-line"))
        middle_x, middle_y = (LEFT + right) / 2, (TOP + bottom) / 2
        out.append(text_at(middle_x, HEIGHT - 8, self._x.name, "axis", "middle"))
        place = f"translate(13 {middle_y:.0f}) rotate(-90)"
        out.append(tag("text", self._y.name, class_="axis", text_anchor="middle", transform=place))
        return [join(out)]
