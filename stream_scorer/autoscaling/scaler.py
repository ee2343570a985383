"""The metric that KEDA's Kafka scaler computes from lag.

Follows KEDA 2.21, ``pkg/scalers/kafka_scaler.go`` (``getTotalLag``, ``getLagForPartition``); its
fields: https://keda.sh/docs/2.21/scalers/apache-kafka/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stream_scorer.autoscaling.manifest import Fallback, KafkaTrigger


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of one query of the trigger."""

    metric: int
    is_active: bool


class KafkaScaler:
    """The scaler's state: committed offsets at the last query (for ``excludePersistentLag``)."""

    def __init__(self, trigger: KafkaTrigger) -> None:
        self._trigger = trigger
        self._last_committed: dict[int, int] = {}

    def read(
        self, lags: Sequence[int], committed: Sequence[int], uncommitted: float = 0.0
    ) -> Reading:
        """Compute the metric from the current lag and committed offset of each partition.

        ``uncommitted`` are records that the pods have but did not commit yet. They keep the trigger
        active, as does persistent lag.
        """
        counted = self._without_persistent_lag(lags, committed)
        metric = bounded_lag(self._trigger, counted)
        lag = max(sum(lags), uncommitted)
        return Reading(metric, lag > self._trigger.activation_lag_threshold)

    def _without_persistent_lag(self, lags: Sequence[int], committed: Sequence[int]) -> list[int]:
        if not self._trigger.exclude_persistent_lag:
            return list(lags)
        counted = []
        for partition, (lag, offset) in enumerate(zip(lags, committed, strict=True)):
            is_stuck = self._last_committed.get(partition) == offset
            self._last_committed[partition] = offset
            counted.append(0 if is_stuck else lag)
        return counted


def bounded_lag(trigger: KafkaTrigger, lags: Sequence[int]) -> int:
    """The total lag, rounded up to an even distribution and bounded as the trigger specifies."""
    total, partitions, threshold = sum(lags), len(lags), trigger.lag_threshold
    if trigger.ensure_even_distribution:
        fitting = (n for n in divisors(partitions) if n * threshold >= total)
        total = next(fitting, partitions) * threshold
    elif trigger.allow_idle_consumers:
        return total
    bound = partitions
    if trigger.limit_to_partitions_with_lag:
        bound = sum(lag > 0 for lag in lags)
    # Integer division, as in KEDA: up to threshold - 1 records above the bound pass.
    return bound * threshold if total // threshold > bound else total


def divisors(number: int) -> list[int]:
    """All numbers of consumers that divide the partitions evenly."""
    return [n for n in range(1, number + 1) if number % n == 0]


def fallback_replicas(fallback: Fallback, current: int) -> int:
    """``doFallback``: the number of pods while the lag cannot be read."""
    if fallback.behavior == "currentReplicas":
        return current
    if fallback.behavior == "currentReplicasIfHigher":
        return max(current, fallback.replicas)
    if fallback.behavior == "currentReplicasIfLower":
        return min(current, fallback.replicas)
    return fallback.replicas
