"""The scorer process: everything is put together here and nowhere else."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from schemas.contracts import load_schema, schema_fingerprint
from schemas.framing import prefix
from schemas.resolver import LocalSchemas, SchemaResolver
from schemas.transaction_codec import TransactionDecoder
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.health import Health, HealthServer
from stream_scorer.kafka_broker import GroupOptions, KafkaBroker
from stream_scorer.limits import RejectionGuard, RejectionPolicy
from stream_scorer.loop import ScorerLoop
from stream_scorer.metrics import ScorerMetrics
from stream_scorer.model.cache import BundleCache
from stream_scorer.model.reload import ModelWatcher
from stream_scorer.model.signing import parse_trusted_keys
from stream_scorer.model.store import open_store
from stream_scorer.pipeline import Destinations, Outcome, Pipeline
from stream_scorer.ports import Broker, Polled
from stream_scorer.runtime.kafka import (
    INPUT_MAX_BYTES,
    open_admin,
    topic_config,
    topic_partitions,
)
from stream_scorer.runtime.logs import configure_logging
from stream_scorer.runtime.registry import RegistryResolver
from stream_scorer.runtime.settings import load_settings
from stream_scorer.settings import ScorerSettings
from stream_scorer.watchdog import Watchdog

log = logging.getLogger(__name__)

SWITCH_SECONDS: Final = 0.0002
"""How long one thread may keep the interpreter while another wants it. At Python's 5 ms the thread
that scores waits, after every compiled loop, for the one that publishes; this is worth a tenth."""

_WAIT_STEP_SECONDS: Final = 1.0
_PAUSE_STEP_SECONDS: Final = 0.05  # how soon a pause notices that it is time to stop
_ADMIN_SECONDS: Final = 5.0
_LAG_SECONDS: Final = 1.0
_HUNG_MARGIN_SECONDS: Final = 30.0
_GRACE_SECONDS: Final = 25.0
"""After SIGTERM; Kubernetes' default grace period is 30 s."""


class _Telemetry:
    """Feeds metrics and health from the loop."""

    def __init__(self, metrics: ScorerMetrics, health: Health) -> None:
        self._metrics = metrics
        self._health = health
        self._lag_at = 0.0
        self.broker: Broker | None = None

    def turned(self) -> None:
        self._health.turned()
        now = time.monotonic()
        if self.broker is not None and now - self._lag_at > _LAG_SECONDS:
            self._lag_at = now
            self._metrics.set_lag(self.broker.lag(), len(self.broker.assigned()))

    def committed(self, polled: Polled, outcome: Outcome, seconds: float) -> None:
        self._health.problem = None
        self._metrics.committed(polled, outcome, seconds)
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
        self._metrics.aborts.inc()


class ScorerProcess:
    """One scorer, from waiting for its surroundings to leaving the group."""

    def __init__(self, settings: ScorerSettings) -> None:
        self._settings = settings
        self._is_stopping = False
        self._metrics = ScorerMetrics()
        self._watcher = ModelWatcher(
            open_store(settings),
            BundleCache(settings.model_cache_dir),
            parse_trusted_keys(settings.model_trusted_keys),
            settings.model_poll_seconds,
            on_load=self._metrics.loaded,
            on_failure=lambda *_: self._metrics.model_refusals.inc(),
        )
        self._health = Health(lambda: self._watcher.current is not None)
        self._telemetry = _Telemetry(self._metrics, self._health)
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
        log.info("started", extra={"metrics_port": self._server.port})
        try:
            self._serve()
        finally:
            self._watcher.stop()
            self._watchdog.stop()
            self._server.stop()
            log.info("stopped")

    def _serve(self) -> None:
        settings = self._settings
        pipeline = self._wait_for("the topics", self._build_pipeline)
        model = self._wait_for("a model", self._require_model)
        broker = self._wait_for("the broker", self._join) if pipeline and model else None
        if broker is None or pipeline is None:
            return
        self._telemetry.broker = broker
        self._health.joined()
        loop = ScorerLoop(
            broker,
            pipeline,
            lambda: self._watcher.current,
            RejectionGuard(
                RejectionPolicy(settings.rejection_max_run, settings.rejection_max_share)
            ),
            self._telemetry,
            settings.batch_max_records,
            settings.batch_max_wait_ms / 1000,
        )
        try:
            loop.run(lambda: self._is_stopping, self._pause)
        finally:
            broker.close()

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
            ),
        )

    def _build_pipeline(self) -> Pipeline:
        s = self._settings
        max_bytes = _check_topics(s)
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


def _check_topics(settings: ScorerSettings) -> dict[str, int]:
    """That the three topics are there and fit each other; their ``max.message.bytes``.

    Raises:
        RetryableError: the broker or a topic is not there yet.
        FatalError: an outcome could not go to its input's partition number.
    """
    admin = open_admin(settings)
    names = (settings.input_topic, settings.output_topic, settings.dlq_topic)
    found = topic_partitions(admin, names, _ADMIN_SECONDS)
    if missing := [name for name in names if name not in found]:
        raise RetryableError(
            f"no topic {', '.join(missing)} (stream-scorer topics create makes them)"
        )
    wanted = found[settings.input_topic]
    for name in names[1:]:
        if found[name] < wanted:
            raise FatalError(
                f"topic {name} has {found[name]} partitions, {settings.input_topic} {wanted}: "
                "a score goes to its input's partition number, so there must be as many"
            )
    limits = {}
    for name in names[1:]:
        try:
            limits[name] = int(topic_config(admin, name)["max.message.bytes"])
        except (RetryableError, FatalError, KeyError, ValueError) as error:
            # Describing a topic's configuration is a right a scorer need not have.
            log.info("cannot read the size limit of %s: %s", name, error)
    if limits.get(settings.dlq_topic, INPUT_MAX_BYTES) < INPUT_MAX_BYTES:
        log.warning(
            "topic %s takes %d bytes at most: longer dead letters will be cut",
            settings.dlq_topic,
            limits[settings.dlq_topic],
        )
    return limits


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
    process.run()
    return 0
