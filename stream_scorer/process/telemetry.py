"""Updates metrics, health and traces with the events of the loop."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from stream_scorer.drift.reference import Reference, read_reference
from stream_scorer.model.bundle import Bundle, created_at
from stream_scorer.model.serving.watcher import ModelWatcher
from stream_scorer.observability.metrics import ScorerMetrics
from stream_scorer.observability.partition_watch import stall_advice
from stream_scorer.observability.probes import Health
from stream_scorer.observability.progress import ProgressWatch, Standstill
from stream_scorer.runtime.tracing import Tracing
from stream_scorer.stream.model_guard import ModelGuard
from stream_scorer.stream.outcome import Outcome
from stream_scorer.stream.ports import Broker, Polled

log = logging.getLogger(__name__)

_UPDATE_SECONDS: Final = 1.0  # between updates of the figures that are read, not counted

_PROBLEM_SECONDS: Final = 60.0  # longer than one attempt and the pause before the next


class Telemetry:
    """The loop's observer in the scorer process.

    The loop's thread calls everything but :meth:`timed`, which any thread may call.

    Args:
        metrics: the process's metrics.
        health: what the probes report.
        watcher: loads the models.
        guard: is notified of each commit.
        broker: the group member, for assignment and lag.
        progress: is notified of commits and aborts.
        tracing: None: traces are off.
        serving: the bundle that scores; None: the watcher's.
    """

    def __init__(
        self,
        metrics: ScorerMetrics,
        health: Health,
        watcher: ModelWatcher,
        guard: ModelGuard,
        broker: Broker,
        progress: ProgressWatch,
        tracing: Tracing | None,
        serving: Callable[[], Bundle | None] | None = None,
    ) -> None:
        self._serving = serving or (lambda: watcher.current)
        self._metrics = metrics
        self._health = health
        self._watcher = watcher
        self._guard = guard
        self._broker = broker
        self._progress = progress
        self._tracing = tracing
        self._updated_at = 0.0
        self._aborted_at = float("-inf")
        self._owned: frozenset[int] = frozenset()
        self._reference: tuple[str | None, Reference] = None, Reference()

    def heartbeat(self) -> None:
        """The loop is alive."""
        self._health.heartbeat()
        if (owned := self._broker.assigned()) != self._owned:
            self._owned = owned
            self._metrics.partitions.rebalanced()
        now = time.monotonic()
        if now - self._updated_at > _UPDATE_SECONDS:
            self._updated_at = now
            self._metrics.partitions.set_lag(self._broker.lag(), len(owned))
            self._metrics.partitions.set_lost(self._broker.lost())
            self._update_model(now)
            if now - self._aborted_at > _PROBLEM_SECONDS:
                self._health.problem = None  # resolved, though no commit has shown it yet

    def _update_model(self, now: float) -> None:
        metrics, bundle, status = self._metrics.model, self._serving(), self._watcher.status
        if bundle is not None:
            metrics.set_version(bundle.version)
        probation = self._watcher.probation
        metrics.set_probation(
            probation.figures() if probation else None,
            is_rolled_back=status.rolled_back is not None,
        )
        is_behind = (
            bundle is not None
            and status.rolled_back is None
            and status.promoted not in (None, bundle.version)
        )
        metrics.set_status(
            None if bundle is None else created_at(bundle.metadata),
            is_behind=is_behind,
            is_failing=status.problem is not None,
        )
        if status.checked_at is not None:
            metrics.set_seconds_since_answer(now - status.checked_at)

    def committed(self, polled: Polled, outcome: Outcome, seconds: float) -> None:
        """A batch was committed."""
        self._health.problem = None
        self._guard.committed()
        self._metrics.batches.committed(polled, outcome, seconds)
        version = outcome.model_version
        self._metrics.batches.count_bins(version, self._reference_of(version), outcome.scores)
        self._metrics.drift.committed(outcome.sample)
        if self._tracing is not None:
            facts = {
                "fraud_scorer.model_version": outcome.model_version,
                "fraud_scorer.scored": outcome.scored,
                "fraud_scorer.dead_letters": len(outcome.rejections),
            }
            self._tracing.batch(polled.topic, polled.headers, seconds, facts)
        self._progress.progressed(np.unique(polled.partitions).tolist())
        log.debug(
            "batch committed",
            extra={
                "transaction_count": outcome.scored,
                "dead_letters": len(outcome.rejections),
                "latency_ms": round(seconds * 1000, 1),
                "model_version": outcome.model_version,
            },
        )
        if outcome.rejections:
            stages = Counter(rejection.stage.value for rejection in outcome.rejections)
            commonest = stages.most_common(1)[0][0]
            log.warning(
                "dead letters",
                extra={
                    "dead_letters": len(outcome.rejections),
                    "stages": dict(stages.most_common()),
                    "sample_reason": next(
                        f"{commonest}: {rejection.reason}"
                        for rejection in outcome.rejections
                        if rejection.stage.value == commonest
                    ),
                },
            )

    def _reference_of(self, version: str) -> Reference | None:
        """The reference of a version; None if that version is no longer loaded."""
        if version != self._reference[0]:
            bundle = self._serving()
            if bundle is None or bundle.version != version:
                return None
            self._reference = version, read_reference(bundle.metadata)
        return self._reference[1]

    def aborted(self, reason: str) -> None:
        """A batch was aborted and will be retried."""
        self._health.problem = reason
        self._aborted_at = time.monotonic()
        self._metrics.batches.aborted()
        self._progress.disturbed()

    def timed(self, step: str, seconds: float) -> None:
        """A step of a batch has finished."""
        self._metrics.batches.timed(step, seconds)


def report_progress(
    metrics: ScorerMetrics,
    health: Health,
    unreadable: Callable[[], Mapping[int, str]],
    seconds: Mapping[int, float],
    stuck: Mapping[int, Standstill],
) -> None:
    """Pass the partition watch's findings on to metrics and readiness; called in its thread."""
    metrics.partitions.set_progress(seconds, stuck)
    causes = unreadable()
    health.stuck = {p: stall_advice(p, still, causes.get(p)) for p, still in stuck.items()}
