"""A run as one SVG: events on a time axis, and curves over the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

_WIDTH: Final = 1100
_LEFT: Final = 190
_ROW: Final = 15
_TALL: Final = 130
_INK, _DIM, _FAULT, _KILL, _GRID = "#18181b", "#52525b", "#d97706", "#b91c1c", "#e4e4e7"
_LINES: Final = ("#1d4ed8", "#b45309", "#15803d")


@dataclass(frozen=True, slots=True)
class Span:
    """An event with a duration; seconds from the start."""

    name: str
    begun: float
    ended: float


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves with a common scale; each name has its (seconds, value) points."""

    title: str
    curves: dict[str, Sequence[tuple[float, float]]] = field(default_factory=dict)


def draw(title: str, spans: Sequence[Span], panels: Sequence[Panel]) -> str:
    """An SVG document."""
    points = [t for panel in panels for curve in panel.curves.values() for t, _ in curve]
    end = max([*points, *(span.ended for span in spans), 1.0])
    names = list(dict.fromkeys(span.name for span in sorted(spans, key=lambda s: s.begun)))
    top = 50
    parts = [_spans(spans, names, top, end)]
    top += _ROW * len(names) + 40
    for panel in panels:
        parts.append(_panel(panel, top, end))
        top += _TALL + 55
    parts.append(_axis(top - 40, end))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" '
        f'font-family="system-ui, sans-serif" font-size="11">'
        f'<rect width="{_WIDTH}" height="{top}" fill="#fff"/>'
        f'<text x="20" y="24" font-size="14" font-weight="600" fill="{_INK}">{escape(title)}</text>'
        f"{''.join(parts)}</svg>\n"
    )


def _x(seconds: float, end: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - 30) * seconds / end


def _spans(spans: Sequence[Span], names: list[str], top: int, end: float) -> str:
    out = []
    for row, name in enumerate(names):
        y = top + _ROW * row
        mine = [span for span in spans if span.name == name]
        label = name if len(mine) == 1 else f"{name} ({len(mine)})"
        out.append(
            f'<text x="{_LEFT - 10}" y="{y + 9}" text-anchor="end" fill="{_INK}">'
            f"{escape(label)}</text>"
        )
        for span in mine:
            wide = max(1.5, _x(span.ended, end) - _x(span.begun, end))
            out.append(
                f'<rect x="{_x(span.begun, end):.1f}" y="{y}" width="{wide:.1f}" height="11" '
                f'fill="{_KILL if name == "kill" else _FAULT}"/>'
            )
    return "".join(out)


def _panel(panel: Panel, top: int, end: float) -> str:
    highest = max((v for curve in panel.curves.values() for _, v in curve), default=0.0) or 1.0
    out = [
        (
            f'<text x="{_LEFT}" y="{top - 8}" font-weight="600" fill="{_INK}">'
            f"{escape(panel.title)}</text>"
        )
    ]
    for share in (0.0, 0.5, 1.0):
        y = top + _TALL * (1 - share)
        out.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - 30}" y1="{y:.0f}" y2="{y:.0f}" stroke="{_GRID}"/>'
            f'<text x="{_LEFT - 10}" y="{y + 4:.0f}" text-anchor="end" fill="{_DIM}">'
            f"{highest * share:,.{0 if highest >= 10 else 1}f}</text>"
        )
    for place, (name, curve) in enumerate(panel.curves.items()):
        line = " ".join(f"{_x(t, end):.1f},{top + _TALL * (1 - v / highest):.1f}" for t, v in curve)
        colour = _LINES[place % len(_LINES)]
        out.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.3"/>'
            f'<text x="{_WIDTH - 30 - 90 * place}" y="{top - 8}" text-anchor="end" '
            f'fill="{colour}">{escape(name)}</text>'
        )
    return "".join(out)


def _axis(y: int, end: float) -> str:
    return "".join(
        f'<text x="{_x(end * share, end):.0f}" y="{y}" text-anchor="middle" fill="{_DIM}">'
        f"{end * share:,.0f} s</text>"
        for share in (0, 0.25, 0.5, 0.75, 1)
    )
