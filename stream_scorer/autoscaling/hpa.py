"""The HorizontalPodAutoscaler's algorithm for one external metric with an AverageValue target.

Follows Kubernetes 1.36, ``pkg/controller/podautoscaler/horizontal.go`` (each step names its
function) and ``replica_calculator.go``; documented at
https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/. Time is an argument, in
seconds; nothing here waits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stream_scorer.autoscaling.manifest import DEFAULT_DOWN, DEFAULT_UP, Autoscaler, ScalingRules

DOWNSCALE_STABILIZATION_SECONDS: Final = 300.0
"""--horizontal-pod-autoscaler-downscale-stabilization: the default if scaleDown has no window."""

SYNC_SECONDS: Final = 15.0
"""--horizontal-pod-autoscaler-sync-period: interval between two decisions, each with a new lag."""


@dataclass(frozen=True, slots=True)
class _Event:
    at: float
    change: int


class Hpa:
    """The controller's state for one autoscaler.

    Args:
        autoscaler: limits and behavior.
        downscale_seconds: the controller manager's downscale stabilization.
    """

    def __init__(
        self, autoscaler: Autoscaler, downscale_seconds: float = DOWNSCALE_STABILIZATION_SECONDS
    ) -> None:
        self._low = autoscaler.hpa_min
        self._high = autoscaler.max_replicas
        self._has_behavior = autoscaler.behavior is not None
        behavior = autoscaler.behavior
        self._up = behavior.up if behavior else DEFAULT_UP
        self._down = behavior.down if behavior else DEFAULT_DOWN
        window = self._down.stabilization_seconds
        self._down_window = downscale_seconds if window is None else float(window)
        self._up_window = float(self._up.stabilization_seconds or 0)
        self._recommendations: list[tuple[float, int]] = []
        self._ups: list[_Event] = []
        self._downs: list[_Event] = []

    def decide(self, now: float, current: int, metric: float | None, target: int) -> int:
        """The number of replicas after this sync (``reconcileAutoscaler``).

        Args:
            now: time in seconds.
            current: replicas of the Deployment.
            metric: value of the external metric; None if it could not be read.
            target: averageValue per pod.
        """
        if not self._recommendations:  # recordInitialRecommendation
            self._recommendations.append((now, current))
        if current == 0:
            return 0  # inactive until KEDA activates it
        if current > self._high:
            desired = self._high
        elif current < self._low:
            desired = self._low
        elif metric is None:
            return current
        else:
            proposed = wanted_replicas(
                metric, target, current, self._up.tolerance, self._down.tolerance
            )
            desired = self._normalize(now, current, proposed)
        self._store(now, desired - current)
        return desired

    def _normalize(self, now: float, current: int, proposed: int) -> int:
        stabilized = self._stabilize(now, current, proposed)
        if not self._has_behavior:  # convertDesiredReplicasWithRules
            highest = min(self._high, max(2 * current, 4))
            return max(self._low, min(highest, stabilized))
        if stabilized > current:
            limit = max(current, self._limit(now, current, self._up, is_up=True))
            return min(stabilized, self._high, limit)
        if stabilized < current:
            limit = min(current, self._limit(now, current, self._down, is_up=False))
            return max(stabilized, self._low, limit)
        return stabilized

    def _stabilize(self, now: float, current: int, proposed: int) -> int:
        """``stabilizeRecommendationWithBehaviors``.

        At most the lowest proposal of the up window, at least the highest of the down window.
        """
        up = down = proposed
        for at, number in self._recommendations:
            if at > now - self._up_window:
                up = min(up, number)
            if at > now - self._down_window:
                down = max(down, number)
        keep = now - max(self._up_window, self._down_window)
        self._recommendations = [r for r in self._recommendations if r[0] >= keep]
        self._recommendations.append((now, proposed))
        if not self._has_behavior:  # stabilizeRecommendation: down only
            return down
        return min(max(current, up), down)

    def _limit(self, now: float, current: int, rules: ScalingRules, *, is_up: bool) -> int:
        """``calculateScale{Up,Down}Limit…``: the limit that the policies set for this period."""
        if rules.select == "Disabled" or not rules.policies:
            return current
        proposals = []
        for policy in rules.policies:
            since = now - policy.period_seconds
            start = current - _changes(self._ups, since) + _changes(self._downs, since)
            step = policy.value if policy.kind == "Pods" else start * policy.value / 100
            proposals.append(math.ceil(start + step - 1e-9) if is_up else int(start - step + 1e-9))
        # The largest change is the highest limit upwards and the lowest downwards.
        return max(proposals) if is_up == (rules.select == "Max") else min(proposals)

    def _store(self, now: float, change: int) -> None:
        """``storeScaleEvent``; events older than the longest policy period are dropped."""
        if change > 0:
            self._ups.append(_Event(now, change))
        elif change < 0:
            self._downs.append(_Event(now, -change))
        periods = [p.period_seconds for p in (*self._up.policies, *self._down.policies)]
        keep = now - max(periods, default=0)
        self._ups = [event for event in self._ups if event.at >= keep]
        self._downs = [event for event in self._downs if event.at >= keep]


def wanted_replicas(
    metric: float, target: int, current: int, up: float = 0.1, down: float = 0.1
) -> int:
    """``GetExternalPerPodMetricReplicas``: ceil(metric / target), unless that is within tolerance.

    The tolerance applies to metric / (target x current): one pod becomes two above 1.1 times the
    target, and eleven pods become twelve above 12.1 times the target.
    """
    ratio = metric / (target * current)
    if 1.0 - down <= ratio <= 1.0 + up:
        return current
    return math.ceil(metric / target)


def _changes(events: Sequence[_Event], since: float) -> int:
    return sum(event.change for event in events if event.at > since)
