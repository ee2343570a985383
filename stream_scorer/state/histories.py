"""The card histories of a scorer process: which bundle it can score with, and its states.

The loop's thread calls everything here; restores and snapshots are made in threads of their own.
A partition delivers no records before its state is attached: it is held from its assignment on.

When a bundle with other history features is promoted, or a new era begins, the scorer goes on with
the bundle and the states that it has, and prepares the new states meanwhile. Then it holds all
partitions for the moment that the last inputs take, and changes between two batches.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.model.bundle import Bundle
from stream_scorer.state.eras import require_spec, spec_id, spec_of
from stream_scorer.state.missing import MissingStates, Waiting
from stream_scorer.state.partitions import BatchStep, Counts, OwnedStates, PolledRecords
from stream_scorer.state.ports import Member, Models, NoSnapshots, Restores, Snapshots
from stream_scorer.state.switch import Switch

log = logging.getLogger(__name__)

HOLD_SECONDS: Final = 30.0
"""A change of history features holds all partitions for at most this long; it is repeated later."""

RETRY_SECONDS: Final = 60.0
"""After a change that failed, until it is tried again."""


class CardHistories:
    """Implements the loop's port ``Histories``.

    Args:
        member: the group member.
        models: loads the bundles.
        restores: restores partitions in another thread.
        snapshots: writes snapshots in another thread.
        on_step: called with the seconds of each step.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        member: Member,
        models: Models,
        restores: Restores,
        snapshots: Snapshots | None = None,
        on_step: Callable[[float], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._member = member
        self._models = models
        self._restores = restores
        self._snapshots = snapshots or NoSnapshots()
        self._on_step = on_step
        self._clock = clock
        self._serving: Bundle | None = None
        self._states: OwnedStates | None = None
        self._missing = MissingStates(member, restores.submit)
        self._switch: Switch | None = None
        self._retry_at = 0.0
        self._is_blocked = False  # all are held: the serving version must not score any more
        self._past = Counts()
        self.waiting: Mapping[int, Waiting] = {}
        """Partitions that wait for their history; safe to read from any thread."""
        self.problem: str | None = None
        """Why the promoted bundle is not served, if it waits for its history."""

    # The port

    def model(self) -> Bundle | None:
        """The promoted bundle if the states are those of its history, else the one before."""
        current, serving = self._models.current, self._serving
        if serving is None or current is None or spec_id(current) == spec_id(serving):
            return current
        return serving

    def has_history(self, bundle: Bundle) -> bool:
        """Whether the bundle's features read the past."""
        return spec_of(bundle) is not None

    def serve(self, uncommitted: PolledRecords | None) -> None:
        """Update states and held partitions; see the port.

        Raises:
            FatalError: no history can be restored, and waiting does not help.
        """
        assignments = self._member.assignments()
        busy = frozenset() if uncommitted is None else frozenset(uncommitted.first_offsets())
        self._drop_left(assignments)
        self._follow(assignments)
        for result in self._restores.take():
            is_for_switch = self._switch is not None and self._switch.take(result)
            if not is_for_switch:
                self._missing.take(result, self._states, assignments)
        if self._serving is not None and not (self._is_blocked or self._is_holding()):
            self._missing.request(spec_of(self._serving), self._states, assignments, busy)
        if self._switch is not None:
            self._advance(self._switch, assignments, busy)
        self._snapshots.serve(self._states)
        self._report()

    def step(
        self,
        bundle: Bundle,
        polled: PolledRecords,
        batch: TransactionBatch,
        kept: NDArray[np.int64],
        advances: NDArray[np.bool_],
    ) -> BatchStep | None:
        """Features of a batch's past, and the update of its partitions; see the port."""
        spec = spec_of(bundle)
        if spec is None:
            return None
        states = self._states
        if states is None or states.spec.fingerprint != spec.fingerprint:
            raise RetryableError(f"the history of version {bundle.version} is not restored yet")
        started = time.perf_counter()
        step = states.step(polled, batch, kept, advances, self._member.assignments())
        self._on_step(time.perf_counter() - started)
        return step

    def rollback(self, step: object) -> None:
        """Restore the states as they were before the youngest open step, one of these histories."""
        _own(step).roll_back()

    def committed(self, step: object) -> None:
        """The batch of the oldest open step was committed."""
        own = _own(step)
        own.commit()
        self._past += Counts(misplaced=own.misplaced)
        self._snapshots.serve(self._states)

    @property
    def states(self) -> OwnedStates | None:
        """The states that batches are scored with."""
        return self._states

    def counts(self) -> Counts:
        """Rows of committed batches by what was special about them."""
        return self._past if self._states is None else self._past + self._states.counts()

    # Following the promoted bundle

    def _follow(self, assignments: Mapping[int, int]) -> None:
        """Decide which states are wanted: now, or after a switch."""
        wanted = self._models.current
        if wanted is None:
            return
        if spec_of(wanted) is None:
            self._cancel_switch(assignments)
            if self._serving is None or spec_of(self._serving) is not None:
                self._drop_states()
            self._serving = wanted
            self._member.hold_new(False)
            return
        if self._serving is None or spec_id(self._serving) == spec_id(wanted):
            self._serving = wanted
            self._follow_era(wanted, assignments)
        else:
            self._begin_switch(wanted, assignments)
            if self._models.is_withdrawn(self._serving.version) and not self._is_blocked:
                self._is_blocked = True
                self._hold_all(assignments)

    def _follow_era(self, wanted: Bundle, assignments: Mapping[int, int]) -> None:
        self._member.hold_new(True)
        if self._is_blocked:
            self._resume(assignments)
        era = self._restores.follow(wanted)
        if era is None:
            self._cancel_switch(assignments)
            if isinstance(error := self._restores.problem(wanted), FatalError):
                raise error
        elif self._states is None:
            self._cancel_switch(assignments)
            self._states = OwnedStates(require_spec(wanted), era)
        elif era.number > self._states.era.number:
            self._begin_switch(wanted, assignments)
        else:
            self._cancel_switch(assignments)
        self._require_partitions(assignments)

    def _require_partitions(self, assignments: Mapping[int, int]) -> None:
        if self._states is not None:
            count = self._states.era.partition_count
            if assignments and max(assignments) >= count:
                raise FatalError(
                    f"topic {self._states.era.topic} has partitions that era "
                    f"{self._states.era.number} of the card history does not have: it was made for "
                    f"{count}. Stop the producers and run `stream-scorer history rescale`"
                )

    def _drop_states(self) -> None:
        self._missing.forget_all()
        if self._states is not None:
            self._states.drop_all()
            self._past += self._states.counts()
            self._states = None

    def _drop_left(self, assignments: Mapping[int, int]) -> None:
        """Forget partitions that have left, also those that have returned."""
        self._missing.forget_left(assignments)
        if self._states is not None:
            for partition, owned in list(self._states.items()):
                if assignments.get(partition) != owned.assignment:
                    self._states.drop(partition)

    # Change of history features or era

    def _begin_switch(self, wanted: Bundle, assignments: Mapping[int, int]) -> None:
        era = self._restores.follow(wanted)
        switch = self._switch
        if switch is not None and (switch.spec_id != spec_id(wanted) or switch.era != era):
            self._cancel_switch(assignments)
        if self._switch is not None:
            self._switch.bundle = wanted
        elif era is not None and self._clock() >= self._retry_at:
            self._switch = Switch(
                wanted, OwnedStates(require_spec(wanted), era), self._restores.submit
            )
            log.info(
                "preparing the card history of version %s",
                wanted.version,
                extra={"model_version": wanted.version, "era": era.number},
            )

    def _advance(
        self, switch: Switch, assignments: Mapping[int, int], busy: frozenset[int]
    ) -> None:
        now = self._clock()
        if switch.error is not None and not self._is_blocked:
            log.error("%s", switch.error)
            self._postpone(switch, assignments, str(switch.error))
            return
        if not switch.is_holding and (self._is_blocked or switch.is_prepared(assignments)):
            switch.hold(now)  # first: if the client fails, partitions are held nevertheless
            self._hold_all(assignments)
        switch.request(assignments, busy)
        if switch.is_holding:
            # Rather some partitions without scores than all: those that failed are asked for again.
            if not busy and switch.is_complete(assignments, is_without_failed=self._is_blocked):
                self._complete(switch, assignments)
            elif not self._is_blocked and now - switch.held_at > HOLD_SECONDS:
                reason = switch.problem or f"it took longer than {HOLD_SECONDS:.0f} s"
                self._postpone(switch, assignments, reason)

    def _hold_all(self, assignments: Mapping[int, int]) -> None:
        self._member.hold_new(True)
        self._member.hold(list(assignments))
        self._missing.forget_all()

    def _complete(self, switch: Switch, assignments: Mapping[int, int]) -> None:
        """Change bundle and states; no step is open."""
        before = self._serving
        self._switch, self._is_blocked = None, False
        self._drop_states()
        self._serving, self._states = switch.bundle, switch.states
        for partition, offset in switch.attach(assignments):
            self._member.release(partition, offset)
        log.info(
            "the card history of version %s is restored, and it scores from now on",
            switch.bundle.version,
            extra={
                "model_version": switch.bundle.version,
                "before": before.version if before else None,
                "era": switch.states.era.number,
            },
        )

    def _postpone(self, switch: Switch, assignments: Mapping[int, int], reason: str) -> None:
        self._retry_at = self._clock() + RETRY_SECONDS
        serving = self._serving
        log.warning(
            "version %s cannot be served, its card history is not restored: %s. Version %s goes "
            "on, and the restore will be tried again",
            switch.bundle.version, reason, serving.version if serving else "none",
        )  # fmt: skip
        self._cancel_switch(assignments)
        self.problem = reason

    def _cancel_switch(self, assignments: Mapping[int, int]) -> None:
        """Go on with the states that there are."""
        switch, self._switch = self._switch, None
        if switch is not None:
            switch.abandon()
        if self._is_blocked or (switch is not None and switch.is_holding):
            self._resume(assignments)

    def _resume(self, assignments: Mapping[int, int]) -> None:
        """Release what has a state; all else is requested again."""
        self._is_blocked = False
        if self._serving is not None and spec_of(self._serving) is None:
            self._member.hold_new(False)
        elif self._states is not None:
            for partition, owned in self._states.items():
                if partition in assignments:  # a batch may wait for its commit: after its records
                    self._member.release(partition, owned.head)

    # Reports

    def _is_holding(self) -> bool:
        return self._switch is not None and self._switch.is_holding

    def _report(self) -> None:
        """Update what other threads read; new objects, so that they see all or nothing of it."""
        held = self._member.held()
        if held or self.waiting:
            self.waiting = {p: self._waiting(p) for p in sorted(held)}
        current, serving = self._models.current, self._serving
        if current is None or serving is None or self.model() is current:
            self.problem = None
        elif self._switch is not None:
            self.problem = self._switch.problem or "its card history is being restored"
        elif (error := self._restores.problem(current)) is not None:
            self.problem = str(error)

    def _waiting(self, partition: int) -> Waiting:
        switch = self._switch
        if switch is not None and switch.is_holding:
            return switch.waiting(partition)
        found = self._missing.waiting(partition)
        if found is None and self._serving is not None:
            error = self._restores.problem(self._serving)
            before = self.waiting.get(partition)
            since = before.since if before is not None else self._clock()
            found = Waiting(f"waiting for history{f': {error}' if error else ''}", since)
        return found or Waiting("waiting for history", self._clock())


def _own(step: object) -> BatchStep:
    if not isinstance(step, BatchStep):
        raise TypeError(f"not a step of these histories: {step!r}")
    return step
