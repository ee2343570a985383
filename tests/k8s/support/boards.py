"""Reads the Grafana dashboards: panels, queries, variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from tests.k8s.support.rendering import K8S

FOLDER = K8S / "components/monitoring/dashboards"
_ALL = {"namespace": ".*", "pod": ".*", "group": ".*"}


class Query(NamedTuple):
    """One query of a panel. ``expr`` still contains variables."""

    board: str
    panel: str
    expr: str
    legend: str
    unit: str
    kind: str


@cache
def boards() -> dict[str, dict[str, Any]]:
    """Every dashboard, by file name."""
    return {
        path.name: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))
    }


def panels(board: str) -> list[dict[str, Any]]:
    """The panels that show data."""
    return [panel for panel in boards()[board]["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    """Every query of every panel."""
    for board in boards():
        for panel in panels(board):
            unit = panel["fieldConfig"]["defaults"]["unit"]
            for target in panel["targets"]:
                expr, legend = target["expr"], target["legendFormat"]
                yield Query(board, panel["title"], expr, legend, unit, panel["type"])


def variable_queries(board: str) -> Iterator[str]:
    """The selectors inside the ``label_values`` of a dashboard's variables."""
    for variable in boards()[board]["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert found, variable["query"]
            yield found[1]


def filled(expr: str, rate_interval: str = "1m") -> str:
    """An expression with every variable set to All."""
    for name, value in (_ALL | {"__rate_interval": rate_interval}).items():
        expr = expr.replace(f"${name}", value)
    assert "$" not in expr, expr
    return expr
