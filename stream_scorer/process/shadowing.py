"""The challenger beside the scorer, put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from stream_scorer.model.bundle import Bundle
from stream_scorer.model.store.opening import open_store
from stream_scorer.observability.shadow_metrics import ShadowMetrics
from stream_scorer.settings import ScorerSettings
from stream_scorer.shadow import limits
from stream_scorer.shadow.apart import (
    ChallengerProcess,
    ChallengerRefused,
    ProcessStarter,
    start_command,
)
from stream_scorer.shadow.follower import ChallengerFollower
from stream_scorer.shadow.observing import ShadowingObserver
from stream_scorer.shadow.ports import Shed
from stream_scorer.shadow.worker import ShadowOptions, ShadowWorker
from stream_scorer.stream.loop import Observer
from stream_scorer.stream.pipeline import Pipeline

BEHIND_BATCHES: Final = 5
"""Full batches that wait in the input before the challenger is left out: the scorer catches up
first. At a steady rate far fewer wait."""

PROGRAM: Final = "stream_scorer.process.challenger"
"""The module that a challenger's process runs."""

_LAG_SECONDS: Final = 1.0  # between two looks at the lag
_MIB: Final = 1024 * 1024


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
        options = ShadowOptions()
        backlog = Backlog(lag, BEHIND_BATCHES * settings.batch_max_records)
        processor = limits.SpareProcessor(limits.seconds_waited, limits.times_throttled)

        def refusal() -> Shed | None:
            if backlog.is_behind():
                return "behind"
            return "cpu" if settings.shadow_spare_cpu_only and not processor.is_free() else None

        self._worker = ShadowWorker(options, metrics, refusal)
        self._starter = ProcessStarter(
            start_command(PROGRAM), settings, settings.shadow_share, partitions, options.max_bytes
        )
        self._follower: ChallengerFollower | None = None
        if settings.shadow_share > 0:
            self._follower = ChallengerFollower(
                open_store(settings),
                self._worker,
                self._start,
                settings.model_poll_seconds,
                serving,
                metrics,
                memory_problem,
            )

    def _start(self, version: str) -> ChallengerProcess:
        """Start a challenger if there is memory for it.

        Raises:
            ChallengerRefused: there is not, or it cannot be loaded.
        """
        memory, peak = limits.read_memory(), limits.peak_bytes()
        allowed = limits.memory_for_challenger(memory, peak)
        if memory is not None and not allowed:
            least = limits.LEAST_MEMORY_BYTES + limits.MARGIN_BYTES
            raise ChallengerRefused(
                f"a challenger needs {least // _MIB} MiB beside this scorer, which has needed "
                f"{peak // _MIB} of the {memory.limit // _MIB} MiB of its container: raise the "
                "limit, or compare the version by stream-scorer replay"
            )
        return self._starter.start(version, allowed)

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
        """Stop the threads and the challenger; takes a few seconds at most."""
        # The challenger's process ends with the follower's thread, which started it: before that it
        # sends what its producer has.
        self._starter.stop()
        self._worker.stop()
        if self._follower is not None:
            self._follower.stop()


def memory_problem() -> str | None:
    """Why a running challenger must end: the scorer needs its memory. None: it need not."""
    memory = limits.read_memory()
    if memory is None or memory.limit - memory.used >= limits.MARGIN_BYTES // 2:
        return None
    return (
        f"{memory.used // _MIB} of the {memory.limit // _MIB} MiB of this container are used, and "
        "the scorer comes first"
    )


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
