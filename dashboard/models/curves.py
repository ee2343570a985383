"""The curves in a version's metadata, on shared grids, so that two versions fit in one chart."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dashboard.models.facts import find, number

RECALLS: Final = tuple(step / 50 for step in range(1, 51))
BUDGETS: Final = (0.005, *(step / 100 for step in range(1, 11)))
"""Shares of transactions that are reviewed."""

_MAX_POINTS: Final = 5000


def describe_curves(metadata: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Precision at each of ``RECALLS``, and recall at each of ``BUDGETS``. None where unknown."""
    precision = _points(find(metadata, "plots", "precision_recall"))
    recall = _points(find(metadata, "plots", "recall_by_budget"))
    return {"precision": _read(precision, RECALLS), "recall": _read(recall, BUDGETS)}


def _points(found: Any) -> list[tuple[float, float]]:
    """The points of a curve by x, the highest y of each x, without what is not a share."""
    best: dict[float, float] = {}
    for point in found[:_MAX_POINTS] if isinstance(found, list) else []:
        if not isinstance(point, list) or len(point) < 2:
            continue
        x, y = number(point[0]), number(point[1])
        if x is not None and y is not None and 0 <= x <= 1 and 0 <= y <= 1:
            best[x] = max(y, best.get(x, 0.0))
    return sorted(best.items())


def _read(points: Sequence[tuple[float, float]], grid: Sequence[float]) -> list[float | None]:
    """The curve at each x of the grid, interpolated. None outside of its points."""
    xs = [x for x, _ in points]
    found: list[float | None] = []
    for x in grid:
        after = bisect.bisect_left(xs, x)
        if after == len(xs):
            found.append(None)
        elif xs[after] == x:
            found.append(points[after][1])
        elif after == 0:
            found.append(None)
        else:
            (x0, y0), (x1, y1) = points[after - 1], points[after]
            found.append(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
    return found
