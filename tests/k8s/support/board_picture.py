"""Draws panels of the dashboards as one SVG, from their queries on a real Prometheus."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from tests.k8s.support.boards import Query, filled, queries
from tests.k8s.support.observed import Prometheus

_SHOWN: Final = (
    ("fraud-service.json", "Throughput"),
    ("fraud-service.json", "Lag by partition"),
    ("fraud-service.json", "Batch latency, poll to commit"),
    ("fraud-service.json", "Batch latency by step, p95"),
    ("fraud-service.json", "Dead letters by stage"),
    ("fraud-service.json", "Memory"),
    ("fraud-service.json", "/predict requests"),
    ("fraud-service.json", "/predict latency"),
    ("fraud-model.json", "Decisions"),
    ("fraud-model.json", "Flag rate"),
    ("fraud-model.json", "Drift (PSI, 6 h)"),
    ("fraud-model.json", "Share of scores by bin, 6 h"),
)
_COLUMNS: Final = 3
_WIDTH, _HEIGHT = 370, 210  # of a panel
_PLOT: Final = (52, 34, 306, 118)  # x, y, width and height within it
_COLOURS: Final = ("#1d4ed8", "#b45309", "#047857", "#b91c1c", "#6d28d9", "#0e7490")
_INK, _DIM, _LINE = "#18181b", "#52525b", "#e4e4e7"
_RATE: Final = "20s"  # ten scrapes; Grafana uses four
_LEGEND: Final = 4  # names; the rest is only counted

Points = Sequence[tuple[float, float]]


def draw(prometheus: Prometheus, seconds: float) -> str:
    """The SVG of the last ``seconds``. The axes start at 0."""
    parts = []
    for number, (board, panel) in enumerate(_SHOWN):
        found = [q for q in queries() if (q.board, q.panel, q.kind) == (board, panel, "timeseries")]
        assert found, panel
        lines = [line for q in found for line in _lines(prometheus, q, seconds)]
        x, y = number % _COLUMNS * _WIDTH, 30 + number // _COLUMNS * _HEIGHT
        title = f"{board.removeprefix('fraud-').removesuffix('.json')}: {panel}"
        parts.append(f'<g transform="translate({x} {y})">{_panel(title, found[0].unit, lines)}</g>')
    width, height = _COLUMNS * _WIDTH, 40 + -(-len(_SHOWN) // _COLUMNS) * _HEIGHT
    head = f"{seconds:.0f} s of a real run: queries of the dashboards, answered by Prometheus"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="system-ui, sans-serif" font-size="11">'
        f'<rect width="{width}" height="{height}" fill="#fff"/>'
        f'<text x="12" y="20" fill="{_DIM}">{head}</text>{"".join(parts)}</svg>\n'
    )


def _lines(prometheus: Prometheus, query: Query, seconds: float) -> list[tuple[str, Points]]:
    found = []
    for series in prometheus.series(filled(query.expr, _RATE), seconds):
        name = query.legend
        for label, value in series["metric"].items():
            name = name.replace("{{" + label + "}}", value)
        points = [(float(t), float(v)) for t, v in series["values"] if v not in ("NaN", "+Inf")]
        if points:
            found.append((name or query.panel, points))
    return sorted(found)


def _panel(title: str, unit: str, lines: Sequence[tuple[str, Points]]) -> str:
    x, y, width, height = _PLOT
    out = [f'<text x="12" y="22" font-weight="600" fill="{_INK}">{escape(title)}</text>']
    points = [point for _, line in lines for point in line]
    if not points:
        return "".join([*out, f'<text x="{x}" y="{y + 60}" fill="{_DIM}">no data</text>'])
    start, end = min(t for t, _ in points), max(t for t, _ in points)
    top = _nice(max(v for _, v in points))
    for share in (0.0, 0.5, 1.0):
        line = y + height * (1 - share)
        out.append(
            f'<path d="M{x} {line:.1f}h{width}" stroke="{_LINE}"/>'
            f'<text x="{x - 6}" y="{line + 4:.1f}" text-anchor="end" fill="{_DIM}">'
            f"{_number(top * share, unit)}</text>"
        )
    across, down = width / max(1.0, end - start), height / top
    for number, (_, line_points) in enumerate(lines):
        places = " ".join(
            f"{x + across * (t - start):.1f},{y + height - down * v:.1f}" for t, v in line_points
        )
        out.append(
            f'<polyline points="{places}" fill="none" stroke-width="1.3" '
            f'stroke="{_COLOURS[number % len(_COLOURS)]}"/>'
        )
    return "".join([*out, _legend([name for name, _ in lines], x, y + height + 18)])


def _legend(names: Sequence[str], x: int, y: int) -> str:
    shown = [n[:22] for n in names[:_LEGEND]]
    if len(names) > _LEGEND:
        shown = [*shown[: _LEGEND - 1], f"and {len(names) - _LEGEND + 1} more"]
    out = []
    for number, name in enumerate(shown):
        colour = _COLOURS[number] if number < _LEGEND - 1 or len(names) <= _LEGEND else _DIM
        place = x + number % 2 * 150, y + number // 2 * 15
        out.append(f'<text x="{place[0]}" y="{place[1]}" fill="{colour}">{escape(name)}</text>')
    return "".join(out)


def _nice(value: float) -> float:
    """The smallest of 1, 2, 5, 10, … that is not below ``value``."""
    if value <= 0:
        return 1.0
    decade = 10.0 ** math.floor(math.log10(value))
    return next(step * decade for step in (1, 2, 5, 10) if value <= step * decade)


def _number(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{value:.1%}"
    if unit == "bytes":
        return f"{value / 1e6:,.0f} MB"
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 1 else f"{text} s"
    return f"{text}/s" if unit in ("ops", "reqps") else text
