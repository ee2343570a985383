"""The scorer process: everything is put together here and nowhere else."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from schemas.contracts import load_schema, schema_fingerprint
from schemas.framing import prefix
from schemas.resolver import LocalSchemas, SchemaResolver
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.errors import RetryableError
from stream_scorer.model.serving.cache import BundleCache
from stream_scorer.model.serving.guard import GuardPolicy
from stream_scorer.model.serving.options import WatcherOptions
from stream_scorer.model.serving.watcher import ModelWatcher
from stream_scorer.model.signing import parse_trusted_keys
from stream_scorer.model.store.opening import open_store
from stream_scorer.observability.metrics import ScorerMetrics
from stream_scorer.observability.partition_watch import KafkaBacklog, PartitionWatch
from stream_scorer.observability.probes import Health, HealthServer
from stream_scorer.observability.watchdog import Watchdog
from stream_scorer.process.telemetry import Telemetry
from stream_scorer.process.topic_check import check_topics
from stream_scorer.process.warm import warm
from stream_scorer.runtime.registry import RegistryResolver
from stream_scorer.runtime.tracing import open_tracing
from stream_scorer.settings import ScorerSettings
from stream_scorer.stream.kafka_broker import KafkaBroker
from stream_scorer.stream.kafka_options import MAX_BATCH_BYTES, GroupOptions
from stream_scorer.stream.loop import ScorerLoop
from stream_scorer.stream.outcome import Destinations
from stream_scorer.stream.pipeline import Pipeline
from stream_scorer.stream.rejection_guard import RejectionGuard, RejectionPolicy
from stream_scorer.stream.rejection_ledger import KafkaRejectionLedger

log = logging.getLogger(__name__)


_WAIT_STEP_SECONDS: Final = 1.0
_PAUSE_STEP_SECONDS: Final = 0.05  # how soon a pause notices that it is time to stop
_HUNG_MARGIN_SECONDS: Final = 30.0
_CALL_MARGIN_SECONDS: Final = 5.0
"""Past its own timeout a transaction call gets this much longer before it counts as hung."""

_GRACE_SECONDS: Final = 25.0
"""After SIGTERM; Kubernetes' default grace period is 30 s."""


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
            WatcherOptions(
                parse_trusted_keys(settings.model_trusted_keys),
                settings.model_poll_seconds,
                guard=_guard_policy(settings),
            ),
            on_load=self._metrics.loaded,
            on_failure=lambda *_: self._metrics.model_refusals.inc(),
            on_trip=self._metrics.tripped,
        )
        self._health = Health(lambda: self._watcher.current is not None)
        self._metrics.identity.labels(settings.kafka_group_id, settings.input_topic).set(1)
        self._telemetry = Telemetry(self._metrics, self._health, self._watcher)
        self._server = HealthServer(
            settings.metrics_host, settings.metrics_port, self._health, self._metrics.render
        )
        hung = settings.kafka_transaction_timeout_ms / 1000 * 3 + _HUNG_MARGIN_SECONDS
        self._watchdog = Watchdog(self._health.seconds_since_heartbeat, hung)

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
        ledger = KafkaRejectionLedger(settings, settings.kafka_group_id, settings.input_topic)
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
        self._health.heartbeat()
        deadline = time.monotonic() + seconds
        while not self._is_stopping and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _PAUSE_STEP_SECONDS))

    def _wait_for(self, what: str, build: Callable[[], Any]) -> Any:
        """Try until it works or the process is told to stop (then None); says why it waits."""
        said = None
        while not self._is_stopping:
            self._health.heartbeat()
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
