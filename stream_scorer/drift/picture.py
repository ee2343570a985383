"""Two histograms as an SVG picture. Pure; all numbers are also in a table beside it."""

from __future__ import annotations

from typing import Final

from stream_scorer.drift.comparison import Shift

WIDTH: Final = 420
HEIGHT: Final = 120
_BASE: Final = HEIGHT - 4.0


def draw_bars(shift: Shift) -> str:
    """Pairs of bars, the reference left and the live rows right; classes set the colours."""
    highest = max(*shift.expected, *shift.found, 1e-9)
    step = WIDTH / len(shift.found)
    parts = []
    for number, pair in enumerate(zip(shift.expected, shift.found, strict=True)):
        for side, (share, name) in enumerate(zip(pair, ("before", "now"), strict=True)):
            height = share / highest * (_BASE - 4)
            x = number * step + step * (0.08 + 0.42 * side)
            parts.append(
                f'<rect class="drift-{name}" x="{x:.1f}" y="{_BASE - height:.1f}" '
                f'width="{step * 0.4:.1f}" height="{height:.1f}"/>'
            )
    return (
        f'<svg class="drift-bars" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" aria-hidden="true" focusable="false">{"".join(parts)}'
        f'<path class="drift-axis" d="M0 {_BASE}H{WIDTH}"/></svg>'
    )
