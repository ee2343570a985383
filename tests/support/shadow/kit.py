"""A scorer's loop in memory with a challenger beside it, and challengers that misbehave."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.forest.explained import Choose, Explained
from stream_scorer.model.forest.predictor import Predictor
from stream_scorer.shadow.figures import Figures, no_figures
from stream_scorer.shadow.models import BundleModel
from stream_scorer.shadow.observing import ShadowingObserver
from stream_scorer.shadow.ports import Shed
from stream_scorer.shadow.worker import ShadowOptions, ShadowWorker
from stream_scorer.stream.loop import LoopOptions, ScorerLoop, Step
from stream_scorer.stream.memory_broker import MemoryBroker, MemoryCluster, Record
from stream_scorer.stream.pipeline import Pipeline
from stream_scorer.stream.ports import NoHistories, Outgoing
from stream_scorer.stream.rejections.guard import RejectionGuard, RejectionPolicy
from tests.support.factories import make_bundle
from tests.support.scoring_kit import (
    INPUT,
    NEVER,
    NOW_MS,
    SINGLE_OBJECT,
    Seen,
    fill,
    make_pipeline,
    make_values,
)

SHADOW = "fraud-scores-shadow"
SECONDS = 90.0


@dataclass
class MemorySink:
    """Keeps the records, as far as there is room."""

    room: int = 10**9
    is_open: bool = True
    records: list[Outgoing] = field(default_factory=list)

    @property
    def topic(self) -> str:
        return SHADOW

    def head(self) -> bytes | None:
        return SINGLE_OBJECT if self.is_open else None

    def send(self, records: Sequence[Outgoing]) -> int:
        taken = records[: self.room - len(self.records)]
        self.records += taken
        return len(records) - len(taken)


@dataclass
class Events:
    """An observer that records all events."""

    versions: list[str | None] = field(default_factory=list)
    figures: Figures = field(default_factory=no_figures)
    left_out: Counter[str] = field(default_factory=Counter)
    errors: int = 0
    refusals: int = 0
    is_disabled: bool = False

    def loaded(self, version: str | None) -> None:
        self.versions.append(version)

    def refused(self) -> None:
        self.refusals += 1

    def scored(self, figures: Figures, seconds: float) -> None:
        assert seconds >= 0
        self.figures = self.figures + figures

    def shed(self, reason: Shed, rows: int) -> None:
        self.left_out[reason] += rows

    def failed(self, rows: int) -> None:
        self.errors += rows

    def disabled(self) -> None:
        self.is_disabled = True


@dataclass(frozen=True)
class Misbehaving:
    """A predictor that does something before each batch."""

    inner: Predictor
    before: Callable[[], object]

    @property
    def base(self) -> float:
        return self.inner.base

    def raw(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        self.before()
        return self.inner.raw(matrix)

    def contributions(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.inner.contributions(matrix)

    def explained(self, matrix: NDArray[np.float64], choose: Choose) -> Explained:
        self.before()
        return self.inner.explained(matrix, choose)


def misbehaving(before: Callable[[], object], version: str = "v2") -> Bundle:
    bundle = make_bundle(version, seed=2)
    return replace(bundle, predictor=Misbehaving(bundle.predictor, before))


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Shadowed:
    """A scorer with a challenger."""

    worker: ShadowWorker
    pipeline: Pipeline
    cluster: MemoryCluster
    loop: ScorerLoop
    sink: MemorySink
    events: Events
    seen: Seen
    share: float

    def use(self, challenger: Bundle | None) -> None:
        """Let it score in this process."""
        self.worker.use(
            None
            if challenger is None
            else BundleModel(challenger, self.share, TransactionDecoder(LocalSchemas()), self.sink)
        )

    def drain(self) -> None:
        """Score everything; the challenger may still be at work."""
        for _ in range(100):
            if self.loop.run_once() is Step.IDLE:
                return
        raise AssertionError("the loop never became idle")

    def output(self) -> list[tuple[int, Record]]:
        """Everything that the champion published, in order."""
        return [*self.cluster.read("fraud-scores"), *self.cluster.read("transactions-dlq")]


def make_shadowed(
    challenger: Bundle | None,
    options: ShadowOptions | None = None,
    values: Sequence[bytes | None] | None = None,
    clock: Callable[[], float] | None = None,
    refusal: Callable[[], Shed | None] = lambda: None,
    champion: Bundle | None = None,
    ahead_from: int = NEVER,
    share: float = 1.0,
) -> Shadowed:
    """A scorer of batches of five, with records in two partitions."""
    cluster = MemoryCluster(INPUT, 2)
    fill(cluster, make_values(40) if values is None else values)
    sink, events, seen, pipeline = MemorySink(), Events(), Seen(), make_pipeline()
    worker = ShadowWorker(
        options or ShadowOptions(max_batches=100),
        events,
        refusal,
        *([clock] if clock else []),
    )
    pipeline.keep_basis_if(worker.wants)
    serving = champion or make_bundle()
    loop = ScorerLoop(
        MemoryBroker(cluster), pipeline, NoHistories(lambda: serving),
        RejectionGuard(RejectionPolicy()), ShadowingObserver(seen, worker),
        LoopOptions(5, 0.0, ahead_from), clock=lambda: NOW_MS / 1000,
    )  # fmt: skip
    shadowed = Shadowed(worker, pipeline, cluster, loop, sink, events, seen, share)
    shadowed.use(challenger)
    return shadowed


class Gate:
    """Blocks whoever calls it until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._opened = threading.Event()

    def __call__(self) -> None:
        self.entered.set()
        assert self._opened.wait(SECONDS)

    def open(self) -> None:
        self._opened.set()
