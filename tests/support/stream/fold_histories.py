"""Histories that are a simple fold of each partition's inputs, to check the loop against.

The state of a partition depends on the order of its inputs, and on each of them. It is restored
from the input itself, as in production, and the restored one has to agree with the committed mark.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from threading import get_ident
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.batch import HistoryColumns, TransactionBatch, empty_batch
from schemas.framing import Header
from stream_scorer.dead_letters.repeats import REDRIVEN_STAGE
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.kafka.mark import parse_mark
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.forest.explained import Choose, Explained, explain_afterwards
from stream_scorer.model.forest.predictor import Predictor
from stream_scorer.stream.memory_broker import MemoryBroker, MemoryCluster, Record
from stream_scorer.stream.ports import Broker, Histories, HistoryStep, Marks, Polled
from tests.support.scoring_kit import make_value

FINGERPRINT = "f" * 64
POISON = 666.0
"""A transaction of this amount cannot be scored."""

LARGE_KEY = b"k" * 20_000
"""A score with this key does not fit into the output topic of these tests."""

SCORE_BYTES = 10_000


class State(NamedTuple):
    """The inputs of one partition that were applied: their fold, and the offset after them."""

    value: int = 0
    position: int = 0

    def after(self, number: int, *, advances: bool) -> State:
        """One input later."""
        value = (self.value * 1_000_003 + number + 1) % 2**61 if advances else self.value
        return State(value, self.position + 1)

    @property
    def feature(self) -> float:
        """What a row gets from the state before it."""
        return float(self.value % 2**52)

    @property
    def mark(self) -> dict[str, str]:
        """The fields that are committed with it."""
        return {"sum": f"{self.value:016x}"}


class Producing(Protocol):
    """Something that inputs can be produced to."""

    def produce(self, partition: int, record: Record) -> None:
        """Append a record to the input topic."""
        ...


@dataclass
class Inputs:
    """What was produced: (number, whether it advances) of each input, by partition."""

    cluster: Producing
    produced: dict[int, list[tuple[int, bool]]] = field(default_factory=lambda: defaultdict(list))
    place: dict[int, tuple[int, int]] = field(default_factory=dict)

    def produce(self, partition: int, kind: str) -> None:
        """Append an input: good, bad, poison, large, or redriven from a stage."""
        number = sum(map(len, self.produced.values()))
        redriven: list[Header] | None = None
        if kind.startswith("redriven:"):
            redriven = [(REDRIVEN_STAGE, kind.removeprefix("redriven:").encode())]
        value = _encode(number, POISON if kind == "poison" else 50.0)
        key = LARGE_KEY if kind == "large" else b"key"
        self.cluster.produce(partition, Record(key, b"bad" if kind == "bad" else value, redriven))
        offset = len(self.produced[partition])
        self.place[number] = partition, offset
        advances = kind not in ("bad", "redriven:score", "redriven:publish")
        self.produced[partition].append((number, advances))

    def fold(self, partition: int, position: int) -> State:
        """The state at a position, computed from the beginning."""
        state = State()
        for number, advances in self.produced[partition][:position]:
            state = state.after(number, advances=advances)
        return state


@cache
def _encode(number: int, amount: float) -> bytes:
    return make_value(number, amount=amount)


@dataclass(frozen=True, eq=False)
class FoldStep:
    """An open step: the states before it.

    ``columns`` and ``marks`` may only be read in the loop's thread. Another one could read them
    after the next step has begun.
    """

    values: HistoryColumns
    after: Marks
    before: dict[int, State]
    problems: list[str]
    thread: int = field(default_factory=get_ident)

    @property
    def columns(self) -> HistoryColumns:
        """The features."""
        return self.values

    @property
    def marks(self) -> Marks:
        """The marks of the states after it."""
        if get_ident() != self.thread:
            self.problems.append("marks are read in another thread")
        return self.after


@dataclass
class FoldHistories:
    """The histories of one member, which check what the loop does with them.

    Attributes:
        broker: the member of a group on any broker.
        bundle: its model.
        inputs: all inputs; a state is restored from them.
        faults: what the next calls of ``serve`` and ``step`` raise.
        chance: decides when the restore of a partition is complete; None: at once.
    """

    broker: Broker
    bundle: Bundle
    inputs: Inputs
    faults: dict[str, list[Exception | None]] = field(default_factory=dict)
    chance: random.Random | None = None
    states: dict[int, State] = field(default_factory=dict)
    known: dict[int, int] = field(default_factory=dict)
    open: list[FoldStep] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    restored: int = 0

    def serve(self, uncommitted: Polled | None) -> None:
        """Drop the states of partitions that left, and restore those of new ones."""
        self.broker.hold_new(is_on=True)
        self._fail("serve")
        counts = self.broker.assignments()
        waiting = set() if uncommitted is None else set(uncommitted.first_offsets())
        for partition in waiting:
            if counts.get(partition) != self.known.get(partition):
                self.problems.append(f"{partition} left with an uncommitted batch, and was served")
        for partition in list(self.states):
            if self.is_gone(partition, counts):
                self.drop(partition)
        for partition in sorted(self.broker.held() - waiting):
            if self.chance is None or self.chance.random() < 0.7:
                self.restore(partition, counts[partition])

    def is_gone(self, partition: int, counts: Mapping[int, int]) -> bool:
        """Whether a state is no longer that of the partition's owner."""
        return counts.get(partition) != self.known[partition]

    def drop(self, partition: int) -> None:
        """Forget a state."""
        del self.states[partition], self.known[partition]

    def restore(self, partition: int, count: int) -> None:
        """Replay the inputs up to the committed offset, compare with the mark, and release."""
        found = self.broker.committed([partition])[partition]
        state = self.inputs.fold(partition, found.offset or 0)
        if found.offset is not None and parse_mark(found.mark) != state.mark:
            self.problems.append(f"{partition} at {found.offset}: mark {found.mark}, {state.mark}")
        self.states[partition], self.known[partition] = state, count
        self.broker.release(partition, state.position)
        self.restored += 1

    def model(self) -> Bundle | None:
        """Always the same."""
        return self.bundle

    def has_history(self, bundle: Bundle) -> bool:
        """Every bundle has."""
        return bundle is self.bundle

    def step(
        self,
        bundle: Bundle,
        polled: Polled,
        batch: TransactionBatch,
        kept: NDArray[np.int64],
        advances: NDArray[np.bool_],
    ) -> FoldStep:
        """Advance the states by the rows of a batch."""
        assert bundle is self.bundle
        assert len(batch) == len(kept) == len(advances)
        self._fail("step")
        values = np.full((len(batch), 1), np.nan)
        before = {p: self.states[p] for p in polled.first_offsets()}
        rows = {int(row): i for i, row in enumerate(kept)}
        for row, partition in enumerate(polled.partitions.tolist()):
            state = self.states[partition]
            if int(polled.offsets[row]) != state.position:
                self.problems.append(f"{partition}: {polled.offsets[row]} after {state.position}")
            i = rows.get(row)
            if i is None:
                self.states[partition] = state.after(-1, advances=False)
                continue
            values[i] = state.feature
            self.states[partition] = state.after(int(batch.ids[i]), advances=bool(advances[i]))
        columns, marks = HistoryColumns(FINGERPRINT, values), self.marks(list(before))
        step = FoldStep(columns, marks, before, self.problems)
        self.open.append(step)
        return step

    def marks(self, partitions: Sequence[int]) -> Marks:
        """The marks of the states as they are now."""
        return {p: self.states[p].mark for p in partitions}

    def rollback(self, step: HistoryStep) -> None:
        """Restore the states before the youngest step."""
        if not self.open or self.open[-1] is not step:
            self.problems.append("rollback of a step that is not the youngest")
        youngest = self.open.pop()
        self.undo(youngest)

    def undo(self, step: FoldStep) -> None:
        """Write the states of before a step back."""
        self.states |= {p: state for p, state in step.before.items() if p in self.states}

    def committed(self, step: HistoryStep) -> None:
        """Forget how to undo the oldest step."""
        if not self.open or self.open[0] is not step:
            self.problems.append("commit of a step that is not the oldest")
        self.open.pop(0)

    def position(self, partition: int) -> int:
        """Where the member reads a partition next."""
        return len(self.inputs.produced[partition]) - self.broker.lag()[partition]

    def committed_offsets(self, partitions: Sequence[int]) -> dict[int, int]:
        """Where a new owner would begin."""
        return {p: found.offset or 0 for p, found in self.broker.committed(partitions).items()}

    def is_current(self) -> bool:
        """Whether the member has noticed the last rebalance. Until then its states may be old."""
        return True

    def check(self) -> int:
        """Compare each live state with the inputs before the member's position.

        Returns:
            The number of states compared.
        """
        counts = self.broker.assignments()
        live = [p for p in self.states if counts.get(p) == self.known[p]]
        if not live or not self.is_current():
            return 0
        committed = self.committed_offsets(live)
        for partition in live:
            state, position = self.states[partition], self.position(partition)
            if state != self.inputs.fold(partition, position):
                self.problems.append(
                    f"partition {partition}: state of {state.position}, position {position}"
                )
            oldest = next((s for s in self.open if partition in s.before), None)
            base = state if oldest is None else oldest.before[partition]
            offset = committed[partition]
            if base != self.inputs.fold(partition, offset):
                self.problems.append(f"partition {partition}: not the state of {offset} inputs")
        return len(live)

    def _fail(self, operation: str) -> None:
        script = self.faults.get(operation)
        if script and (fault := script.pop(0)) is not None:
            raise fault


