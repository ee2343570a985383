"""Start-up of the scorer process: wait until its dependencies are there, then join the group.

Each dependency is retried until it is there or the process is stopping. While the process waits,
``/readyz`` and the log give the reason.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from schemas.contracts import load_schema, schema_fingerprint
from schemas.framing import prefix
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.errors import RetryableError
from stream_scorer.kafka.admin import TopicSummary
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.serving.watcher import ModelWatcher
from stream_scorer.observability.probes import Health
from stream_scorer.process.card_histories import require_history_topics
from stream_scorer.process.collector import spare_what_stays
from stream_scorer.process.earlier_outcomes import EarlierOutcomes
from stream_scorer.process.topic_check import CheckedTopics, check_topics
from stream_scorer.process.warm import warm
from stream_scorer.runtime.registry import RegistryResolver, open_resolver
from stream_scorer.settings import ScorerSettings
from stream_scorer.stream.group_offsets import GroupOffsets
from stream_scorer.stream.kafka_broker import KafkaBroker
from stream_scorer.stream.kafka_options import MAX_BATCH_BYTES, GroupOptions
from stream_scorer.stream.outcome import Destinations
from stream_scorer.stream.pipeline import Pipeline

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_WAIT_STEP_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Started:
    """A member of the group with what its batches need, and its topics as they were found."""

    broker: KafkaBroker
    pipeline: Pipeline
    registry: RegistryResolver | None
    topics: Mapping[str, TopicSummary]


@dataclass(frozen=True, slots=True)
class _Path:
    """What a batch goes through, and the topics it comes from and goes to."""

    pipeline: Pipeline
    registry: RegistryResolver | None
    topics: CheckedTopics
    offsets: GroupOffsets


class Startup:
    """Waits for topics, model, compiled kernels, offsets and broker, in this order.

    Args:
        settings: the process's.
        watcher: loads the models; it has been started.
        health: gets a heartbeat at each attempt, and the reason for waiting.
        is_stopping: ends the wait.
        pause: waits for a number of seconds, or less if the process is stopping.
        is_from_start: where the group has no usable offset, score everything that is retained.
    """

    def __init__(
        self,
        settings: ScorerSettings,
        watcher: ModelWatcher,
        health: Health,
        is_stopping: Callable[[], bool],
        pause: Callable[[float], None],
        *,
        is_from_start: bool = False,
    ) -> None:
        self._is_from_start = is_from_start
        self._settings = settings
        self._watcher = watcher
        self._health = health
        self._is_stopping = is_stopping
        self._pause = pause

    def run(self) -> Started | None:
        """Wait for everything and join the group; None if the process is stopping.

        Raises:
            FatalError: a dependency cannot be used, and waiting does not help.
        """
        warming = threading.Thread(target=warm, name="warm", daemon=True)
        warming.start()
        path = self._wait_for("the topics", partial(_build_pipeline, self._settings))
        if path is None or self._wait_for("a model", self._require_model) is None:
            return None
        # Where nothing is compiled yet this takes 20 s or more. We have not joined the group, so
        # no partition waits for us meanwhile.
        if self._wait_for("compiled kernels", partial(_require_end, warming)) is None:
            return None
        history_topics = partial(require_history_topics, self._settings, self._promoted)
        if self._wait_for("topics for card histories", history_topics) is None:
            return None
        # Last, and before the group is joined: nothing is read from an offset that is not checked.
        if self._wait_for("the group's offsets", partial(self._check_offsets, path)) is None:
            return None
        spare_what_stays()
        broker = self._wait_for("the broker", partial(_join_group, self._settings, path))
        if broker is None:
            return None
        return Started(broker, path.pipeline, path.registry, path.topics.summaries)

    def _wait_for(self, what: str, build: Callable[[], _T]) -> _T | None:
        """Call ``build`` until it succeeds; None if the process is stopping."""
        logged = None
        while not self._is_stopping():
            self._health.heartbeat()
            try:
                return build()
            except RetryableError as error:
                self._health.problem = f"waiting for {what}: {error}"
                if str(error) != logged:
                    logged = str(error)
                    log.warning("waiting for %s: %s", what, error)
            self._pause(_WAIT_STEP_SECONDS)
        return None

    def _require_model(self) -> Bundle:
        bundle = self._watcher.wait(_WAIT_STEP_SECONDS)
        if bundle is None:
            raise RetryableError(self._watcher.status.problem or "none is loaded yet")
        self._health.problem = None
        return bundle

    def _promoted(self) -> Bundle | None:
        return self._watcher.current

    def _check_offsets(self, path: _Path) -> bool:
        partitions = range(path.topics.summaries[self._settings.input_topic].partitions)
        if self._is_from_start:
            path.offsets.start_over(partitions)
        path.offsets.require_usable(partitions)
        return True


def _build_pipeline(settings: ScorerSettings) -> _Path:
    topics = check_topics(settings)
    registry, schema_id = None, None
    if settings.schema_registry_url:
        registry = RegistryResolver(settings)
        schema_id = registry.register(f"{settings.output_topic}-value", load_schema("fraud_score"))
    head = prefix(schema_fingerprint(load_schema("fraud_score")), schema_id)
    pipeline = Pipeline(
        TransactionDecoder(registry or LocalSchemas()),
        Destinations(
            settings.output_topic,
            settings.dlq_topic,
            head,
            topics.max_bytes,
            settings.review_sample_share,
        ),
    )
    offsets = GroupOffsets(
        settings,
        settings.kafka_group_id,
        settings.input_topic,
        topics.summaries[settings.input_topic].topic_id,
        EarlierOutcomes(settings, open_resolver(settings, "fraud_score")),
    )
    return _Path(pipeline, registry, topics, offsets)


def _require_end(thread: threading.Thread) -> bool:
    thread.join(_WAIT_STEP_SECONDS)
    if thread.is_alive():
        raise RetryableError("they are being compiled for this processor, which is done once")
    return True


def _join_group(settings: ScorerSettings, path: _Path) -> KafkaBroker:
    return KafkaBroker(
        settings,
        GroupOptions(
            settings.kafka_group_id,
            settings.input_topic,
            settings.kafka_group_protocol,
            settings.kafka_session_timeout_ms,
            settings.kafka_max_poll_interval_ms,
            settings.kafka_transaction_timeout_ms,
            max_batch_bytes=min([MAX_BATCH_BYTES, *path.topics.max_bytes.values()]),
            topic_id=path.topics.summaries[settings.input_topic].topic_id,
        ),
        path.offsets,
    )
