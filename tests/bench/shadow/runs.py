"""One run of the whole scorer with a challenger beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from stream_scorer.model.bundle import Draft, build_files
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.process.shadowing import PROGRAM
from stream_scorer.runtime.settings import KafkaSettings, TopicSettings
from stream_scorer.settings import ScorerSettings
from stream_scorer.shadow.apart import ChallengerProcess, ProcessStarter, start_command
from stream_scorer.shadow.figures import Figures
from stream_scorer.shadow.limits import (
    MEMORY_BYTES,
    SpareProcessor,
    seconds_waited,
    times_throttled,
)
from stream_scorer.shadow.observing import ShadowingObserver
from stream_scorer.shadow.ports import Shed
from stream_scorer.shadow.worker import ShadowOptions, ShadowWorker
from stream_scorer.stream.loop import Observer
from stream_scorer.stream.outcome import Outcome
from stream_scorer.stream.pipeline import Pipeline
from stream_scorer.stream.ports import Polled

SHARES: Final = (1.0, 0.1)


@dataclass
class Seen:
    """What the challenger did in the last run."""

    rows: int = 0
    seconds: float = 0.0
    left_out: Counter[str] = field(default_factory=Counter)

    def loaded(self, version: str | None) -> None:
        """Nothing to count."""

    def refused(self) -> None:
        """It must not be."""
        raise AssertionError("the challenger was put aside")

    def scored(self, figures: Figures, seconds: float) -> None:
        """Count rows and time."""
        self.rows += figures.rows
        self.seconds += seconds

    def shed(self, reason: Shed, rows: int) -> None:
        """Count what was left out."""
        self.left_out[reason] += rows

    def failed(self, rows: int) -> None:
        """It must not."""
        raise AssertionError(f"{rows} rows failed")

    def disabled(self) -> None:
        """It must not be."""
        raise AssertionError("the challenger hung")


class Beside:
    """A challenger with features of its own, as after a retraining, in a process of its own.

    The benchmark scores a backlog, during which a scorer leaves the challenger out. Here it scores
    what its queue can hold, so that its cost is seen.

    Args:
        settings: the broker.
        topics: the topics.
        draft: the model of both versions.
        partitions: of the input topic.
        share: of the transactions, scored by the challenger.
        is_yielding: as in a scorer, it runs only while a processor is free.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topics: TopicSettings,
        draft: Draft,
        partitions: int,
        share: float,
        *,
        is_yielding: bool = False,
    ) -> None:
        self.seen = Seen()
        self._folder = TemporaryDirectory()
        challenger = start_challenger(
            Path(self._folder.name), draft, partitions, share,
            is_yielding=is_yielding, **settings.model_dump(), **topics.model_dump(),
        )  # fmt: skip
        processor = SpareProcessor(seconds_waited, times_throttled)

        def refusal() -> Shed | None:
            return "cpu" if is_yielding and not processor.is_free() else None

        self._worker = ShadowWorker(ShadowOptions(), self.seen, refusal)
        self._worker.use(challenger)

    def attach(self, pipeline: Pipeline, observer: Observer) -> Observer:
        """Put it beside a loop."""
        pipeline.keep_basis_if(self._worker.wants)
        return ShadowingObserver(observer, self._worker)

    def stop(self) -> None:
        """Leave out what waits."""
        self._worker.stop()
        self._folder.cleanup()


def start_challenger(
    folder: Path,
    draft: Draft,
    partitions: int,
    share: float,
    program: str = PROGRAM,
    *,
    is_yielding: bool = False,
    **settings: Any,
) -> ChallengerProcess:
    """The process of a challenger that computes features of its own."""
    store = FileStore(folder)
    for _ in range(2):
        store.publish(*build_files(draft))
    given = ScorerSettings(
        model_store_uri=folder.as_uri(), shadow_spare_cpu_only=is_yielding, **settings
    )
    size = ShadowOptions().max_bytes
    starter = ProcessStarter(start_command(program), given, share, partitions, size)
    return starter.start("v2", MEMORY_BYTES)


Attach = Callable[[Pipeline, Observer], Observer]
"""Wraps the observer of a loop."""


class RowCounter:
    """An observer that counts the committed records of a loop."""

    def __init__(self) -> None:
        self.rows = 0

    def heartbeat(self) -> None:
        """Nothing to count."""

    def committed(self, polled: Polled, outcome: Outcome, seconds: float) -> None:
        """Count a batch."""
        del outcome, seconds
        self.rows += len(polled)

    def aborted(self, reason: str) -> None:
        """Nothing to count."""
        del reason

    def timed(self, step: str, seconds: float) -> None:
        """Nothing to count."""
        del step, seconds
