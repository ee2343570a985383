"""Which offsets to read when there are more than the limit. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from stream_scorer.kafka.spans import Span, Spans

SLICES: Final = 24
"""Evenly over the range, so that each hour of a day is in a sample of a day."""


def count_offsets(spans: Spans) -> int:
    """The number of offsets; no more records than that can be there."""
    return sum(span.high - span.low for span in spans.values())


def cut_slices(spans: Spans, limit: int) -> Iterator[Spans]:
    """All of the spans if they have at most ``limit`` offsets, else slices with about as many.

    The beginnings of the slices are evenly spaced over the offsets of each partition, and each
    partition has its share of the rows.
    """
    total = count_offsets(spans)
    if total <= limit:
        if total:
            yield spans
        return
    for number in range(SLICES):
        found = {}
        for partition, span in spans.items():
            size = span.high - span.low
            rows = max(1, size * limit // (total * SLICES))
            low = span.low + size * number // SLICES
            end = span.low + size * (number + 1) // SLICES
            if low < end:
                found[partition] = Span(low, min(low + rows, end))
        if found:
            yield found
