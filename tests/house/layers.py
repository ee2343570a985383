"""The layout of the picture: layers from top to bottom, few crossings, short arrows.

The method follows Sugiyama, Tagawa and Toda (1981): assign layers, put a bend where an arrow passes
a layer, order each layer by its neighbours, then move the nodes towards their neighbours. Every
step is deterministic, so that the same code always gives the same picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from random import Random
from typing import Final

from tests.house.graph import Graph

COLUMNS: Final = ("dashboard", "stream_scorer", "trainer")
"""Packages that are drawn side by side; ``schemas`` is drawn below all of them."""

_BASE: Final = "schemas"
_SWEEPS: Final = 8
_STARTS: Final = 40
_STEPS: Final = 400
_BEND_WIDTH: Final = 14.0
_GAP: Final = 22.0  # between two nodes of a layer
_LEAST_GAP: Final = 6.0  # between nodes, where a smaller gap makes a line straight
_PASSES: Final = 8
COLUMN_GAP: Final = 58.0
_SAME_PACKAGE: Final = 2  # weight of arrows within a package; other arrows weigh 1

Arrow = tuple[str, str]
Node = str | tuple[str, str, int]
"""A room, or the bend of an arrow (from, to) in a layer."""


@dataclass(slots=True)
class Layout:
    """Layers from bottom to top, and the horizontal centre of every node."""

    layers: dict[int, list[Node]]
    center: dict[Node, float] = field(default_factory=dict)
    columns: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Package → the left and right edge of its column."""
    layer_of: dict[Node, int] = field(default_factory=dict)
    paths: dict[Arrow, list[Node]] = field(default_factory=dict)
    """Arrow → the nodes it leads through, its ends included."""


def package_of(node: Node) -> str:
    """The package of a room; a bend belongs to the room its arrow starts at."""
    room = node if isinstance(node, str) else node[0]
    return room.partition(".")[0]


def reduce_arrows(graph: Graph) -> Graph:
    """The graph without the arrows that a longer path implies (its transitive reduction)."""

    @cache
    def reached(room: str) -> frozenset[str]:
        found = set(graph[room])
        for target in graph[room]:
            found |= reached(target)
        return frozenset(found)

    return {
        room: {t for t in targets if not any(t in reached(o) for o in targets if o != t)}
        for room, targets in graph.items()
    }


def assign_layers(graph: Graph) -> dict[str, int]:
    """Room → layer, counted from the bottom. Every arrow leads at least one layer down."""

    @cache
    def height(room: str) -> int:
        return max((height(target) + 1 for target in graph[room]), default=0)

    layers = {room: height(room) for room in sorted(graph)}
    floor = max(layers[room] for room in graph if package_of(room) == _BASE) + 1

    @cache
    def raised(room: str) -> int:
        if package_of(room) == _BASE:
            return layers[room]
        return max([floor, *(raised(target) + 1 for target in graph[room])])

    layers = {room: raised(room) for room in sorted(graph)}
    sources = defaultdict(list)
    for room, targets in graph.items():
        for target in targets:
            sources[target].append(room)
    for room in sorted(graph, key=lambda r: (-layers[r], r)):
        above, below = sources[room], graph[room]
        if above and package_of(room) != _BASE and _pull(room, above) >= _pull(room, below):
            layers[room] = min(layers[source] for source in above) - 1
    return layers


def _pull(room: str, others: Iterable[str]) -> int:
    return sum(_SAME_PACKAGE if package_of(o) == package_of(room) else 1 for o in others)


def lay_out(graph: Graph, width: Mapping[str, float]) -> Layout:
    """Place every room of ``graph``, whose boxes have the given widths."""
    layer_of = assign_layers(graph)
    layout = Layout({n: [] for n in range(max(layer_of.values()) + 1)})
    layout.layer_of.update(layer_of)
    for room in sorted(graph):
        layout.layers[layer_of[room]].append(room)
        for target in sorted(graph[room]):
            path: list[Node] = [room]
            for number in range(layer_of[room] - 1, layer_of[target], -1):
                bend = (room, target, number)
                layout.layer_of[bend] = number
                layout.layers[number].append(bend)
                path.append(bend)
            layout.paths[room, target] = [*path, target]
    neighbours: dict[Node, list[Node]] = defaultdict(list)
    for path in layout.paths.values():
        for upper, lower in pairwise(path):
            neighbours[upper].append(lower)
            neighbours[lower].append(upper)
    _order(layout, neighbours)
    _place(layout, neighbours, width)
    return layout


