"""Feeds metrics and health from the loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Final

import numpy as np

from stream_scorer.drift.reference import Reference, read_reference
from stream_scorer.model.bundle import created_at
from stream_scorer.model.serving.watcher import ModelWatcher
from stream_scorer.observability.metrics import ScorerMetrics
from stream_scorer.observability.partition_watch import stall_advice
from stream_scorer.observability.probes import Health
from stream_scorer.observability.progress import ProgressWatch, Standstill
from stream_scorer.runtime.tracing import Tracing
from stream_scorer.stream.model_guard import ModelGuard
from stream_scorer.stream.outcome import Outcome
from stream_scorer.stream.ports import Broker, Polled
from stream_scorer.stream.rejection_ledger import KafkaRejectionLedger

log = logging.getLogger(__name__)

_LAG_SECONDS: Final = 1.0

_PROBLEM_SECONDS: Final = 60.0  # longer than one try and the wait before the next take


class Telemetry:
    """Feeds metrics and health from the loop."""

    def __init__(self, metrics: ScorerMetrics, health: Health, watcher: ModelWatcher) -> None:
        self._metrics = metrics
        self._watcher = watcher
        self.guard = ModelGuard(watcher)
        self._health = health
        self._lag_at = 0.0
        self._aborted_at = float("-inf")
        self._owned: frozenset[int] = frozenset()
        self._reference: tuple[str | None, Reference] = None, Reference()
        self.broker: Broker | None = None
        self.tracing: Tracing | None = None
        self.progress: ProgressWatch | None = None
        self.ledger: KafkaRejectionLedger | None = None

    def heartbeat(self) -> None:
        """The loop is alive."""
        self._health.heartbeat()
        if self.broker is None:
            return
        if (owned := self.broker.assigned()) != self._owned:
            self._owned = owned
            self._metrics.rebalances.inc()
        now = time.monotonic()
        if now - self._lag_at > _LAG_SECONDS:
            self._lag_at = now
            self._metrics.set_lag(self.broker.lag(), len(self.broker.assigned()))
            probation = self._watcher.probation
            self._metrics.set_guard(
                probation.figures() if probation else None,
                self._watcher.status.rolled_back is not None,
            )
            self._look_at_model(now)
            if now - self._aborted_at > _PROBLEM_SECONDS:
                self._health.problem = None  # over, though no record has come since to show it
            if self.ledger is not None:
                self.ledger.serve()

    def _look_at_model(self, now: float) -> None:
        bundle, status = self._watcher.current, self._watcher.status
        is_behind = (
            bundle is not None
            and status.rolled_back is None
            and status.promoted not in (None, bundle.version)
        )
        created = None if bundle is None else created_at(bundle.metadata)
        self._metrics.set_model(created, is_behind, status.problem is not None)
        if status.checked_at is not None:
            self._metrics.store_silence.set(now - status.checked_at)

    def committed(self, polled: Polled, outcome: Outcome, seconds: float) -> None:
        """A batch was committed."""
        self._health.problem = None
        self.guard.committed()
        self._metrics.committed(polled, outcome, seconds)
        version = outcome.model_version
        self._metrics.bins.count(version, self._reference_of(version), outcome.scores)
        if self.tracing is not None:
            facts = {
                "fraud_scorer.model_version": outcome.model_version,
                "fraud_scorer.scored": outcome.scored,
                "fraud_scorer.dead_letters": len(outcome.rejections),
            }
            self.tracing.batch(polled.topic, polled.headers, seconds, facts)
        if self.progress is not None:
            self.progress.progressed(np.unique(polled.partitions).tolist())
        log.debug(
            "batch committed",
            extra={
                "transaction_count": outcome.scored,
                "dead_letters": len(outcome.rejections),
                "latency_ms": round(seconds * 1000, 1),
                "model_version": outcome.model_version,
            },
        )
        for rejection in outcome.rejections[:1]:
            log.warning(
                "dead letters",
                extra={
                    "dead_letters": len(outcome.rejections),
                    "stage": rejection.stage.value,
                    "reason": rejection.reason,
                },
            )

    def _reference_of(self, version: str) -> Reference | None:
        """The reference of a version; None where it is not loaded any more."""
        if version != self._reference[0]:
            bundle = self._watcher.current
            if bundle is None or bundle.version != version:
                return None
            self._reference = version, read_reference(bundle.metadata)
        return self._reference[1]

    def aborted(self, reason: str) -> None:
        """A transaction was aborted."""
        self._health.problem = reason
        self._aborted_at = time.monotonic()
        self._metrics.aborts.inc()
        if self.progress is not None:
            self.progress.disturbed()

    def watched(self, seconds: Mapping[int, float], stuck: Mapping[int, Standstill]) -> None:
        """From the watch over the partitions, in its thread."""
        self._metrics.set_progress(seconds, stuck)
        self._health.stuck = {p: stall_advice(p, still) for p, still in stuck.items()}
