"""The scorer process: everything is put together here and nowhere else."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

import numpy as np

from schemas.contracts import load_schema, schema_fingerprint
from schemas.framing import prefix
from schemas.resolver import LocalSchemas, SchemaResolver
from schemas.transaction_codec import TransactionDecoder
from stream_scorer.console import note
from stream_scorer.drift import created_at
from stream_scorer.errors import EXIT_FAILED, RetryableError, ScorerError
from stream_scorer.health import Health, HealthServer
from stream_scorer.kafka_broker import MAX_BATCH_BYTES, GroupOptions, KafkaBroker
from stream_scorer.limits import RejectionGuard, RejectionPolicy
from stream_scorer.loop import ScorerLoop
from stream_scorer.metrics import ScorerMetrics
from stream_scorer.model.cache import BundleCache
from stream_scorer.model.guard import GuardPolicy
from stream_scorer.model.reload import ModelWatcher
from stream_scorer.model.signing import parse_trusted_keys
from stream_scorer.model.store import open_store
from stream_scorer.model_guard import ModelGuard
from stream_scorer.partition_watch import KafkaBacklog, PartitionWatch, advice
from stream_scorer.pipeline import Destinations, Outcome, Pipeline
from stream_scorer.ports import Broker, Polled
from stream_scorer.rejection_ledger import KafkaTallyLedger
from stream_scorer.runtime.logs import configure_logging
from stream_scorer.runtime.registry import RegistryResolver
from stream_scorer.runtime.settings import load_settings
from stream_scorer.runtime.tracing import Tracing, open_tracing
from stream_scorer.settings import ScorerSettings
from stream_scorer.stuck import ProgressWatch, Standstill
from stream_scorer.topic_check import check_topics
from stream_scorer.warm import warm
from stream_scorer.watchdog import Watchdog

log = logging.getLogger(__name__)

SWITCH_SECONDS: Final = 0.0002
"""How long one thread may keep the interpreter while another wants it. At Python's 5 ms the thread
that scores waits, after every compiled loop, for the one that publishes; this is worth a tenth."""

_WAIT_STEP_SECONDS: Final = 1.0
_PAUSE_STEP_SECONDS: Final = 0.05  # how soon a pause notices that it is time to stop
_LAG_SECONDS: Final = 1.0
_PROBLEM_SECONDS: Final = 60.0  # longer than one try and the wait before the next take
_HUNG_MARGIN_SECONDS: Final = 30.0
_CALL_MARGIN_SECONDS: Final = 5.0
"""Past its own timeout a transaction call gets this much longer before it counts as hung."""

_GRACE_SECONDS: Final = 25.0
"""After SIGTERM; Kubernetes' default grace period is 30 s."""


class _Telemetry:
    """Feeds metrics and health from the loop."""

    def __init__(self, metrics: ScorerMetrics, health: Health, watcher: ModelWatcher) -> None:
        self._metrics = metrics
        self._watcher = watcher
        self.guard = ModelGuard(watcher)
        self._health = health
        self._lag_at = 0.0
        self._aborted_at = float("-inf")
        self._owned: frozenset[int] = frozenset()
        self.broker: Broker | None = None
        self.tracing: Tracing | None = None
        self.progress: ProgressWatch | None = None
        self.ledger: KafkaTallyLedger | None = None

    def turned(self) -> None:
        self._health.turned()
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
                probation.figures() if probation else None, self._watcher.status.fallen is not None
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
            and status.fallen is None
            and status.promoted not in (None, bundle.version)
        )
        created = None if bundle is None else created_at(bundle.metadata)
        self._metrics.set_model(created, is_behind, status.problem is not None)
        if status.checked_at is not None:
            self._metrics.store_silence.set(now - status.checked_at)

    def committed(self, polled: Polled, outcome: Outcome, seconds: float) -> None:
        self._health.problem = None
        self.guard.committed()
        self._metrics.committed(polled, outcome, seconds)
        self._metrics.bins.count(outcome.model_version, self._watcher.current, outcome.scores)
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

    def aborted(self, reason: str) -> None:
        self._health.problem = reason
        self._aborted_at = time.monotonic()
        self._metrics.aborts.inc()
        if self.progress is not None:
            self.progress.disturbed()

    def watched(self, seconds: Mapping[int, float], stuck: Mapping[int, Standstill]) -> None:
        """From the watch over the partitions, in its thread."""
        self._metrics.set_progress(seconds, stuck)
        self._health.stuck = {p: advice(p, still) for p, still in stuck.items()}


