"""The challenger's threads in the scorer process, put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.signing import parse_trusted_keys
from stream_scorer.model.store.opening import open_store
from stream_scorer.observability.shadow_metrics import ShadowMetrics
from stream_scorer.runtime.registry import RegistryResolver
from stream_scorer.settings import ScorerSettings
from stream_scorer.shadow.follower import ChallengerFollower
from stream_scorer.shadow.kafka_sink import KafkaSink
from stream_scorer.shadow.observing import ShadowingObserver
from stream_scorer.shadow.worker import ShadowOptions, ShadowWorker
from stream_scorer.stream.loop import Observer
from stream_scorer.stream.pipeline import Pipeline

BEHIND_BATCHES: Final = 5
"""Full batches that wait in the input before the challenger is left out: the scorer catches up
first. At a steady rate far fewer wait."""

_LAG_SECONDS: Final = 1.0  # between two looks at the lag


class Shadowing:
    """The challenger of one scorer process; nothing is opened until there is one.

    Args:
        settings: the process's.
        metrics: of the challenger.
        serving: the version that serves.
        lag: records not yet read, by partition; called in the loop's thread.
        partitions: of the input topic.
    """

    def __init__(
        self,
        settings: ScorerSettings,
        metrics: ShadowMetrics,
        serving: Callable[[], Bundle | None],
        lag: Callable[[], Mapping[int, int]],
        partitions: int,
    ) -> None:
        self._registry: RegistryResolver | None = None
        if settings.schema_registry_url:
            self._registry = RegistryResolver(settings)
        self._sink = KafkaSink(settings, partitions, lambda rows: metrics.shed("publish", rows))
        backlog = Backlog(lag, BEHIND_BATCHES * settings.batch_max_records)
        self._worker = ShadowWorker(
            ShadowOptions(settings.shadow_share),
            self._sink,
            metrics,
            TransactionDecoder(self._registry or LocalSchemas()),
            backlog.is_behind,
        )
        self._follower: ChallengerFollower | None = None
        if settings.shadow_share > 0:
            self._follower = ChallengerFollower(
                open_store(settings),
                self._worker,
                parse_trusted_keys(settings.model_trusted_keys),
                settings.model_poll_seconds,
                serving,
                metrics,
                self._sink.prepare,
            )

    def attach(self, pipeline: Pipeline, observer: Observer) -> ShadowingObserver:
        """Follow the store's challenger, and let it see what the loop has committed.

        Returns:
            The loop's observer.
        """
        pipeline.keep_basis_if(self._worker.wants)
        if self._follower is not None:
            self._follower.start()
        return ShadowingObserver(observer, self._worker)

    def stop(self) -> None:
        """Stop the threads, and send what is in the queue; takes three seconds at most."""
        if self._follower is not None:
            self._follower.stop()
        self._worker.stop()
        self._sink.close()
        if self._registry is not None:
            self._registry.close()


class Backlog:
    """Whether more than ``limit`` records wait; looks once a second. The loop's thread owns it."""

    def __init__(
        self,
        lag: Callable[[], Mapping[int, int]],
        limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lag = lag
        self._limit = limit
        self._clock = clock
        self._looked_at = float("-inf")
        self._is_behind = False

    def is_behind(self) -> bool:
        """As of the last look."""
        now = self._clock()
        if now - self._looked_at >= _LAG_SECONDS:
            self._looked_at = now
            self._is_behind = sum(self._lag().values()) > self._limit
        return self._is_behind
