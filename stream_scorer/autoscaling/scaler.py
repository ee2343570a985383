"""The metric that KEDA's Kafka scaler makes of lag.

After KEDA 2.21, ``pkg/scalers/kafka_scaler.go`` (``getTotalLag``, ``getLagForPartition``); its
fields: https://keda.sh/docs/2.21/scalers/apache-kafka/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stream_scorer.autoscaling.manifest import Fallback, KafkaTrigger


@dataclass(frozen=True, slots=True)
class Reading:
    """What one query of the trigger gives."""

    metric: int
    is_active: bool


class KafkaScaler:
    """The scaler's memory: committed offsets at the query before (``excludePersistentLag``)."""

    def __init__(self, trigger: KafkaTrigger) -> None:
        self._trigger = trigger
        self._before: dict[int, int] = {}

    def read(self, lags: Sequence[int], committed: Sequence[int]) -> Reading:
        """Lag and committed offset of each partition, as they are now."""
        counted = self._without_stuck(lags, committed)
        metric = bounded_lag(self._trigger, counted)
        return Reading(metric, sum(lags) > self._trigger.activation_lag_threshold)

    def _without_stuck(self, lags: Sequence[int], committed: Sequence[int]) -> list[int]:
        if not self._trigger.exclude_persistent_lag:
            return list(lags)
        counted = []
        for partition, (lag, offset) in enumerate(zip(lags, committed, strict=True)):
            stuck = self._before.get(partition) == offset
            self._before[partition] = offset
            counted.append(0 if stuck else lag)
        return counted


def bounded_lag(trigger: KafkaTrigger, lags: Sequence[int]) -> int:
    """The sum, raised to an even distribution and bounded by partitions as the trigger asks."""
    total, partitions, threshold = sum(lags), len(lags), trigger.lag_threshold
    if trigger.ensure_even_distribution:
        fitting = (n for n in divisors(partitions) if n * threshold >= total)
        total = next(fitting, partitions) * threshold
    elif trigger.allow_idle_consumers:
        return total
    bound = partitions
    if trigger.limit_to_partitions_with_lag:
        bound = sum(lag > 0 for lag in lags)
    # Whole division, as there: up to threshold - 1 records above the bound pass.
    return bound * threshold if total // threshold > bound else total


def divisors(number: int) -> list[int]:
    """Every number of consumers that gives each the same number of partitions."""
    return [n for n in range(1, number + 1) if number % n == 0]


def fallback_replicas(fallback: Fallback, current: int) -> int:
    """``doFallback``: the pods a metric is made up for while lag cannot be read."""
    if fallback.behavior == "currentReplicas":
        return current
    if fallback.behavior == "currentReplicasIfHigher":
        return max(current, fallback.replicas)
    if fallback.behavior == "currentReplicasIfLower":
        return min(current, fallback.replicas)
    return fallback.replicas
