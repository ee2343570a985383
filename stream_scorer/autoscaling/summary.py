"""Key figures of a simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from stream_scorer.autoscaling.simulation import TICK_SECONDS, Step


@dataclass(frozen=True, slots=True)
class Summary:
    """Key figures of a simulation; None: it never happened."""

    peak_lag: int
    max_delay_seconds: float
    seconds_above_threshold: int
    min_replicas: int
    max_replicas: int
    seconds_to_max_replicas: float | None
    seconds_back_to_first_replicas: float | None
    changes_of_replicas: int
    pod_seconds: int
    lag_at_end: int


def summarize(ticks: Sequence[Step], lag_threshold: int) -> Summary:
    """Summarize a run. Above the threshold means more lag than ``lag_threshold`` per pod."""
    counts = [tick.replicas for tick in ticks]
    first, top = counts[0], max(counts)
    reached = next((t.second for t in ticks if t.replicas == top), None) if top > first else None
    back = None
    if reached is not None and counts[-1] <= first:
        back = next(t.second for t in reversed(ticks) if t.replicas > first) + TICK_SECONDS
    return Summary(
        max(tick.lag for tick in ticks),
        max(tick.delay_seconds for tick in ticks),
        sum(tick.lag > lag_threshold * max(1, tick.replicas) for tick in ticks),
        min(counts),
        top,
        reached,
        back,
        sum(a != b for a, b in pairwise(counts)),
        round(sum(counts) * TICK_SECONDS),
        ticks[-1].lag,
    )
