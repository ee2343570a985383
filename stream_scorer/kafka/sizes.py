"""How large records may be. Pure: no Kafka client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from schemas.framing import Header

INPUT_MAX_BYTES: Final = 4 * 1024 * 1024
"""``max.message.bytes`` of the input topic: anything larger never enters."""

OUTPUT_MAX_BYTES: Final = 5 * 1024 * 1024
"""Of output and dead letter topic, and of producers: an input record plus its headers fits."""

OVERHEAD_BYTES: Final = 4096  # batch and record framing and a score's headers, with room


def headers_size(headers: Sequence[Header]) -> int:
    """Bytes that headers take in a record, with their lengths."""
    return sum(len(name.encode()) + len(value or b"") + 8 for name, value in headers)
