"""The card histories of a scorer process: builds them, runs their threads, and reports on them."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.errors import RetryableError
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.serving.watcher import ModelWatcher
from stream_scorer.model.store.history_cache import HistoryCache
from stream_scorer.model.store.opening import open_history_store
from stream_scorer.observability.history_metrics import HistoryMetrics
from stream_scorer.process.history_topics import check_history_topics
from stream_scorer.runtime.registry import RegistryResolver
from stream_scorer.settings import ScorerSettings
from stream_scorer.state.eras import Eras, InputFacts
from stream_scorer.state.histories import CardHistories
from stream_scorer.state.input_log import KafkaInputLog
from stream_scorer.state.restorer import Restorer
from stream_scorer.state.snapshots import SnapshotPolicy, SnapshotWriter
from stream_scorer.stream.kafka_broker import KafkaBroker

log = logging.getLogger(__name__)

_UPDATE_SECONDS: Final = 1.0
LAST_SNAPSHOT_SECONDS: Final = 10.0
"""For the snapshots after the last commit, within the grace period of a pod."""


COLD_DAYS: Final = 7
"""Then the time windows of a history that began without a past are full. Until then scores differ
from those of the test rows, whose history was warm."""


class HistoryThreads:
    """The histories that the loop advances, with their restore and snapshot threads.

    Args:
        settings: the process's.
        facts: the input topic as it was found.
        broker: the group member.
        watcher: loads the models.
        metrics: of card histories.
    """

    def __init__(
        self,
        settings: ScorerSettings,
        facts: InputFacts,
        broker: KafkaBroker,
        watcher: ModelWatcher,
        metrics: HistoryMetrics,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._updated_at = 0.0
        self._registries: list[RegistryResolver] = []
        store, cache = open_history_store(settings), HistoryCache(settings.history_cache_dir)
        self._restorer = Restorer(
            store,
            Eras(store, facts, settings.history_max_keys, cache),
            self._open_log,
            cache,
            check=partial(check_history_topics, settings),
            continues_after_gap=settings.history_on_gap == "continue",
            observer=metrics,
        )
        policy = SnapshotPolicy(
            settings.history_replay_max,
            settings.history_snapshot_seconds,
            settings.history_keep_days,
            settings.history_compression,
        )
        self._snapshots = SnapshotWriter(
            store, self._open_log, policy, socket.gethostname(), cache, metrics
        )
        self.histories = CardHistories(
            broker, watcher, self._restorer, self._snapshots, metrics.stepped
        )

    def start(self) -> None:
        """Start the threads."""
        self._restorer.start()
        self._snapshots.start()

    def stop(self) -> None:
        """Write the last snapshots and stop the threads; the loop has ended."""
        self._restorer.stop()
        self._snapshots.finish(self.histories.states, time.monotonic() + LAST_SNAPSHOT_SECONDS)
        for registry in self._registries:
            registry.close()

    def serve(self) -> None:
        """Update the metrics; the loop's thread calls this after each iteration."""
        now = time.monotonic()
        if now < self._updated_at + _UPDATE_SECONDS:
            return
        self._updated_at = now
        histories, metrics = self.histories, self._metrics
        metrics.count_rows(histories.counts()._asdict())
        waiting = histories.waiting
        longest = max((now - one.since for one in waiting.values()), default=0.0)
        metrics.set_waiting(len(waiting), longest, is_model=histories.problem is not None)
        states = histories.states
        if states is None:
            metrics.set_states({}, 0, 0, 0.0)
            return
        owned = [one for _, one in states.items()]
        at = datetime.now(UTC)
        ages = [one.snapshot_age(at) for one in owned if one.debt]
        debt = sum(one.debt for one in owned)
        metrics.set_states(states.keys(), states.nbytes(), debt, max(ages, default=0.0))

    def problem(self) -> str | None:
        """What an operator should know about partitions and versions that wait, if any do.

        Safe to call from any thread.
        """
        histories = self.histories
        waiting = histories.waiting
        if waiting:
            partition, one = min(waiting.items())
            others = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
            return f"partition {partition}{others}: {one.reason}"
        if histories.problem is not None:
            return f"the promoted version is not served: {histories.problem}"
        return None

    def stuck(self) -> dict[int, str]:
        """Partitions that have waited for too long, each with the reason; from any thread."""
        now, limit = time.monotonic(), self._settings.history_restore_seconds
        return {
            partition: one.reason
            for partition, one in self.histories.waiting.items()
            if one.needs_operator or now - one.since > limit
        }

    def is_cold(self, bundle: Bundle) -> bool:
        """Whether the bundle's history began without a past, a few days ago; from any thread."""
        era = self._restorer.era(bundle)
        if era is None or not era.is_cold:
            return False
        # The file may name any time: a difference of two times is always one, their sum is not.
        return datetime.now(UTC) - era.created < timedelta(days=COLD_DAYS)

    def _open_log(self) -> KafkaInputLog:
        """What a thread reads; each has a decoder and a registry client of its own."""
        registry = None
        if self._settings.schema_registry_url:
            registry = RegistryResolver(self._settings)
            self._registries.append(registry)
        return KafkaInputLog(self._settings, TransactionDecoder(registry or LocalSchemas()))


def require_history_topics(settings: ScorerSettings, model: Callable[[], Bundle | None]) -> bool:
    """Check the topics if the promoted version has history.

    Raises:
        FatalError: histories would be wrong; the message says what to do.
        RetryableError: no broker answers, or no version is loaded.
    """
    bundle = model()
    if bundle is None:
        raise RetryableError("no model is loaded")
    if bundle.features.program.history is not None:
        check_history_topics(settings)
    return True
