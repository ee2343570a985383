"""The scorer process: composes all its parts, and runs the loop."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any, Final

from stream_scorer.model.bundle import Bundle
from stream_scorer.model.serving.cache import BundleCache
from stream_scorer.model.serving.guard import GuardPolicy
from stream_scorer.model.serving.options import WatcherOptions
from stream_scorer.model.serving.watcher import ModelWatcher
from stream_scorer.model.signing import parse_trusted_keys
from stream_scorer.model.store.opening import open_store
from stream_scorer.observability.metrics import ScorerMetrics
from stream_scorer.observability.partition_watch import KafkaBacklog, PartitionWatch
from stream_scorer.observability.probes import Health, HealthServer
from stream_scorer.observability.progress import ProgressWatch
from stream_scorer.observability.topic_watch import TopicWatch
from stream_scorer.observability.watchdog import Watchdog
from stream_scorer.process.card_histories import HistoryThreads
from stream_scorer.process.shadowing import Shadowing
from stream_scorer.process.startup import Started, Startup
from stream_scorer.process.telemetry import Telemetry, report_progress
from stream_scorer.runtime.tracing import Tracing, open_tracing
from stream_scorer.settings import ScorerSettings
from stream_scorer.state.eras import InputFacts
from stream_scorer.stream.kafka_broker import KafkaBroker
from stream_scorer.stream.loop import LoopOptions, ScorerLoop
from stream_scorer.stream.model_guard import ModelGuard
from stream_scorer.stream.rejections.guard import RejectionGuard, RejectionPolicy
from stream_scorer.stream.rejections.ledger import KafkaRejectionLedger

log = logging.getLogger(__name__)

_PAUSE_STEP_SECONDS: Final = 0.05  # how soon a pause notices that the process is stopping
_HUNG_MARGIN_SECONDS: Final = 30.0
_CALL_MARGIN_SECONDS: Final = 5.0
"""A transaction call counts as hung this long after its own timeout."""

_GRACE_SECONDS: Final = 25.0
"""After SIGTERM; Kubernetes' default grace period is 30 s."""


