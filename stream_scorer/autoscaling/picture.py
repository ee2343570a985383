"""Draws curves over time as one SVG, in panels with a common time axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Final

_WIDTH: Final = 1000
_LEFT: Final = 90
_RIGHT: Final = 20
_TALL: Final = 150
_GAP: Final = 62
_INK, _DIM, _GRID = "#18181b", "#52525b", "#e4e4e7"
COLOURS: Final = ("#1d4ed8", "#d97706", "#15803d", "#a21caf")

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Curve:
    """Values over time; a step curve keeps its value until the next point."""

    name: str
    points: Sequence[Point]
    is_step: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves with a common scale that starts at 0."""

    title: str
    curves: Sequence[Curve]


def draw(title: str, panels: Sequence[Panel]) -> str:
    """Draw the panels; returns an SVG document."""
    end = max((t for p in panels for c in p.curves for t, _ in c.points), default=1.0) or 1.0
    top = 66
    parts = []
    for panel in panels:
        parts.append(_panel(panel, top, end))
        top += _TALL + _GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" '
        f'font-family="system-ui, sans-serif" font-size="12">'
        f'<rect width="{_WIDTH}" height="{top}" fill="#fff"/>'
        f'<text x="20" y="26" font-size="15" font-weight="600" fill="{_INK}">{escape(title)}</text>'
        f"{''.join(parts)}{_axis(top - _GAP + 18, end)}</svg>\n"
    )


def _panel(panel: Panel, top: int, end: float) -> str:
    highest = max((v for c in panel.curves for _, v in c.points), default=0.0) or 1.0
    label = f'<text x="{_LEFT}" y="{top - 10}" font-weight="600" fill="{_INK}">'
    out = [f"{label}{escape(panel.title)}</text>"]
    for share in (0.0, 0.5, 1.0):
        y = top + _TALL * (1 - share)
        digits = 0 if highest >= 10 else 1
        out.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.0f}" y2="{y:.0f}" '
            f'stroke="{_GRID}"/><text x="{_LEFT - 8}" y="{y + 4:.0f}" text-anchor="end" '
            f'fill="{_DIM}">{highest * share:,.{digits}f}</text>'
        )
    for place, curve in enumerate(panel.curves):
        colour = COLOURS[place % len(COLOURS)]
        line = " ".join(
            f"{_x(t, end):.1f},{top + _TALL * (1 - v / highest):.1f}" for t, v in _corners(curve)
        )
        dash = ' stroke-dasharray="5 3"' if place else ""
        out.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>'
            f'<text x="{_WIDTH - _RIGHT - 150 * (len(panel.curves) - 1 - place)}" y="{top - 10}" '
            f'text-anchor="end" fill="{colour}">{escape(curve.name)}</text>'
        )
    return "".join(out)


def _corners(curve: Curve) -> list[Point]:
    """The points of the line: a corner at each step, and no points inside a flat part."""
    points = list(curve.points)
    if curve.is_step:
        corners = points[:1]
        for before, after in pairwise(points):
            if after[1] != before[1]:
                corners += [(after[0], before[1]), after]
        return [*corners, *points[-1:]]
    inner = [
        b
        for a, b, c in zip(points, points[1:], points[2:], strict=False)
        if not a[1] == b[1] == c[1]
    ]
    return [*points[:1], *inner, *points[-1:]]


def _x(seconds: float, end: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * seconds / end


def _axis(y: int, end: float) -> str:
    return "".join(
        f'<text x="{_x(end * share, end):.0f}" y="{y}" text-anchor="middle" fill="{_DIM}">'
        f"{end * share:,.0f} s</text>"
        for share in (0, 0.25, 0.5, 0.75, 1)
    )
