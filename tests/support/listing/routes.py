"""All routes of the dashboard, for tests that ask each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


def routes_of(routes: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """The method and the path of each route."""
    for route in routes:
        if included := getattr(route, "original_router", None):
            yield from routes_of(included.routes)
        elif methods := getattr(route, "methods", None):
            yield from ((method, route.path) for method in methods - {"HEAD"})
        else:
            assert route.path == "/static", f"what is {route!r}?"
