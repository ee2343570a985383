"""Plain SVG charts: axes, lines, points and bars; the page's style sheet sets the colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

WIDTH: Final = 460
HEIGHT: Final = 300
LEFT, RIGHT, TOP, BOTTOM = 54, 22, 12, 44

Point = tuple[float, float]


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


def percent(value: float) -> str:
    """``0.025`` as ``2.5 %``."""
    return f"{value * 100:.3g} %"


def thousands(value: float) -> str:
    """``12500`` as ``12.5k``."""
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"


def nice_ticks(low: float, high: float, wanted: int = 5) -> tuple[float, ...]:
    """Round numbers that divide a range into about ``wanted`` steps."""
    span = (high - low) or 1.0
    raw = span / wanted
    magnitude = 10 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return tuple(round(i * step, 12) for i in range(first, last + 1))


class Chart:
    """Collects the marks of one chart and renders them."""

    def __init__(self, label: str, x: Axis, y: Axis, width: int = WIDTH) -> None:
        self._label = label
        self._x = x
        self._y = y
        self._width = width
        self._marks: list[str] = []

    def line(self, points: Sequence[Point], style: str) -> None:
        """A line through points."""
        path = " ".join(f"{self._at_x(a):.1f},{self._at_y(b):.1f}" for a, b in points)
        self._marks.append(f'<polyline class="{style}" points="{path}"/>')

    def point(self, x: float, y: float, style: str, tip: str, radius: float = 3.5) -> None:
        """One point, with a tooltip."""
        self._marks.append(
            f'<circle class="{style}" cx="{self._at_x(x):.1f}" cy="{self._at_y(y):.1f}" '
            f'r="{radius:g}"><title>{escape(tip)}</title></circle>'
        )

    def bar(self, left: float, right: float, height: float, style: str, tip: str) -> None:
        """A bar standing on the lower axis."""
        x, top, base = self._at_x(left), self._at_y(height), self._at_y(self._y.low)
        width = max(self._at_x(right) - x - 0.6, 0.6)
        self._marks.append(
            f'<rect class="{style}" x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" '
            f'height="{max(base - top, 0):.1f}"><title>{escape(tip)}</title></rect>'
        )

    def vertical(self, x: float, text: str) -> None:
        """A marked value on the lower axis."""
        at = self._at_x(x)
        is_late = self._x.share(x) > 0.7
        anchor, shift = ("end", -4) if is_late else ("start", 4)
        row = TOP + 10 + 13 * sum('class="mark"' in m for m in self._marks)
        self._marks.append(
            f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
            f'<text class="note" x="{at + shift:.1f}" y="{row}" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )

    def write(self) -> str:
        """The whole chart as an ``<svg>`` element."""
        return (
            f'<svg viewBox="0 0 {self._width} {HEIGHT}" role="img" '
            f'aria-label="{escape(self._label)}">{self._grid()}{"".join(self._marks)}</svg>'
        )

    def _at_x(self, value: float) -> float:
        return LEFT + self._x.share(value) * (self._width - LEFT - RIGHT)

    def _at_y(self, value: float) -> float:
        return HEIGHT - BOTTOM - self._y.share(value) * (HEIGHT - TOP - BOTTOM)

    def _grid(self) -> str:
        out = []
        bottom, right = HEIGHT - BOTTOM, self._width - RIGHT
        for tick in self._x.marks():
            at = self._at_x(tick)
            out.append(
                f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{bottom}"/>'
                f'<text class="tick" x="{at:.1f}" y="{bottom + 15}" text-anchor="middle">'
                f"{escape(self._x.write(tick))}</text>"
            )
        for tick in self._y.marks():
            at = self._at_y(tick)
            out.append(
                f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>'
                f'<text class="tick" x="{LEFT - 6}" y="{at + 3.5:.1f}" text-anchor="end">'
                f"{escape(self._y.write(tick))}</text>"
            )
        middle_x, middle_y = (LEFT + right) / 2, (TOP + bottom) / 2
        out.append(
            f'<text class="axis" x="{middle_x:.0f}" y="{HEIGHT - 8}" text-anchor="middle">'
            f'{escape(self._x.name)}</text><text class="axis" text-anchor="middle" '
            f'transform="translate(12 {middle_y:.0f}) rotate(-90)">{escape(self._y.name)}</text>'
        )
        return "".join(out)


def ranked_bars(label: str, rows: Sequence[tuple[str, float]], width: int = WIDTH) -> str:
    """Horizontal bars in the given order, each with its name and its share as text."""
    row_height, name_width, value_width = 17, 196, 52
    most = max((value for _, value in rows), default=1.0) or 1.0
    room = width - name_width - value_width
    out = []
    for i, (name, value) in enumerate(rows):
        y = i * row_height
        length = max(value / most * room, 1)
        out.append(
            f'<text class="tick" x="{name_width - 6}" y="{y + 12}" text-anchor="end">'
            f'{escape(name)}</text><rect class="fill-a" x="{name_width}" y="{y + 3}" '
            f'width="{length:.1f}" height="{row_height - 6}"/>'
            f'<text class="tick" x="{name_width + length + 5:.1f}" y="{y + 12}">'
            f"{percent(value)}</text>"
        )
    height = len(rows) * row_height + 4
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(out)}</svg>"
    )
