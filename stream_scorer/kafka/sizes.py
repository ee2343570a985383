"""Size limits of records. Pure: no Kafka client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from schemas.framing import Header

INPUT_MAX_BYTES: Final = 4 * 1024 * 1024
"""``max.message.bytes`` of the input topic: the broker rejects larger records."""

OUTPUT_MAX_BYTES: Final = 5 * 1024 * 1024
"""Limit of the output and dead letter topics and of producers: an input record plus headers."""

OVERHEAD_BYTES: Final = 4096  # allowance for batch and record framing and the headers of a score


def headers_size(headers: Sequence[Header]) -> int:
    """Bytes that headers take in a record, including their length fields."""
    return sum(len(name.encode()) + len(value or b"") + 8 for name, value in headers)