def _column(node: Node) -> int:
    package = package_of(node)
    return COLUMNS.index(package) if package in COLUMNS else len(COLUMNS) // 2


def _order(layout: Layout, neighbours: Mapping[Node, Sequence[Node]]) -> None:
    """Order the layers by the mean place of their neighbours, keeping the best order found.

    The result depends on the order it starts from, so several are tried.
    """
    first = {n: list(nodes) for n, nodes in layout.layers.items()}
    best, fewest = first, count_crossings(layout)
    for seed in range(_STARTS):
        layout.layers = {n: list(nodes) for n, nodes in first.items()}
        shuffle = Random(seed).shuffle
        for nodes in layout.layers.values() if seed else ():
            shuffle(nodes)
        for sweep in range(_SWEEPS):
            _sweep(layout, neighbours, is_down=sweep % 2 == 0)
            _swap(layout, neighbours)
            if (crossings := count_crossings(layout)) < fewest:
                best = {n: list(nodes) for n, nodes in layout.layers.items()}
                fewest = crossings
    layout.layers = best


def _sweep(layout: Layout, neighbours: Mapping[Node, Sequence[Node]], *, is_down: bool) -> None:
    for number in sorted(layout.layers, reverse=is_down):
        beside = layout.layers.get(number + (1 if is_down else -1), ())
        _sort(layout.layers[number], {node: i for i, node in enumerate(beside)}, neighbours)


def _sort(
    layer: list[Node], places: Mapping[Node, int], neighbours: Mapping[Node, Sequence[Node]]
) -> None:
    def key(pair: tuple[int, Node]) -> tuple[int, float, int]:
        index, node = pair
        found = [places[other] for other in neighbours[node] if other in places]
        return _column(node), sum(found) / len(found) if found else float(index), index

    layer[:] = [node for _, node in sorted(enumerate(layer), key=key)]


def _swap(layout: Layout, neighbours: Mapping[Node, Sequence[Node]]) -> None:
    """Swap adjacent nodes of a layer while that removes crossings."""
    for number, layer in layout.layers.items():
        is_better = True
        while is_better:
            is_better = False
            for i in range(len(layer) - 1):
                one, other = layer[i], layer[i + 1]
                if _column(one) == _column(other) and (
                    _between(layout, number, one, other, neighbours)
                    > _between(layout, number, other, one, neighbours)
                ):
                    layer[i], layer[i + 1] = other, one
                    is_better = True


def _between(
    layout: Layout, number: int, left: Node, right: Node, neighbours: Mapping[Node, Sequence[Node]]
) -> int:
    """Crossings between the arrows of two nodes, if ``left`` is placed left of ``right``."""
    total = 0
    for beside in (number - 1, number + 1):
        places = {node: i for i, node in enumerate(layout.layers.get(beside, ()))}
        lefts = [places[n] for n in neighbours[left] if n in places]
        rights = [places[n] for n in neighbours[right] if n in places]
        total += sum(a > b for a in lefts for b in rights)
    return total


def count_crossings(layout: Layout) -> int:
    """How often two arrows cross."""
    place = {node: i for layer in layout.layers.values() for i, node in enumerate(layer)}
    by_layer: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for path in layout.paths.values():
        for upper, lower in pairwise(path):
            by_layer[layout.layer_of[upper]].append((place[upper], place[lower]))
    return sum(
        (a - c) * (b - d) < 0
        for pieces in by_layer.values()
        for i, (a, b) in enumerate(pieces)
        for c, d in pieces[:i]
    )


