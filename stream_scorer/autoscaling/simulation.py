"""The simulation: load, consumer group, KEDA and HPA, second by second."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from stream_scorer.autoscaling.group import Group
from stream_scorer.autoscaling.hpa import DOWNSCALE_STABILIZATION_SECONDS, SYNC_SECONDS, Hpa
from stream_scorer.autoscaling.manifest import Autoscaler
from stream_scorer.autoscaling.scaler import KafkaScaler, fallback_replicas
from stream_scorer.autoscaling.trace import Trace

TICK_SECONDS: Final = 1.0

UNCOMMITTED_SECONDS: Final = 0.3
"""From a record's arrival to the commit of its offset, where the pods keep up. KEDA counts the
records of this time as lag, which the fluid model alone would not have."""


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """Settings that are not in the manifest. Times in seconds, rates in records per second."""

    capacity: float
    partitions: int
    pod_start_seconds: float = 20.0
    rebalance_seconds: float = 3.0
    hot_share: float | None = None
    settle_seconds: float = 1800.0
    sync_seconds: float = SYNC_SECONDS
    sync_offset_seconds: float = 0.0
    downscale_seconds: float = DOWNSCALE_STABILIZATION_SECONDS
    outage: tuple[float, float] | None = None
    """(begin, end) of a period in which KEDA cannot read the lag."""
    first_replicas: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """The state at the end of one second."""

    second: float
    arrivals: float
    lag: int
    hottest_lag: int
    delay_seconds: float
    replicas: int
    working: int


def simulate(autoscaler: Autoscaler, trace: Trace, options: SimulationOptions) -> list[Step]:
    """Simulate each second from 0 to ``settle_seconds`` after the end of the trace."""
    return _Simulation(autoscaler, trace, options).run()


class _Simulation:
    def __init__(self, autoscaler: Autoscaler, trace: Trace, options: SimulationOptions) -> None:
        self._autoscaler = autoscaler
        self._trace = trace
        self._options = options
        self._hpa = Hpa(autoscaler, options.downscale_seconds)
        self._scaler = KafkaScaler(autoscaler.trigger)
        self._group = Group(
            options.partitions, options.capacity, options.rebalance_seconds, options.hot_share
        )
        first = options.first_replicas
        self._replicas = autoscaler.min_replicas if first is None else first
        self._starting: deque[float] = deque()  # when each pod becomes a member
        self._failures = 0
        self._active_at = 0.0
        self._next_sync = options.sync_offset_seconds
        self._next_poll = 0.0
        self._group.resize(-options.rebalance_seconds, self._replicas)

    def run(self) -> list[Step]:
        ticks = []
        end = self._trace.end + self._options.settle_seconds
        second = 0.0
        while second < end:
            ticks.append(self._tick(second))
            second += TICK_SECONDS
        return ticks

    def _tick(self, began: float) -> Step:
        ended = began + TICK_SECONDS
        arrivals = self._trace.rate_at(began) * TICK_SECONDS
        self._join(began)
        self._group.arrive(began, arrivals)
        self._group.work(began, ended)
        self._control(ended)
        lags = self._group.lags
        return Step(
            ended,
            arrivals,
            sum(lags),
            max(lags),
            self._group.max_age(ended),
            self._replicas,
            self._replicas - len(self._starting),
        )

    def _join(self, now: float) -> None:
        while self._starting and self._starting[0] <= now:
            self._starting.popleft()
        self._group.resize(now, self._replicas - len(self._starting))

    def _control(self, now: float) -> None:
        if now >= self._next_poll:
            self._next_poll += self._autoscaler.polling_seconds
            self._poll(now)
        if now >= self._next_sync:
            self._next_sync += self._options.sync_seconds
            self._sync(now)

    def _sync(self, now: float) -> None:
        """The HPA queries KEDA, which reads the lag immediately, without a polling interval."""
        metric: float | None = None
        if self._replicas:
            metric = self._metric(now)
        target = self._autoscaler.trigger.lag_threshold
        self._scale(now, self._hpa.decide(now, self._replicas, metric, target))

    def _metric(self, now: float) -> float | None:
        fallback = self._autoscaler.fallback
        if not self._is_out(now):
            self._failures = 0
            return self._scaler.read(self._group.lags, self._group.committed).metric
        self._failures += 1
        if fallback is None or self._failures <= fallback.failure_threshold:
            return None
        return fallback_replicas(fallback, self._replicas) * self._autoscaler.trigger.lag_threshold

    def _poll(self, now: float) -> None:
        """``RequestScale`` of KEDA's scale loop: scales only to and from 0 or idleReplicaCount."""
        auto = self._autoscaler
        if (auto.min_replicas and auto.idle_replicas is None) or self._is_out(now):
            return
        uncommitted = self._trace.rate_at(now) * UNCOMMITTED_SECONDS
        reading = self._scaler.read(self._group.lags, self._group.committed, uncommitted)
        idle = auto.idle_replicas or 0
        if reading.is_active:
            self._active_at = now
            if self._replicas <= idle:
                self._scale(now, auto.min_replicas or 1)
        elif self._replicas > idle and now - self._active_at > auto.cooldown_seconds:
            self._scale(now, idle)

    def _is_out(self, now: float) -> bool:
        outage = self._options.outage
        return outage is not None and outage[0] <= now < outage[1]

    def _scale(self, now: float, replicas: int) -> None:
        for _ in range(self._replicas, replicas):
            self._starting.append(now + self._options.pod_start_seconds)
        for _ in range(replicas, self._replicas):
            if self._starting:  # pods that are still starting are removed first
                self._starting.pop()
        self._replicas = replicas
