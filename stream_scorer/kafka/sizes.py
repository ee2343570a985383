"""Size limits of records. Pure: no Kafka client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from schemas.framing import Header

INPUT_MAX_BYTES: Final = 4 * 1024 * 1024
"""``max.message.bytes`` of the input topic: the broker rejects larger records."""

OUTPUT_MAX_BYTES: Final = 5 * 1024 * 1024
"""Limit of the output and dead letter topics and of producers: an input record plus headers."""

RECEIVE_MAX_BYTES: Final = 128 * 1024 * 1024
"""``receive.message.max.bytes``: the client unpacks no batch to more than this.

The largest batch of the input topic has 4 MiB, and text packs to about a tenth, so a legitimate
batch unpacks to 40 MiB. Without a content size (as Java's producers write zstd) librdkafka fails
from about a third of the limit on, hence three times that. A batch beyond it cannot be read by a
scorer: see ``stream-scorer dlq skip``. (lz4 and gzip are not limited by it.)
"""

FETCH_MAX_BYTES: Final = 16 * 1024 * 1024
"""``fetch.max.bytes``: the most that one fetch brings from a broker, compressed."""

PARTITION_FETCH_BYTES: Final = 1024 * 1024
"""``fetch.message.max.bytes``: the most that one fetch brings from a partition, compressed. The
client unpacks all of it at once. A larger batch is still delivered, on its own (KIP-74)."""

OVERHEAD_BYTES: Final = 4096  # allowance for batch and record framing and the headers of a score


def record_limit(topic_limit: int) -> int:
    """Bytes of key, value and headers that fit into one of our records.

    The topic has a limit (``max.message.bytes``), and so has our producer.
    """
    return min(topic_limit, OUTPUT_MAX_BYTES) - OVERHEAD_BYTES


def headers_size(headers: Sequence[Header]) -> int:
    """Bytes that headers take in a record, including their length fields."""
    return sum(len(name.encode()) + len(value or b"") + 8 for name, value in headers)
