"""What the metadata of versions promises. Anyone may have written it: nothing is taken on trust."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from stream_scorer.quality.figures import LEVELS, Promise, Promises

_MAX_ROWS: Final = 2**53


def read_promises(metadata: Mapping[str, Any]) -> Promises:
    """The precision on the test rows, at the thresholds where the metadata states it."""
    found = {}
    for name in LEVELS:
        stated = _under(metadata, "metrics", "test", name)
        rows, frauds = _count(stated.get("rows")), _count(stated.get("frauds"))
        if rows and frauds is not None and frauds <= rows:
            found[name] = Promise(frauds, rows)
    return found


def _under(value: Any, *names: str) -> Mapping[str, Any]:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_ROWS
    return value if is_count else None