class ScorerProcess:
    """One scorer, from waiting for its dependencies to leaving the group.

    Args:
        settings: everything it needs to know.
        is_from_start: where the group has no usable offset, score everything that is retained.
    """

    def __init__(self, settings: ScorerSettings, *, is_from_start: bool = False) -> None:
        self._settings = settings
        self._is_from_start = is_from_start
        self._is_stopping = False
        self._histories: HistoryThreads | None = None
        self._metrics = ScorerMetrics()
        self._metrics.identify(settings.kafka_group_id, settings.input_topic)
        self._watcher = ModelWatcher(
            open_store(settings),
            BundleCache(settings.model_cache_dir),
            WatcherOptions(
                parse_trusted_keys(settings.model_trusted_keys),
                settings.model_poll_seconds,
                guard=_guard_policy(settings),
                is_cold=self._is_cold,
            ),
            on_load=self._metrics.model.loaded,
            on_failure=lambda *_: self._metrics.model.refused(),
            on_trip=lambda _, trip: self._metrics.model.tripped(trip),
        )
        self._health = Health(lambda: self._watcher.current is not None)
        self._server = HealthServer(
            settings.metrics_host, settings.metrics_port, self._health, self._metrics.render
        )
        hung = settings.kafka_transaction_timeout_ms / 1000 * 3 + _HUNG_MARGIN_SECONDS
        self._watchdog = Watchdog(self._health.seconds_since_heartbeat, hung)

    def report(self) -> dict[str, Any]:
        """The body of ``/readyz``."""
        return self._health.report()

    def stop(self, *_: Any) -> None:
        """Finish the current batch, then leave the group; safe in a signal handler."""
        # A plain flag: the code that the signal interrupted may hold the lock of an event.
        self._is_stopping = True
        self._watchdog.shorten(_GRACE_SECONDS)

    def run(self) -> None:
        """Run until :meth:`stop` is called.

        Raises:
            FatalError: the process must be replaced.
        """
        self._server.start()
        self._watchdog.start()
        self._watcher.start()
        tracing = open_tracing("stream-scorer", self._settings.otel_exporter_otlp_endpoint)
        log.info("started", extra={"metrics_port": self._server.port})
        startup = Startup(
            self._settings,
            self._watcher,
            self._health,
            lambda: self._is_stopping,
            self._pause,
            is_from_start=self._is_from_start,
        )
        try:
            started = startup.run()
            if started is not None:
                self._health.joined()
                self._score(started, tracing)
        finally:
            self._watcher.stop()
            self._watchdog.stop()
            self._server.stop()
            if tracing is not None:
                tracing.close()
            log.info("stopped")

    def _score(self, started: Started, tracing: Tracing | None) -> None:
        """Run the loop until the process is stopping; then leave the group."""
        settings, broker = self._settings, started.broker
        group, topic = settings.kafka_group_id, settings.input_topic
        ledger = KafkaRejectionLedger(settings, group, topic)
        histories = self._open_histories(started)
        watch = PartitionWatch(
            settings.partition_stuck_seconds,
            lambda: broker.assigned() - broker.held(),  # their histories report held ones
            lambda: KafkaBacklog(settings, group, topic),
            partial(report_progress, self._metrics, self._health, broker.unreadable),
            broker.unreadable,
        )
        guard = ModelGuard(self._watcher)
        shadowing = self._open_shadowing(started)
        policy = RejectionPolicy(settings.rejection_max_run, settings.rejection_max_share)
        observer = self._observe(broker, guard, watch.progress, tracing, histories)
        loop = ScorerLoop(
            broker,
            started.pipeline,
            histories.histories,
            RejectionGuard(policy, ledger, broker.assigned),
            shadowing.attach(started.pipeline, observer),
            LoopOptions(settings.batch_max_records, settings.batch_max_wait_ms / 1000),
            guard.refusal,
        )
        self._metrics.batches.watch_in_flight(lambda: loop.in_flight)
        calls = Watchdog(
            broker.call_seconds,
            settings.kafka_transaction_timeout_ms / 1000 + _CALL_MARGIN_SECONDS,
            "a transaction call",
        )
        topics = TopicWatch(
            settings,
            (topic, settings.output_topic, settings.dlq_topic),
            started.topics,
            partial(setattr, self._health, "outage"),
        )

        def after_each() -> None:
            ledger.serve()
            topics.raise_fatal()
            histories.serve()

        histories.start()
        watch.start()
        topics.start()
        calls.start()
        try:
            loop.run(lambda: self._is_stopping, self._pause, after_each)
        finally:
            watch.stop()
            topics.stop()
            calls.stop()
            broker.close()  # first, so that other members need not wait for the last snapshots
            histories.stop()
            shadowing.stop()
            ledger.close()
            if started.registry is not None:
                started.registry.close()

    def _observe(
        self,
        broker: KafkaBroker,
        guard: ModelGuard,
        progress: ProgressWatch,
        tracing: Tracing | None,
        histories: HistoryThreads,
    ) -> Telemetry:
        metrics, serving = self._metrics, histories.histories.model
        return Telemetry(
            metrics, self._health, self._watcher, guard, broker, progress, tracing, serving
        )

    def _open_shadowing(self, started: Started) -> Shadowing:
        settings = self._settings
        partitions = started.topics[settings.input_topic].partitions
        return Shadowing(
            settings,
            self._metrics.shadow,
            lambda: self._watcher.current,
            started.broker.lag,
            partitions,
        )

    def _open_histories(self, started: Started) -> HistoryThreads:
        topic = self._settings.input_topic
        found = started.topics[topic]
        histories = HistoryThreads(
            self._settings,
            InputFacts(topic, found.topic_id or "", found.partitions),
            started.broker,
            self._watcher,
            self._metrics.history,
        )
        self._histories = histories
        self._health.history, self._health.without_history = histories.problem, histories.stuck
        return histories

    def _is_cold(self, bundle: Bundle) -> bool:
        return self._histories is not None and self._histories.is_cold(bundle)

    def _pause(self, seconds: float) -> None:
        """Wait ``seconds``, or less if the process is stopping."""
        self._health.heartbeat()
        deadline = time.monotonic() + seconds
        while not self._is_stopping and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _PAUSE_STEP_SECONDS))


def _guard_policy(settings: ScorerSettings) -> GuardPolicy | None:
    if not settings.model_guard:
        return None
    return GuardPolicy(
        settings.model_guard_seconds,
        settings.model_guard_min_rows,
        settings.model_guard_max_error_share,
        settings.model_guard_max_psi,
        settings.model_guard_max_flag_ratio,
    )
