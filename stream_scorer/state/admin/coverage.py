"""How much of the past retained inputs hold, in the time of the transactions themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schemas.layout import Layout
from stream_scorer.kafka.spans import Span
from stream_scorer.state.input_log import InputLog

WARM_DAYS: Final = 7
"""The longest time window of the usual history features: with less, scores drift until it fills."""

_SAMPLE: Final = 500  # offsets at either end of a partition


def find_edges(log: InputLog, spans: Mapping[int, Span]) -> tuple[int, int] | None:
    """``TransactionDT`` of the first and of the last transaction of the spans.

    Only the ends of each partition are read. None if no input there can be read.

    Raises:
        InputMissing, RetryableError, FatalError: they cannot be read now.
    """
    first, last = _edge(log, spans, is_end=False), _edge(log, spans, is_end=True)
    return None if first is None or last is None else (first, last)


def _edge(log: InputLog, spans: Mapping[int, Span], *, is_end: bool) -> int | None:
    """The earliest transaction among the first inputs, or the latest among the last."""
    found: int | None = None
    for partition, span in spans.items():
        low, high = span.low, span.high
        if is_end:
            low = max(low, high - _SAMPLE)
        else:
            high = min(high, low + _SAMPLE)
        if low >= high:
            continue
        dead_letters = log.dead_letters(partition)
        refused = log.refused(partition, dead_letters)
        for rows in log.read(partition, Span(low, high), refused, Layout([])):
            times = rows.batch.times
            edge = int(times.max() if is_end else times.min())
            found = edge if found is None else (max if is_end else min)(found, edge)
    return found
