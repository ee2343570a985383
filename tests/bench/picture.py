"""Draws the figures as one SVG: contestants, time by stage, batch sizes, latency."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

_WIDTH: Final = 1100
_INK, _DIM, _BAR, _OWN = "#18181b", "#52525b", "#a1a1aa", "#1d4ed8"


def draw(report: Mapping[str, Any], latency: Sequence[float]) -> str:
    """An SVG document."""
    rates = {k: v["median"] for k, v in report["rows_a_second"].items()}
    parts = [_bars(20, 50, "Rows a second (logarithmic)", rates, logarithmic=True)]
    below = 90 + 24 * len(rates)
    stages = {k: round(v, 2) for k, v in report.get("stage_microseconds_a_row", {}).items()}
    if stages:
        parts.append(_bars(20, below, "Microseconds a row by stage", stages))
    batches = {f"{k} records": round(v) for k, v in report.get("rows_by_batch", {}).items()}
    if batches:
        parts.append(_bars(560, below, "Rows a second by largest batch", batches))
    height = below + 40 + 24 * max(len(stages), len(batches), 1)
    if latency:
        parts.append(_histogram(20, height, latency))
        height += 210
    machine = escape(report["machine"]["processor"])
    model = f"{report['model']['trees']} trees of {report['model']['leaves']} leaves"
    title = f"{machine}; {model}; batches of up to {report['batch']}; 3.5 % flagged"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height + 20}" '
        f'font-family="system-ui, sans-serif" font-size="13">'
        f'<rect width="{_WIDTH}" height="{height + 20}" fill="#fff"/>'
        f'<text x="20" y="26" fill="{_DIM}">{title}</text>{"".join(parts)}</svg>\n'
    )


def _bars(
    x: int, y: int, title: str, values: Mapping[str, float], *, logarithmic: bool = False
) -> str:
    room = 280 if not logarithmic else 560
    names = 290 if logarithmic else 120
    top = max(values.values())
    out = [f'<text x="{x}" y="{y}" font-weight="600" fill="{_INK}">{escape(title)}</text>']
    for k, (name, value) in enumerate(values.items()):
        share = math.log10(max(value, 1)) / math.log10(top) if logarithmic else value / top
        line = y + 24 * (k + 1)
        colour = _OWN if "scorer" in name or not logarithmic else _BAR
        out.append(
            f'<text x="{x}" y="{line}" fill="{_INK}">{escape(name)}</text>'
            f'<rect x="{x + names}" y="{line - 12}" width="{max(1, room * share):.0f}" '
            f'height="15" fill="{colour}"/>'
            f'<text x="{x + names + 8 + room * share:.0f}" y="{line}" fill="{_DIM}">{value:,}'
            "</text>"
        )
    return "".join(out)


def _histogram(x: int, y: int, values: Sequence[float]) -> str:
    ordered = sorted(values)
    edge = ordered[int(len(ordered) * 0.995)]
    bins = [0] * 60
    for value in ordered:
        bins[min(59, int(value / edge * 60))] += 1
    p50, p99 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    title = f"Producer to committed score at 500 a second: p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    out = [f'<text x="{x}" y="{y}" font-weight="600" fill="{_INK}">{title}</text>']
    for k, count in enumerate(bins):
        tall = 140 * count / max(bins)
        out.append(
            f'<rect x="{x + 16 * k}" y="{y + 155 - tall:.0f}" width="14" height="{tall:.0f}" '
            f'fill="{_OWN}"/>'
        )
    out += [
        f'<text x="{x + 960 * share:.0f}" y="{y + 172}" fill="{_DIM}">{edge * share:.0f} ms</text>'
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    return "".join(out)