def _place(
    layout: Layout, neighbours: Mapping[Node, Sequence[Node]], width: Mapping[str, float]
) -> None:
    size = {
        node: width[node] if isinstance(node, str) else _BEND_WIDTH
        for layer in layout.layers.values()
        for node in layer
    }
    left = 0.0
    for package in COLUMNS:
        need = max(
            sum(size[node] + _GAP for node in layer if package_of(node) == package)
            for layer in layout.layers.values()
        )
        layout.columns[package] = left, left + need
        left += need + COLUMN_GAP
    layout.columns[_BASE] = 0.0, left - COLUMN_GAP
    for layer in layout.layers.values():
        for package, nodes in _by_package(layer).items():
            start, end = layout.columns[package]
            total = sum(size[node] + _GAP for node in nodes)
            x = start + (end - start - total) / 2
            for node in nodes:
                layout.center[node] = x + (size[node] + _GAP) / 2
                x += size[node] + _GAP
    numbers = sorted(layout.layers)
    for step in range(_STEPS):
        for number in numbers if step % 2 else reversed(numbers):
            for package, nodes in _by_package(layout.layers[number]).items():
                _move(layout, nodes, layout.columns[package], neighbours, size)
    for _ in range(_PASSES):
        for arrow in sorted(layout.paths, key=lambda a: (-len(layout.paths[a]), a)):
            _straighten(layout, layout.paths[arrow][1:-1], size)


def _straighten(layout: Layout, bends: Sequence[Node], size: Mapping[Node, float]) -> None:
    """Align as many consecutive bends as possible vertically."""
    run: list[Node] = []
    low, high = float("-inf"), float("inf")
    for bend in [*bends, None]:
        room = _free(layout, bend, size) if bend is not None else (high, low)
        if bend is None or max(low, room[0]) > min(high, room[1]):
            if run:
                mean = sum(layout.center[one] for one in run) / len(run)
                x = min(max(mean, low), high)
                layout.center.update(dict.fromkeys(run, x))
            run, low, high = [], float("-inf"), float("inf")
        if bend is not None:
            run.append(bend)
            low, high = max(low, room[0]), min(high, room[1])


def _free(layout: Layout, node: Node, size: Mapping[Node, float]) -> tuple[float, float]:
    """The range in which a node can move between its neighbours in the layer."""
    layer = layout.layers[layout.layer_of[node]]
    place, half = layer.index(node), size[node] / 2
    low, high = layout.columns[package_of(node)]
    low, high = low + half, high - half
    if place > 0:
        before = layer[place - 1]
        low = max(low, layout.center[before] + size[before] / 2 + half + _LEAST_GAP)
    if place + 1 < len(layer):
        after = layer[place + 1]
        high = min(high, layout.center[after] - size[after] / 2 - half - _LEAST_GAP)
    return low, high


def _by_package(layer: Sequence[Node]) -> dict[str, list[Node]]:
    found: dict[str, list[Node]] = defaultdict(list)
    for node in layer:
        found[package_of(node)].append(node)
    return found


def _move(
    layout: Layout,
    nodes: Sequence[Node],
    bounds: tuple[float, float],
    neighbours: Mapping[Node, Sequence[Node]],
    size: Mapping[Node, float],
) -> None:
    """Move nodes as close to their neighbours as their order and widths allow.

    Least squares under minimal distances: pool adjacent violators (Ayer et al., 1955).
    """
    offset, offsets = 0.0, []
    for before, node in pairwise([None, *nodes]):
        half = size[node] / 2 if node is not None else 0.0
        offset += half + (_GAP + size[before] / 2 if before is not None else _GAP / 2)
        offsets.append(offset)
    pools: list[list[float]] = []  # sum of weighted preferred positions, weight, members
    for node, shift in zip(nodes, offsets, strict=True):
        preferred, weight = _preferred(layout, node, neighbours)
        pools.append([(preferred - shift) * weight, weight, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            last = pools.pop()
            pools[-1] = [a + b for a, b in zip(pools[-1], last, strict=True)]
    start, end = bounds
    highest = end - (offsets[-1] + size[nodes[-1]] / 2 + _GAP / 2)
    found = [total / weight for total, weight, count in pools for _ in range(int(count))]
    for node, base, shift in zip(nodes, found, offsets, strict=True):
        layout.center[node] = min(max(base, start), highest) + shift


def _preferred(
    layout: Layout, node: Node, neighbours: Mapping[Node, Sequence[Node]]
) -> tuple[float, float]:
    """The preferred position of a node, and the weight of that preference."""
    others = neighbours[node]
    if not others:
        return layout.center[node], 0.1
    # Consecutive bends should be aligned vertically.
    weights = [
        16.0 if not isinstance(o, str) and not isinstance(node, str)
        else 2.0 if package_of(o) == package_of(node)
        else 1.0
        for o in others
    ]  # fmt: skip
    total = sum(w * layout.center[o] for w, o in zip(weights, others, strict=True))
    return total / sum(weights), sum(weights)
