"""A change to other history features or another era: its states are restored beside the old ones.

First each assigned partition is restored up to where the group is, while the old bundle goes on
scoring. Then all partitions are held, and the last inputs are replayed. So the time without scores
depends on those, and not on the size of the histories.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stream_scorer.errors import ScorerError
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.store.history_era import Era
from stream_scorer.state.missing import Waiting, describe
from stream_scorer.state.partitions import OwnedStates
from stream_scorer.state.requests import RestoreRequest, RestoreResult
from stream_scorer.state.restore import PartitionState


class Switch:
    """The states that are being restored. The loop's thread owns it.

    Args:
        bundle: what will be served; another one of the same history may take its place.
        states: without any state yet.
        submit: gives a request to the restore thread.
    """

    def __init__(
        self, bundle: Bundle, states: OwnedStates, submit: Callable[[RestoreRequest], None]
    ) -> None:
        self.bundle = bundle
        self.states = states
        self.is_holding = False
        """All partitions are held."""
        self.held_at = 0.0
        self.error: ScorerError | None = None
        """Why it cannot succeed now."""
        self.requests: dict[int, RestoreRequest] = {}
        self._submit = submit
        self._prepared: dict[int, PartitionState] = {}
        self._final: dict[int, tuple[int, PartitionState]] = {}
        self._failed: dict[int, int] = {}  # with the assignment

    @property
    def spec_id(self) -> str:
        """The fingerprint of the history features."""
        return self.states.spec.fingerprint

    @property
    def era(self) -> Era:
        """The era of the states."""
        return self.states.era

    @property
    def problem(self) -> str | None:
        """Why a restore was not possible yet."""
        found = (request.problem for request in list(self.requests.values()))
        return next((text for text in found if text is not None), None)

    def waiting(self, partition: int) -> Waiting:
        """Why a held partition waits."""
        request = self.requests.get(partition)
        if request is not None:
            return describe(request)
        if partition in self._failed:
            return Waiting(str(self.error), self.held_at, needs_operator=True)
        return Waiting("waiting for history", self.held_at)

    def is_prepared(self, assignments: Mapping[int, int]) -> bool:
        """Whether every assigned partition was restored up to where the group was then."""
        return assignments.keys() <= self._prepared.keys()

    def is_complete(
        self, assignments: Mapping[int, int], *, is_without_failed: bool = False
    ) -> bool:
        """Whether every assigned partition is restored since it has been held.

        Args:
            assignments: of the partitions that are assigned now.
            is_without_failed: leave out those that cannot be restored.
        """
        return all(
            self._is_final(partition, assignment)
            or (is_without_failed and self._failed.get(partition) == assignment)
            for partition, assignment in assignments.items()
        )

    def hold(self, now: float) -> None:
        """From now on the offsets of the group stay as they are."""
        self.is_holding = True
        self.held_at = now
        self.abandon()

    def request(self, assignments: Mapping[int, int], busy: frozenset[int]) -> None:
        """Request what is missing; of ``busy`` partitions a batch waits for its commit."""
        for partition, request in list(self.requests.items()):
            if assignments.get(partition) != request.assignment:
                request.is_abandoned = True
                del self.requests[partition]
        for partition, assignment in assignments.items():
            if partition in self.requests:
                continue
            if self._failed.get(partition) == assignment:
                continue
            if self.is_holding:
                if partition in busy or self._is_final(partition, assignment):
                    continue
            elif partition in self._prepared:
                continue
            prepared = self._prepared.pop(partition, None) if self.is_holding else None
            self.requests[partition] = request = RestoreRequest(
                partition, assignment, self.states.spec, self.states.era, prepared
            )
            self._submit(request)

    def take(self, result: RestoreResult) -> bool:
        """Keep a result; False if it is not one of these requests."""
        request = result.request
        if self.requests.get(request.partition) is not request:
            return False
        del self.requests[request.partition]
        if result.restored is None:
            self.error = result.error
            self._failed[request.partition] = request.assignment
        elif self.is_holding:
            self._final[request.partition] = request.assignment, result.restored.state
        else:
            self._prepared[request.partition] = result.restored.state
        return True

    def attach(self, assignments: Mapping[int, int]) -> list[tuple[int, int]]:
        """Attach the restored states; each with the offset to read its partition from."""
        for partition, assignment in assignments.items():
            if self._is_final(partition, assignment):
                self.states.attach(partition, self._final[partition][1], assignment)
        return [(partition, owned.state.offset) for partition, owned in self.states.items()]

    def _is_final(self, partition: int, assignment: int) -> bool:
        final = self._final.get(partition)
        return final is not None and final[0] == assignment

    def abandon(self) -> None:
        """No result is wanted any more."""
        for request in self.requests.values():
            request.is_abandoned = True
        self.requests.clear()