class ScorerProcess:
    """One scorer, from waiting for its surroundings to leaving the group."""

    def __init__(self, settings: ScorerSettings) -> None:
        self._settings = settings
        self._is_stopping = False
        self._max_batch_bytes = MAX_BATCH_BYTES
        self._metrics = ScorerMetrics()
        self._watcher = ModelWatcher(
            open_store(settings),
            BundleCache(settings.model_cache_dir),
            parse_trusted_keys(settings.model_trusted_keys),
            settings.model_poll_seconds,
            on_load=self._metrics.loaded,
            on_failure=lambda *_: self._metrics.model_refusals.inc(),
            guard=_guard_policy(settings),
            on_trip=self._metrics.tripped,
        )
        self._health = Health(lambda: self._watcher.current is not None)
        self._metrics.identity.labels(settings.kafka_group_id, settings.input_topic).set(1)
        self._telemetry = _Telemetry(self._metrics, self._health, self._watcher)
        self._server = HealthServer(
            settings.metrics_host, settings.metrics_port, self._health, self._metrics.render
        )
        hung = settings.kafka_transaction_timeout_ms / 1000 * 3 + _HUNG_MARGIN_SECONDS
        self._watchdog = Watchdog(self._health.silence, hung)

    def report(self) -> dict[str, Any]:
        """What ``/readyz`` says."""
        return self._health.report()

    def stop(self, *_: Any) -> None:
        """Finish the batch at hand, then leave; safe in a signal handler."""
        # A plain flag: an event's lock may be held by the very code that the signal interrupted.
        self._is_stopping = True
        self._watchdog.shorten(_GRACE_SECONDS)

    def run(self) -> None:
        """Run until told to stop.

        Raises:
            FatalError: the process must be replaced.
        """
        self._server.start()
        self._watchdog.start()
        self._watcher.start()
        endpoint = self._settings.otel_exporter_otlp_endpoint
        self._telemetry.tracing = open_tracing("stream-scorer", endpoint)
        log.info("started", extra={"metrics_port": self._server.port})
        try:
            self._serve()
        finally:
            self._watcher.stop()
            self._watchdog.stop()
            self._server.stop()
            if self._telemetry.tracing is not None:
                self._telemetry.tracing.close()
            log.info("stopped")

    def _serve(self) -> None:
        settings = self._settings
        warming = threading.Thread(target=warm, name="warm", daemon=True)
        warming.start()
        pipeline = self._wait_for("the topics", self._build_pipeline)
        model = self._wait_for("a model", self._require_model)
        # Where nothing is compiled yet that takes 20 s and more: nobody waits for our partitions.
        is_warm = self._wait_for("compiled loops", partial(_require_end, warming))
        broker = (
            self._wait_for("the broker", self._join) if pipeline and model and is_warm else None
        )
        if broker is None or pipeline is None:
            return
        self._telemetry.broker = broker
        self._health.joined()
        ledger = KafkaTallyLedger(settings, settings.kafka_group_id, settings.input_topic)
        watch = PartitionWatch(
            settings.partition_stuck_seconds,
            broker.assigned,
            lambda: KafkaBacklog(settings, settings.kafka_group_id, settings.input_topic),
            self._telemetry.watched,
        )
        self._telemetry.progress, self._telemetry.ledger = watch.progress, ledger
        loop = ScorerLoop(
            broker,
            pipeline,
            lambda: self._watcher.current,
            RejectionGuard(
                RejectionPolicy(settings.rejection_max_run, settings.rejection_max_share),
                ledger,
                broker.assigned,
            ),
            self._telemetry,
            settings.batch_max_records,
            settings.batch_max_wait_ms / 1000,
            refusal=self._telemetry.guard.refusal,
            timed=self._metrics.timed,
        )
        self._metrics.in_flight.set_function(lambda: loop.in_flight)
        calls = Watchdog(
            broker.call_seconds,
            settings.kafka_transaction_timeout_ms / 1000 + _CALL_MARGIN_SECONDS,
            "a transaction call",
        )
        watch.start()
        calls.start()
        try:
            loop.run(lambda: self._is_stopping, self._pause)
        finally:
            watch.stop()
            calls.stop()
            broker.close()
            ledger.close()

    def _pause(self, seconds: float) -> None:
        """Wait, or less when it is time to stop."""
        self._health.turned()
        deadline = time.monotonic() + seconds
        while not self._is_stopping and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _PAUSE_STEP_SECONDS))

    def _wait_for(self, what: str, build: Callable[[], Any]) -> Any:
        """Try until it works or the process is told to stop (then None); says why it waits."""
        said = None
        while not self._is_stopping:
            self._health.turned()
            try:
                return build()
            except RetryableError as error:
                self._health.problem = f"waiting for {what}: {error}"
                if str(error) != said:
                    said = str(error)
                    log.warning("waiting for %s: %s", what, error)
            self._pause(_WAIT_STEP_SECONDS)
        return None

    def _require_model(self) -> bool:
        if self._watcher.wait(_WAIT_STEP_SECONDS) is None:
            raise RetryableError(self._watcher.status.problem or "none is loaded yet")
        self._health.problem = None
        return True

    def _join(self) -> KafkaBroker:
        s = self._settings
        return KafkaBroker(
            s,
            GroupOptions(
                s.kafka_group_id,
                s.input_topic,
                s.kafka_group_protocol,
                s.kafka_session_timeout_ms,
                s.kafka_max_poll_interval_ms,
                s.kafka_transaction_timeout_ms,
                max_batch_bytes=self._max_batch_bytes,
            ),
        )

    def _build_pipeline(self) -> Pipeline:
        s = self._settings
        max_bytes = check_topics(s)
        self._max_batch_bytes = min([MAX_BATCH_BYTES, *max_bytes.values()])
        resolver: SchemaResolver = LocalSchemas()
        schema_id = None
        if s.schema_registry_url:
            registry = RegistryResolver(s)
            resolver = registry
            schema_id = registry.register(f"{s.output_topic}-value", load_schema("fraud_score"))
        head = prefix(schema_fingerprint(load_schema("fraud_score")), schema_id)
        return Pipeline(
            TransactionDecoder(resolver),
            Destinations(s.output_topic, s.dlq_topic, head, max_bytes),
        )


def _require_end(thread: threading.Thread) -> bool:
    thread.join(_WAIT_STEP_SECONDS)
    if thread.is_alive():
        raise RetryableError("they are compiled once for this processor")
    return True


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


def run_scorer(workers: int = 1) -> int:
    """The ``run`` command: a scorer in this process, or several in processes of their own."""
    settings = load_settings(ScorerSettings)
    configure_logging("stream-scorer", settings)
    if workers > 1:
        from stream_scorer.workers import run_workers

        return run_workers(workers, settings.metrics_port)
    sys.setswitchinterval(SWITCH_SECONDS)
    process = ScorerProcess(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, process.stop)
    code = 0
    try:
        process.run()
    except ScorerError as error:
        note(f"stream-scorer: {error}")
        code = EXIT_FAILED
    except BaseException:
        traceback.print_exc()
        code = EXIT_FAILED
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    # Without the interpreter's own end, which takes librdkafka's clients apart while other threads
    # are still in them. It has been seen not to come to an end itself, and a supervisor can replace
    # only what has ended.
    os._exit(code)
