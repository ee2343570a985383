"""Draws the rooms and their imports as an SVG: ``python -m tests.house --picture docs/rooms.svg``.

An arrow points from a room to a room it imports from. Arrows that a longer path implies are left
out, because all of them together are unreadable. The file needs no font and no script, and follows
the reader's light or dark colour scheme.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from tests.house.graph import PACKAGES, ROOT, Graph, room_graph
from tests.house.layers import Arrow, Layout, Node, lay_out, package_of, reduce_arrows

_BOX_HEIGHT: Final = 34
_LAYER_HEIGHT: Final = 82
_MARGIN: Final = 24
_HEAD: Final = 66  # title and explanation
_PAD: Final = 30  # a package's frame around its rooms
_CHARACTER: Final = 7.6  # width of one in the labels, about
_PORT_STEP: Final = 9.0  # between two arrow heads at a box
_EMPTY: Final = ("stream_scorer",)  # a package without code of its own

_STYLE: Final = """
svg { --page: #ffffff; --ink: #18181b; --soft: #52525b;
  --dashboard: #7c3aed; --dashboard-fill: #f5f3ff; --stream_scorer: #1d4ed8;
  --stream_scorer-fill: #eff6ff; --trainer: #15803d; --trainer-fill: #f0fdf4;
  --schemas: #b45309; --schemas-fill: #fffbeb; }
@media (prefers-color-scheme: dark) {
  svg { --page: #0d1117; --ink: #f4f4f5; --soft: #a1a1aa;
    --dashboard: #a78bfa; --dashboard-fill: #1c1733; --stream_scorer: #60a5fa;
    --stream_scorer-fill: #101d33; --trainer: #4ade80; --trainer-fill: #0e2317;
    --schemas: #fbbf24; --schemas-fill: #2a1f0a; }
}
text { font-family: system-ui, "Helvetica Neue", Arial, sans-serif; fill: var(--ink); }
.title { font-size: 20px; font-weight: 600; }
.note { font-size: 13px; fill: var(--soft); }
.room { font-size: 13.5px; font-weight: 500; text-anchor: middle; }
.name { font-size: 14px; font-weight: 700; }
.arrow { fill: none; stroke-width: 1.3; opacity: .8; }
.frame { stroke-width: 1.2; stroke-opacity: .45; }
.box { fill: var(--page); stroke-width: 1.4; }
""".strip()


def draw(root: Path = ROOT) -> str:
    """The picture of the code under ``root``."""
    graph = {room: set(targets) for room, targets in room_graph(root).items()}
    for name in _EMPTY:
        graph.pop(name, None)
    shown = reduce_arrows(graph)
    layout = lay_out(shown, {room: _width(room) for room in shown})
    ports = _ports(layout)
    width = max(end for _, end in layout.columns.values()) + 2 * (_MARGIN + _PAD)
    rows = max(layout.layers) * _LAYER_HEIGHT + _BOX_HEIGHT
    height = _HEAD + rows + 2 * _PAD + 2 * _MARGIN
    note = (
        f"An arrow points to a room that is imported. {_count(shown)} of {_count(graph)} arrows "
        "are drawn: the rest follow from these. No arrow points upwards."
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"',
        ' role="img" aria-label="The rooms of the code and what each imports, by layer">',
        f"<style>\n{_STYLE}\n</style>",
        *_markers(),
        f'<rect width="{width:.0f}" height="{height:.0f}" rx="10" fill="var(--page)"/>',
        _text("title", _MARGIN, 34, f"{len(graph)} rooms, each with one concern"),
        _text("note", _MARGIN, 55, note),
        *_frames(layout),
        *(_arrow(layout, arrow, ports) for arrow in layout.paths),
        *(_room(layout, room) for room in sorted(shown)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _count(graph: Graph) -> int:
    return sum(map(len, graph.values()))


def _text(kind: str, x: float, y: float, text: str, color: str = "") -> str:
    style = f' style="fill:var(--{color})"' if color else ""
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}"{style}>{escape(text)}</text>'


def write_picture(path: Path, root: Path = ROOT) -> None:
    """Write the picture of the code under ``root`` to ``path``."""
    path.write_text(draw(root), encoding="utf-8")


def _label(room: str) -> str:
    package, _, rest = room.partition(".")
    return rest.replace(".", "/") or package


def _width(room: str) -> float:
    return max(64.0, len(_label(room)) * _CHARACTER + 24)


def _x(layout: Layout, node: Node) -> float:
    return layout.center[node] + _MARGIN + _PAD


def _y(layout: Layout, node: Node) -> float:
    """The upper edge of a node's row."""
    # The frame of ``schemas`` begins below the frames of the other packages.
    extra = 2 * _PAD if _is_base(layout, node) else _PAD
    return _HEAD + (max(layout.layers) - layout.layer_of[node]) * _LAYER_HEIGHT + extra


def _is_base(layout: Layout, node: Node) -> bool:
    """Whether a node stands in a layer of ``schemas``."""
    rooms = [n for n in layout.layers[layout.layer_of[node]] if isinstance(n, str)]
    return all(package_of(n) == "schemas" for n in rooms)


def _markers() -> list[str]:
    return [
        "<defs>",
        *(
            f'<marker id="to-{package}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            f'markerHeight="7" orient="auto"><path d="M0 0.6L8 4L0 7.4z" fill="var(--{package})"/>'
            "</marker>"
            for package in PACKAGES
        ),
        "</defs>",
    ]


def _frames(layout: Layout) -> list[str]:
    parts = []
    for package in PACKAGES:
        rooms = [n for n in layout.center if isinstance(n, str) and package_of(n) == package]
        y = min(_y(layout, n) for n in rooms) - _PAD
        height = max(_y(layout, n) for n in rooms) + _BOX_HEIGHT + 16 - y
        left, right = (edge + _MARGIN + _PAD for edge in layout.columns[package])
        size = f'x="{left - 12:.0f}" y="{y:.0f}" width="{right - left + 24:.0f}" '
        colors = f'fill="var(--{package}-fill)" stroke="var(--{package})"'
        parts.append(f'<rect class="frame" {size}height="{height:.0f}" rx="10" {colors}/>')
        parts.append(_text("name", left, y + 20, package, package))
    return parts


def _room(layout: Layout, room: str) -> str:
    width, x, y = _width(room), _x(layout, room), _y(layout, room)
    return (
        f'<rect class="box" x="{x - width / 2:.0f}" y="{y:.0f}" width="{width:.0f}" '
        f'height="{_BOX_HEIGHT}" rx="7" stroke="var(--{package_of(room)})"/>'
        + _text("room", x, y + _BOX_HEIGHT / 2 + 5, _label(room))
    )


def _ports(layout: Layout) -> dict[tuple[Arrow, bool], float]:
    """(arrow, whether its upper end is meant) → how far from a box's centre that end lies."""
    found = {}
    for is_upper in (True, False):
        ends: dict[Node, list[tuple[float, Arrow]]] = {}
        for arrow, path in layout.paths.items():
            room, beside = (path[0], path[1]) if is_upper else (path[-1], path[-2])
            ends.setdefault(room, []).append((layout.center[beside], arrow))
        for room, arrows in ends.items():
            step = min(_PORT_STEP, (_width(str(room)) - _BOX_HEIGHT / 2) / len(arrows))
            for i, (_, arrow) in enumerate(sorted(arrows)):
                found[arrow, is_upper] = (i - (len(arrows) - 1) / 2) * step
    return found


def _arrow(layout: Layout, arrow: Arrow, ports: dict[tuple[Arrow, bool], float]) -> str:
    """A smooth line through the bends: vertical in every layer, so that it passes beside boxes."""
    path, package = layout.paths[arrow], package_of(arrow[0])
    x = [_x(layout, node) for node in path]
    x[0] += ports[arrow, True]
    x[-1] += ports[arrow, False]
    d = [f"M{x[0]:.0f} {_y(layout, path[0]) + _BOX_HEIGHT:.0f}"]
    for i, (upper, lower) in enumerate(pairwise(path)):
        y0, y1 = _y(layout, upper) + _BOX_HEIGHT, _y(layout, lower)
        middle, is_last = (y0 + y1) / 2, i + 2 == len(path)
        end = y1 - 1 if is_last else y1
        d.append(f"C{x[i]:.0f} {middle:.0f} {x[i + 1]:.0f} {middle:.0f} {x[i + 1]:.0f} {end:.0f}")
        if not is_last:
            d.append(f"V{y1 + _BOX_HEIGHT:.0f}")
    return (
        f'<path class="arrow" d="{"".join(d)}" stroke="var(--{package})" '
        f'marker-end="url(#to-{package})"/>'
    )
