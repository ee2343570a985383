"""Scorers with card histories on the in-memory broker and store, driven step by step at random.

Members are killed, become zombies that go on committing and writing snapshots, and partitions
leave, move and return. Nothing runs in threads of its own: a schedule decides which thread's work
comes next.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import HistoryColumns, TransactionBatch, build_batch
from stream_scorer.errors import RetryableError
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.kafka.mark import parse_mark
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.scoring import score
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.memory_store import MemoryObjects
from stream_scorer.state.eras import Eras, InputFacts
from stream_scorer.state.histories import CardHistories
from stream_scorer.state.marks import read_history_mark
from stream_scorer.state.partitions import BatchStep, PolledRecords
from stream_scorer.state.placement import partitions_of
from stream_scorer.state.restorer import Restorer, Result
from stream_scorer.state.snapshots import SnapshotPolicy, SnapshotResult, SnapshotWriter
from stream_scorer.stream.loop import LoopOptions, ScorerLoop
from stream_scorer.stream.memory_broker import MemoryBroker, MemoryCluster, Record
from stream_scorer.stream.pipeline import Pipeline
from stream_scorer.stream.ports import HistoryStep, Polled
from stream_scorer.stream.rejections.guard import RejectionGuard, RejectionPolicy
from tests.support.scoring_kit import (
    INPUT,
    OUTPUT,
    Seen,
    inputs,
    make_pipeline,
    outcomes_by_source,
    read_score,
)
from tests.support.state.history_kit import encode_rows, fold, make_card_rows, make_history_bundle
from tests.support.state.memory_log import MemoryInputLog

PARTITIONS: Final = 3
BAD: Final = b"{cut off"
_STEPS_MAX: Final = 6_000


@cache
def _pipeline() -> Pipeline:
    """One for all members: it keeps nothing but the plans of schemas."""
    return make_pipeline()


class Stuck(AssertionError):
    """The inputs were not scored within the steps of a schedule."""


@dataclass
class FakeModels:
    """What would load the bundles."""

    current: Bundle | None
    withdrawn: set[str] = field(default_factory=set)

    def is_withdrawn(self, version: str) -> bool:
        return version in self.withdrawn


@dataclass
class Recording:
    """Passes everything on, and records the features of committed batches."""

    inner: CardHistories
    features: dict[tuple[int, int], bytes]
    _open: dict[int, tuple[Polled, NDArray[np.int64], NDArray[np.float64]]] = field(
        default_factory=dict
    )

    def serve(self, uncommitted: PolledRecords | None) -> None:
        self.inner.serve(uncommitted)

    def model(self) -> Bundle | None:
        return self.inner.model()

    def has_history(self, bundle: Bundle) -> bool:
        return self.inner.has_history(bundle)

    def step(
        self,
        bundle: Bundle,
        polled: Polled,
        batch: TransactionBatch,
        kept: NDArray[np.int64],
        advances: NDArray[np.bool_],
    ) -> BatchStep | None:
        step = self.inner.step(bundle, polled, batch, kept, advances)
        if step is not None:
            self._open[id(step)] = polled, kept, step.columns.values
        return step

    def rollback(self, step: HistoryStep) -> None:
        self._open.pop(id(step))
        self.inner.rollback(step)

    def committed(self, step: HistoryStep) -> None:
        polled, kept, values = self._open.pop(id(step))
        for row, features in zip(kept.tolist(), values, strict=True):
            place = int(polled.partitions[row]), int(polled.offsets[row])
            assert place not in self.features, f"{place} was committed twice"
            self.features[place] = features.tobytes()
        self.inner.committed(step)


@dataclass
class Counted:
    """What restores and snapshots reported."""

    restores: Counter[Result] = field(default_factory=Counter)
    snapshots: Counter[SnapshotResult] = field(default_factory=Counter)
    rows: int = 0
    damaged: int = 0

    def restored(self, result: Result, _: float) -> None:
        self.restores[result] += 1

    def replayed(self, rows: int) -> None:
        self.rows += rows

    def damaged_snapshot(self) -> None:
        self.damaged += 1

    def snapshot(self, result: SnapshotResult, _: float) -> None:
        self.snapshots[result] += 1


class Later(Future[Any]):
    """A future whose work is done when its result is asked for."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__()
        self._work = work

    def result(self, timeout: float | None = None) -> Any:
        del timeout
        return self._work()


