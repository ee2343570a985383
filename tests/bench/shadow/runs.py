"""One run of the whole scorer with a challenger beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.model.bundle import Bundle
from stream_scorer.runtime.settings import KafkaSettings, TopicSettings
from stream_scorer.settings import GroupSettings
from stream_scorer.shadow.figures import Figures
from stream_scorer.shadow.kafka_sink import KafkaSink
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
    """A challenger with features of its own, as after a retraining.

    The benchmark scores a backlog, during which a scorer leaves the challenger out. Here it scores
    what its queue can hold, so that its cost is seen.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topics: TopicSettings,
        champion: Bundle,
        partitions: int,
        share: float,
    ) -> None:
        self.seen = Seen()
        given = settings.model_dump() | topics.model_dump()
        self._sink = KafkaSink(GroupSettings(**given), partitions, lambda _: None)
        self._sink.prepare()
        assert self._sink.head() is not None
        self._worker = ShadowWorker(
            ShadowOptions(share), self._sink, self.seen, TransactionDecoder(LocalSchemas())
        )
        # Without a digest of its features they are not known to be the champion's.
        self._worker.use(replace(champion, version="v2", metadata={}))

    def attach(self, pipeline: Pipeline, observer: Observer) -> Observer:
        """Put it beside a loop."""
        pipeline.keep_basis_if(self._worker.wants)
        return ShadowingObserver(observer, self._worker)

    def stop(self) -> None:
        """Leave out what waits."""
        self._worker.stop()
        self._sink.close()


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
