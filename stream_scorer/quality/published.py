"""The last result in the artifact store, where the dashboard reads it.

It is one small JSON object that is replaced as a whole, by compare-and-set. A run that began
earlier never replaces the result of a later one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from stream_scorer.errors import StoreConflict, StoreError
from stream_scorer.model.store.names import QUALITY, QUALITY_MAX_BYTES
from stream_scorer.model.store.objects import Objects
from stream_scorer.runtime.json_limits import parse_object

MAX_VERSIONS: Final = 10
"""The newest versions that are published; the command prints all of them."""

MAX_PRODUCTS: Final = 20
_ATTEMPTS: Final = 3


def publish(objects: Objects, result: Mapping[str, Any]) -> bool:
    """Write a result; False if the store has that of a later run.

    Raises:
        StoreError: the store cannot be reached or refuses the request.
    """
    content = orjson.dumps(_shortened(result))
    if len(content) > QUALITY_MAX_BYTES:
        raise StoreError(
            f"the result has {len(content)} bytes; {QUALITY} may have {QUALITY_MAX_BYTES}"
        )
    for attempt in range(_ATTEMPTS):
        before = objects.read(QUALITY, QUALITY_MAX_BYTES)
        if before is not None and _computed_at(before.content) > result["computed_at"]:
            return False
        try:
            objects.replace(QUALITY, content, None if before is None else before.token)
        except StoreConflict:
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return True
    return False


def _computed_at(content: bytes) -> int:
    """When a result was computed; 0 if it is unreadable, so that it is replaced."""
    try:
        found = parse_object(content).get("computed_at")
    except ValueError:
        return 0
    return found if isinstance(found, int) else 0


def _shortened(result: Mapping[str, Any]) -> dict[str, Any]:
    versions = [
        {**version, "products": version["products"][:MAX_PRODUCTS]}
        for version in result["versions"][:MAX_VERSIONS]
    ]
    left_out = len(result["versions"]) - len(versions)
    return {**result, "versions": versions, "versions_left_out": left_out}
