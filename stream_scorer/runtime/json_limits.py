"""JSON from the artifact store, which is untrusted: its size is limited before it is parsed."""

from __future__ import annotations

import json
from typing import Any, Final

MAX_VALUES: Final = 500_000
"""Each costs at most about 100 bytes in Python; a real ``metadata.json`` has about 20,000."""

MAX_DEPTH: Final = 64
"""Recursive code may walk the parsed value."""

_SHOWN_CHARACTERS: Final = 200


def parse_object(content: bytes, max_values: int = MAX_VALUES) -> dict[str, Any]:
    """The JSON object in ``content``, which may have ``max_values`` values.

    Raises:
        ValueError: it is not a JSON object, it has a key twice, or it could exhaust the memory or
            overflow the stack.
    """
    # Each value but the first follows one of these. Those inside strings count too: only stricter.
    values = content.count(b",") + content.count(b"[") + content.count(b"{") + content.count(b":")
    if values > max_values:
        raise ValueError(f"it has more than {max_values} values")
    try:
        parsed = json.loads(content, object_pairs_hook=_unique)
        too_deep = _is_deeper(parsed, MAX_DEPTH)
    except RecursionError:
        too_deep, parsed = True, None
    if too_deep:
        raise ValueError(f"it nests deeper than {MAX_DEPTH} levels")
    if not isinstance(parsed, dict):
        raise ValueError("it is not a JSON object")
    return parsed


def shown(value: object) -> str:
    """A value of such an object as text for a message; long text is truncated."""
    text = str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's members; two readers could take different values of a key that occurs twice."""
    members = dict(pairs)
    if len(members) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"it has the key {shown(twice)!r} twice")
    return members


def _is_deeper(value: object, depth: int) -> bool:
    level = [value]
    for _ in range(depth + 1):
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        if not inner:
            return False
        level = inner
    return True