@dataclass
class MemoryHistories(FoldHistories):
    """The same on the in-memory broker."""

    def is_current(self) -> bool:
        """By the group's generation."""
        assert isinstance(self.broker, MemoryBroker)
        return self.broker.generation == self.cluster.generation

    def committed_offsets(self, partitions: Sequence[int]) -> dict[int, int]:
        """Without a request, which could fail as scripted."""
        return {p: self.cluster.committed.get(p, 0) for p in partitions}

    @property
    def cluster(self) -> MemoryCluster:
        """What the inputs are produced to."""
        assert isinstance(self.inputs.cluster, MemoryCluster)
        return self.inputs.cluster


class WatchedFeatures(FeatureSet):
    """Features that compare the history of each row with the fold of the inputs before it."""

    inputs: Inputs
    problems: list[str]
    rows: int

    def transform(self, batch: TransactionBatch) -> NDArray[np.float64]:
        """Check the rows' history, then compute the features as ever."""
        if batch.history is None or batch.history.fingerprint != FINGERPRINT:
            self.problems.append("a batch without history was scored")
            return super().transform(batch)
        for number, value in zip(batch.ids.tolist(), batch.history.values[:, 0], strict=True):
            self.rows += 1
            partition, offset = self.inputs.place[number]
            if value != self.inputs.fold(partition, offset).feature:
                self.problems.append(f"wrong features at {partition}-{offset}")
        return super().transform(batch.with_history(None))


