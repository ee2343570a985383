"""Faults of the hand-over, one at a time: each must be found, and by what is known.

Some faults are harmless because something else notices them at once: a state that is not where the
records begin is dropped and restored. Such guards are switched off here where that is needed to
reach the fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_scorer.state import partitions, snapshots
from stream_scorer.state.histories import CardHistories
from stream_scorer.state.marks import history_mark
from stream_scorer.state.partitions import BatchStep, OwnedState, OwnedStates
from stream_scorer.state.restore import PartitionRestore, PartitionState
from tests.support.state.memory_log import MemoryInputLog

Patch = pytest.MonkeyPatch
_step = OwnedStates.step
_commit = BatchStep.commit
_copy = snapshots._copy


def no_rollback(patch: Patch) -> None:
    """An aborted batch leaves its updates behind."""

    def roll_back(parts: Iterable[Any]) -> None:
        for owned, undo, head_before, _ in parts:
            owned.head = head_before
            if undo is not None and not owned.is_dropped:
                owned.state.history._open.remove(undo)

    patch.setattr(partitions, "_roll_back", roll_back)


def state_kept_across_a_revoke(patch: Patch) -> None:
    """A partition that returns goes on with the state that it left with."""

    def drop_left(self: CardHistories, assignments: Mapping[int, int]) -> None:
        self._missing.forget_left(assignments)
        if self._states is None:
            return
        for partition, owned in self._states.items():
            now = assignments.get(partition)
            if now is not None and now != owned.assignment:
                owned.assignment, owned.head = now, 0
                committed = self._member.committed([partition])  # type: ignore[attr-defined]
                self._member.release(partition, committed[partition].offset or 0)

    patch.setattr(CardHistories, "_drop_left", drop_left)


def snapshot_of_open_state(patch: Patch) -> None:
    """A snapshot holds what is not committed yet."""

    def copy(states: OwnedStates, partition: int, owned: OwnedState) -> Any:
        history = owned.state.history
        history._open, kept = [], history._open
        job = _copy(states, partition, owned)
        history._open = kept
        return job

    patch.setattr(snapshots, "_copy", copy)


def no_replay(patch: Patch) -> None:
    """A snapshot is taken for the state at the committed offset."""

    def replay(_: PartitionRestore, __: int, state: PartitionState, end: int) -> int:
        state.offset = end
        return 0

    patch.setattr(PartitionRestore, "replay", replay)


def dead_letters_advance_on_replay(patch: Patch) -> None:
    """Today's decoder decides which inputs were accepted."""
    patch.setattr(MemoryInputLog, "refused", lambda *_: np.empty(0, np.int64))


class _LateMarks(dict[int, Mapping[str, str]]):
    """Marks of the states as they are when the offset is committed."""

    def __init__(self, states: OwnedStates, marks: Mapping[int, Mapping[str, str]]) -> None:
        super().__init__(marks)
        self._states = states

    def get(self, partition: int, default: Any = None) -> Any:
        owned = self._states.get(partition)
        if owned is None:
            return super().get(partition, default)
        spec, era = self._states.spec.fingerprint, self._states.era.number
        return history_mark(spec, era, owned.state.history.check_sum()).fields()


def mark_taken_after_the_next_step(patch: Patch) -> None:
    """The mark says what the state is when the transaction ends."""

    def step(self: OwnedStates, *given: Any) -> BatchStep:
        found = _step(self, *given)
        return replace(found, marks=_LateMarks(self, found.marks))

    patch.setattr(OwnedStates, "step", step)


def features_after_the_update(patch: Patch) -> None:
    """A transaction is part of its own past."""

    def step(self: OwnedStates, polled: Any, batch: Any, kept: Any, *given: Any) -> BatchStep:
        found = _step(self, polled, batch, kept, *given)
        of_partition = polled.partitions[kept]
        for partition, owned in self.items():
            rows = np.flatnonzero(of_partition == partition)
            owned.state.history.peek(batch, rows, found.columns.values)
        return found

    patch.setattr(OwnedStates, "step", step)


def snapshot_one_batch_too_new(patch: Patch) -> None:
    """A snapshot has the name of the batch before."""
    before: dict[int, int] = {}

    def commit(self: BatchStep) -> None:
        for owned, *_ in self._parts:
            before[id(owned)] = owned.state.offset
        _commit(self)

    def copy(states: OwnedStates, partition: int, owned: OwnedState) -> Any:
        job = _copy(states, partition, owned)
        job.offset = before.get(id(owned), job.offset)
        return job

    patch.setattr(BatchStep, "commit", commit)
    patch.setattr(snapshots, "_copy", copy)


def second_advance_on_a_retried_batch(patch: Patch) -> None:
    """A batch that is read again advances twice."""
    seen: set[tuple[int, int]] = set()

    def step(self: OwnedStates, polled: Any, *given: Any) -> BatchStep:
        found = _step(self, polled, *given)
        firsts = set(polled.first_offsets().items())
        if firsts & seen:
            for owned, undo, head_before, _ in found._parts:
                owned.head = head_before
                if undo is not None:
                    owned.state.history._open.remove(undo)
            found = _step(self, polled, *given)
        seen.update(firsts)
        return found

    patch.setattr(OwnedStates, "step", step)


MUTANTS: Mapping[Callable[[Patch], None], set[str]] = {
    no_rollback: {"mark", "outcomes"},
    state_kept_across_a_revoke: {"mark", "outcomes"},
    snapshot_of_open_state: {"mark"},
    no_replay: {"mark"},
    dead_letters_advance_on_replay: {"mark"},
    mark_taken_after_the_next_step: {"mark"},
    features_after_the_update: {"outcomes"},
    snapshot_one_batch_too_new: {"mark"},
    second_advance_on_a_retried_batch: {"mark", "outcomes"},
}
"""Each with what finds it: the ``mark`` at the next restore, or the comparison of ``outcomes`` with
one pass over the inputs."""
