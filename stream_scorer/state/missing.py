"""The assigned partitions that have no state yet, and what is done about each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from stream_scorer.errors import FatalError
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.state.faults import HistoryMismatch
from stream_scorer.state.partitions import OwnedStates
from stream_scorer.state.ports import Member
from stream_scorer.state.requests import RestoreRequest, RestoreResult

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a held partition is not scored, and since when (monotonic seconds)."""

    reason: str
    since: float
    needs_operator: bool = False
    """It does not end by itself."""


@dataclass(frozen=True, slots=True)
class _Mismatch:
    assignment: int
    waiting: Waiting


class MissingStates:
    """Requests for the partitions without a state. The loop's thread owns it.

    Args:
        member: the group member.
        submit: gives a request to the restore thread.
    """

    def __init__(self, member: Member, submit: Callable[[RestoreRequest], None]) -> None:
        self._member = member
        self._submit = submit
        self._requests: dict[int, RestoreRequest] = {}
        self._mismatches: dict[int, _Mismatch] = {}

    def forget_left(self, assignments: Mapping[int, int]) -> None:
        """Abandon what is about partitions that have left, also those that have returned."""
        for partition, request in list(self._requests.items()):
            if assignments.get(partition) != request.assignment:
                request.is_abandoned = True
                del self._requests[partition]
        for partition, mismatch in list(self._mismatches.items()):
            if assignments.get(partition) != mismatch.assignment:
                del self._mismatches[partition]

    def forget_all(self) -> None:
        """Other states are wanted from now on."""
        for request in self._requests.values():
            request.is_abandoned = True
        self._requests.clear()
        self._mismatches.clear()

    def request(
        self,
        spec: HistorySpec | None,
        states: OwnedStates | None,
        assignments: Mapping[int, int],
        busy: Iterable[int],
    ) -> None:
        """Hold partitions without a state and request it; find where to release the others.

        Args:
            spec: of the bundle that is served; None: partitions need no state.
            states: those that there are; None: the era is not known yet.
            assignments: of the partitions that are assigned now.
            busy: partitions of which a batch waits for its commit. Their committed offset is going
                to change, so it is not asked for.
        """
        held = self._member.held()
        for partition, assignment in assignments.items():
            if partition in self._requests or partition in self._mismatches:
                continue
            if spec is None:
                if partition not in held:
                    continue
                era = None  # it waited for a history that is not needed any more
            else:
                if states is not None and partition in states:
                    continue
                if partition not in held:
                    self._member.hold([partition])
                if states is None:
                    continue
                era = states.era
            if partition not in busy:
                request = RestoreRequest(partition, assignment, spec, era)
                self._requests[partition] = request
                self._submit(request)

    def take(
        self, result: RestoreResult, states: OwnedStates | None, assignments: Mapping[int, int]
    ) -> None:
        """Attach a restored state and release its partition.

        Raises:
            FatalError: the request can never succeed.
        """
        request = result.request
        partition = request.partition
        if self._requests.get(partition) is not request:
            return
        del self._requests[partition]
        if isinstance(result.error, HistoryMismatch):
            log.error("%s", result.error, extra={"partition": partition})
            waiting = Waiting(str(result.error), request.since, needs_operator=True)
            self._mismatches[partition] = _Mismatch(request.assignment, waiting)
        elif result.error is not None:
            raise FatalError(str(result.error)) from result.error
        elif assignments.get(partition) == request.assignment:
            if result.restored is not None and states is not None:
                states.attach(partition, result.restored.state, request.assignment)
            self._member.release(partition, result.offset)

    def waiting(self, partition: int) -> Waiting | None:
        """Why a partition waits, if it is one of these."""
        if partition in self._mismatches:
            return self._mismatches[partition].waiting
        request = self._requests.get(partition)
        return None if request is None else describe(request)


def describe(request: RestoreRequest) -> Waiting:
    """Why a partition waits for its request."""
    detail = f": {request.problem}" if request.problem else ""
    return Waiting(f"waiting for history{detail}", request.since)
