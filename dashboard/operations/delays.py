"""Percentiles of delays over the last hour, from histograms of bounded size."""

from __future__ import annotations

import bisect
import itertools
from collections import deque
from dataclasses import dataclass
from typing import Final

MINUTE_MS: Final = 60_000
WINDOW_MINUTES: Final = 60
_RATIO: Final = 1.2
"""Of neighbouring bounds: a percentile is exact to 20 %."""

_MOST_MS: Final = 24 * 3600 * 1000.0
BOUNDS: Final = tuple(
    itertools.takewhile(lambda bound: bound < _MOST_MS, (_RATIO**i for i in itertools.count()))
)
"""Upper bounds of the bins in milliseconds, from 1 ms to a day. The last bin has no bound."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Delays in milliseconds that 50, 95 and 99 % of ``count`` did not exceed."""

    count: int
    p50: float
    p95: float
    p99: float

    def as_json(self) -> dict[str, float]:
        """The percentiles in whole milliseconds."""
        shown = {"p50_ms": self.p50, "p95_ms": self.p95, "p99_ms": self.p99}
        return {"count": self.count, **{name: round(value) for name, value in shown.items()}}


class DelayWindow:
    """Delays of the last hour, a histogram for each minute. Its caller holds a lock."""

    def __init__(self) -> None:
        self._minutes: deque[tuple[int, list[int]]] = deque()

    def add(self, now: int, delay: float) -> None:
        """Count a delay in milliseconds at the time ``now`` (epoch milliseconds).

        A negative delay comes from clocks that differ. It counts as none.
        """
        minute = now // MINUTE_MS
        if not self._minutes or self._minutes[-1][0] != minute:
            self._minutes.append((minute, [0] * (len(BOUNDS) + 1)))
            self._forget(minute)
        self._minutes[-1][1][bisect.bisect_left(BOUNDS, delay)] += 1

    def percentiles(self, now: int) -> Percentiles | None:
        """The percentiles of the last hour. None without a delay."""
        self._forget(now // MINUTE_MS)
        bins = [sum(column) for column in zip(*(found for _, found in self._minutes), strict=True)]
        count = sum(bins)
        if not count:
            return None
        return Percentiles(count, *(_quantile(bins, count, share) for share in (0.5, 0.95, 0.99)))

    def _forget(self, minute: int) -> None:
        while self._minutes and self._minutes[0][0] <= minute - WINDOW_MINUTES:
            self._minutes.popleft()


def _quantile(bins: list[int], count: int, share: float) -> float:
    """Interpolated within its bin, as Prometheus does."""
    wanted, seen = share * count, 0
    for number, found in enumerate(bins):
        if found and seen + found >= wanted:
            low = BOUNDS[number - 1] if number else 0.0
            high = BOUNDS[number] if number < len(BOUNDS) else BOUNDS[-1]
            return low + (high - low) * (wanted - seen) / found
        seen += found
    return BOUNDS[-1]