@dataclass(frozen=True)
class FailingPredictor:
    """A predictor that raises for poison, and what its script says."""

    inner: Predictor
    poisoned: Callable[[NDArray[np.float64]], bool]
    script: list[Exception | None]

    @property
    def base(self) -> float:
        return self.inner.base

    def raw(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.script and (fault := self.script.pop(0)) is not None:
            raise fault
        if self.poisoned(matrix):
            raise ZeroDivisionError("poison")
        return self.inner.raw(matrix)

    def contributions(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.inner.contributions(matrix)

    def explained(self, matrix: NDArray[np.float64], choose: Choose) -> Explained:
        return explain_afterwards(self.raw, self.contributions, matrix, choose)


def watched(bundle: Bundle, inputs: Inputs, script: list[Exception | None]) -> Bundle:
    """The bundle with features that are checked, and a predictor that can fail."""
    bundle.features.transform(empty_batch())  # compiles what the copy then shares
    features = WatchedFeatures.__new__(WatchedFeatures)
    vars(features).update(vars(bundle.features))
    features.inputs, features.problems, features.rows = inputs, [], 0
    column = features.names.index("TransactionAmt")
    predictor = FailingPredictor(
        bundle.predictor, lambda matrix: bool((matrix[:, column] == POISON).any()), script
    )
    return replace(bundle, features=features, predictor=predictor)


@dataclass
class WithoutRollback:
    """The same histories, except that nothing is rolled back: for controls."""

    inner: FoldHistories

    def rollback(self, step: HistoryStep) -> None:
        self.inner.open = [one for one in self.inner.open if one is not step]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def as_histories(histories: Any) -> Histories:
    """For the type checker: what delegates is an instance of the port too."""
    return histories  # type: ignore[no-any-return]


class LateMarks(Mapping[int, Mapping[str, str]]):
    """Marks that are computed when they are read, which is too late: for a control."""

    def __init__(self, histories: FoldHistories, partitions: Sequence[int]) -> None:
        self._histories = histories
        self._partitions = partitions

    def __getitem__(self, partition: int) -> Mapping[str, str]:
        return self._histories.states[partition].mark

    def __iter__(self) -> Iterator[int]:
        return iter(self._partitions)

    def __len__(self) -> int:
        return len(self._partitions)