class Committer:
    """Publishes a batch before or after the next one is scored, in place of a thread."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def submit(self, work: Callable[..., Any], *given: Any) -> Future[Any]:
        if self._chance.random() < 0.5:
            return Later(lambda: work(*given))
        done: Future[Any] = Future()
        done.set_result(work(*given))
        return done

    def shutdown(self) -> None:
        """There is no thread."""


class Member:
    """One scorer process: loop, histories, and the work of its threads."""

    def __init__(self, world: World, records: int, ahead_from: int, debt: int) -> None:
        self.broker = MemoryBroker(world.cluster)
        self.models = FakeModels(world.promoted)
        facts = InputFacts(INPUT, "", PARTITIONS)
        self.restorer = Restorer(
            world.store,
            Eras(world.store, facts, 100_000),
            world.open_log,
            observer=world.counted,
            clock=world.clock,
        )
        self.writer = SnapshotWriter(
            world.store,
            world.open_log,
            SnapshotPolicy(replay_max=debt),
            "a test",
            observer=world.counted,
            clock=world.clock,
        )
        self.histories = CardHistories(
            self.broker, self.models, self.restorer, self.writer, clock=world.clock
        )
        self.broker.hold_new(is_on=True)
        self.seen = Seen()
        self.loop = ScorerLoop(
            self.broker,
            _pipeline(),
            Recording(self.histories, world.features),
            RejectionGuard(RejectionPolicy(max_run=10**6, max_share=1.0)),
            self.seen,
            LoopOptions(records, 0.0, ahead_from),
            clock=lambda: 0.0,
        )
        self.loop._committer = Committer(world.random)  # type: ignore[assignment]

    def act(self, chance: float) -> None:
        """Do what one of the threads would do next."""
        if chance < 0.4:
            self.loop.run_once()
        elif chance < 0.7:
            self.restorer.work_once()
        else:
            self.writer.work_once()


class World:
    """Inputs of some cards, a store, and a group of scorers.

    Args:
        seed: of the inputs and of the schedule.
        n: inputs.
        bundle: what is promoted; one with history unless given.
    """

    def __init__(self, seed: int, n: int = 90, bundle: Bundle | None = None) -> None:
        self.random = random.Random(seed)
        self.promoted = bundle or make_history_bundle()
        self.bundles = {self.promoted.version: self.promoted}
        self.cluster = MemoryCluster(INPUT, PARTITIONS)
        self.objects = MemoryObjects()
        self.store = HistoryStore(self.objects, is_trusted=True)
        self.counted = Counted()
        self.features: dict[tuple[int, int], bytes] = {}
        self.now = 0.0
        self.rows: dict[tuple[int, int], dict[str, Any]] = {}
        self.bad: dict[tuple[int, int], bytes] = {}
        self.logs: list[MemoryInputLog] = []
        self._produce(make_card_rows(n, seed, cards=9))
        self.members = [self.add_member() for _ in range(2)]
        self.zombies: list[Member] = []
        self.rebalance()

    def clock(self) -> float:
        """Seconds; each action takes one."""
        return self.now

    def open_log(self) -> MemoryInputLog:
        """A connection to the inputs. Bad ones could be decoded by now."""
        self.logs.append(MemoryInputLog(self.cluster, readable=self.bad))
        return self.logs[-1]

    def add_member(self) -> Member:
        """A scorer of random options joins."""
        return Member(
            self,
            self.random.choice([2, 4, 9]),
            self.random.choice([1, 10**9]),
            self.random.choice([1, 6, 10**9]),
        )

    def rebalance(self) -> None:
        """Deal the partitions at random; some that stay leave and return at once."""
        self.cluster.generation += 1
        shares: dict[int, set[int]] = {i: set() for i in range(len(self.members))}
        for partition in range(PARTITIONS):
            shares[self.random.randrange(len(self.members))].add(partition)
        for i, member in enumerate(self.members):
            staying = member.broker.next_assigned & shares[i]
            member.broker.assign(frozenset(p for p in staying if self.random.random() < 0.7))
            member.broker.assign(frozenset(shares[i]))

    def kill(self) -> None:
        """A member is gone, or only believes that it still belongs to the group."""
        victim = self.members.pop(self.random.randrange(len(self.members)))
        self.cluster.members.remove(victim.broker)
        if self.random.random() < 0.5:
            self.zombies = [*self.zombies[-1:], victim]
        self.members.append(self.add_member())
        self.rebalance()

    def promote(self, bundle: Bundle) -> None:
        """Every member loads it, sooner or later."""
        self.promoted = self.bundles[bundle.version] = bundle

    def disturb(self) -> None:
        """The next call of an operation fails."""
        operation = self.random.choice(["begin", "publish", "commit", "poll"])
        self.cluster.faults[operation] = [RetryableError("a broker was restarted")]

    def run(self, on_step: Callable[[World], None] = lambda _: None) -> World:
        """Act at random until every input has its outcome.

        Raises:
            Stuck: that takes too long.
        """
        for _ in range(_STEPS_MAX):
            if self.is_done():
                return self
            self.now += 1.0
            on_step(self)
            what = self.random.random()
            if what < 0.05:
                self.rebalance()
            elif what < 0.06:
                self.kill()
            elif what < 0.1:
                self.disturb()
            elif what < 0.12:
                self.random.choice(self.members).models.current = self.promoted
            else:
                self.random.choice(self.members + self.zombies).act(self.random.random())
        raise Stuck(f"{self.cluster.committed} of {self.ends()}: {self._waiting()}")

    def finish(self) -> World:
        """Let every member work quietly until every input has its outcome."""
        for _ in range(_STEPS_MAX):
            if self.is_done():
                return self
            self.now += 1.0
            for member in self.members:
                for chance in (0.0, 0.6, 0.9):
                    member.act(chance)
        raise Stuck(f"{self.cluster.committed} of {self.ends()}: {self._waiting()}")

    def is_done(self) -> bool:
        """Whether every input has its outcome."""
        return dict(self.cluster.committed) == self.ends()

    def ends(self) -> dict[int, int]:
        """The ends of the partitions."""
        return {p: len(self.cluster.logs[INPUT, p]) for p in range(PARTITIONS)}

    def check_outcomes(self) -> None:
        """Every input has one outcome, with the features and the score of one pass over all."""
        assert outcomes_by_source(self.cluster) == inputs(self.cluster)
        self.check_features()
        scores = self.scores()
        for version, bundle in self.bundles.items():
            for place, (values, one) in self.expected(bundle).items():
                if place in scores and scores[place][0] == version:
                    assert scores[place][1] == one, f"{place} has another score"
                    assert self.features.get(place, b"") == values

    def check_features(self) -> None:
        """What was committed so far has the features of one pass over the inputs."""
        versions, wrong = self.scores(), []
        wanted = {v: self.expected(bundle) for v, bundle in self.bundles.items()}
        for place, found in self.features.items():
            version, _ = versions[place]
            if found != wanted[version].get(place, (b"", 0.0))[0]:
                wrong.append(place)
        assert not wrong, f"features of {len(wrong)} inputs differ, the first is {min(wrong)}"

    def check_marks(self) -> None:
        """The last mark of each partition is that of its recomputed state, if it has one."""
        for partition in range(PARTITIONS):
            mark = read_history_mark(parse_mark(self.cluster.marks[partition]))
            for bundle in self.bundles.values():
                spec = bundle.features.program.history
                if spec is None or mark is None or not spec.fingerprint.startswith(mark.spec):
                    continue
                begin = self.store.read_era(spec.fingerprint, mark.era).begin[partition]
                _, history = fold(spec, self._batch(partition, begin)[1])
                assert mark.check_sum == history.check_sum(), f"the mark of partition {partition}"

    def scores(self) -> dict[tuple[int, int], tuple[str, float]]:
        """Version and score by source."""
        found = {}
        for partition, record in self.cluster.read(OUTPUT):
            value = read_score(record.value)
            place = partition, value["source"]["offset"]
            found[place] = value["model_version"], value["score"]
        return found

    def expected(self, bundle: Bundle) -> dict[tuple[int, int], tuple[bytes, float]]:
        """Features and scores of one pass over the accepted inputs of each partition."""
        spec = bundle.features.program.history
        found: dict[tuple[int, int], tuple[bytes, float]] = {}
        for partition in range(PARTITIONS):
            begin = 0 if spec is None else self._begin(spec, partition)
            places, batch = self._batch(partition, begin)
            if not places:
                continue
            rows = [b""] * len(places)
            if spec is not None:
                values, _ = fold(spec, batch)
                batch = batch.with_history(HistoryColumns(spec.fingerprint, values))
                rows = [row.tobytes() for row in values]
            scores = score(batch, bundle).scores.tolist()
            found |= dict(zip(places, zip(rows, scores, strict=True), strict=True))
        return found

    def _begin(self, spec: HistorySpec, partition: int) -> int:
        era = self.store.latest_era(spec.fingerprint)
        return 10**9 if era is None else era.begin[partition]

    def _batch(self, partition: int, begin: int) -> tuple[list[tuple[int, int]], TransactionBatch]:
        places = sorted(
            p for p in self.rows if p[0] == partition and p[1] >= begin and p not in self.bad
        )
        return places, build_batch([self.rows[place] for place in places])

    def _produce(self, rows: list[dict[str, Any]]) -> None:
        cards = np.array([int(row.get("card1", 0)) for row in rows], np.int64)
        for row, value, partition in zip(
            rows, encode_rows(rows), partitions_of(cards, PARTITIONS).tolist(), strict=True
        ):
            place = partition, len(self.cluster.logs[INPUT, partition])
            is_bad = self.random.random() < 0.06
            self.rows[place] = row
            if is_bad:
                self.bad[place] = value
            key = str(int(row.get("card1", 0))).encode()
            self.cluster.produce(partition, Record(key, BAD if is_bad else value))

    def _waiting(self) -> Mapping[int, Collection[str]]:
        return {
            i: [waiting.reason for waiting in member.histories.waiting.values()]
            for i, member in enumerate(self.members)
        }
