"""A version was rejected, and the one before it reads another history that is partly damaged."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from stream_scorer.errors import ScorerError
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.store.history_era import Era
from stream_scorer.state.faults import HistoryMismatch
from stream_scorer.state.histories import CardHistories
from stream_scorer.state.requests import RestoreRequest, RestoreResult
from stream_scorer.state.restore import PartitionState, Restored
from tests.support.state.history_kit import make_era, make_history_bundle
from tests.support.state.world import FakeModels

OFFSET = 5
NEW, OLD = make_history_bundle("v2", ring=5), make_history_bundle("v1", ring=4)


class OneMember:
    """A member that owns two partitions."""

    def __init__(self) -> None:
        self._held = {0, 1}

    def assignments(self) -> Mapping[int, int]:
        return {0: 1, 1: 1}

    def hold_new(self, is_on: bool) -> None:
        assert is_on

    def hold(self, partitions: Collection[int]) -> None:
        self._held.update(partitions)

    def release(self, partition: int, offset: int) -> None:
        assert offset == OFFSET
        self._held.remove(partition)

    def held(self) -> frozenset[int]:
        return frozenset(self._held)


class DamagedRestores:
    """Restores everything at once, but for partition 1 of the old version."""

    def __init__(self) -> None:
        self._results: list[RestoreResult] = []
        self._eras: dict[str, Era] = {}

    def follow(self, bundle: Bundle) -> Era | None:
        spec = bundle.features.program.history
        assert spec is not None
        return self._eras.setdefault(bundle.version, make_era(spec, partitions=2))

    def problem(self, bundle: Bundle) -> ScorerError | None:
        del bundle
        return None

    def submit(self, request: RestoreRequest) -> None:
        spec = request.spec
        assert spec is not None
        if request.partition == 1 and spec == OLD.features.program.history:
            self._results.append(RestoreResult(request, error=HistoryMismatch("inputs were lost")))
        else:
            state = PartitionState(PartitionHistory(spec), OFFSET, 0, 0)
            restored = Restored(state, "checked", 0)
            self._results.append(RestoreResult(request, OFFSET, restored))

    def take(self) -> list[RestoreResult]:
        results, self._results = self._results, []
        return results


def test_version_before_a_rejected_one_scores_the_partitions_whose_history_is_right() -> None:
    member, models = OneMember(), FakeModels(NEW)
    histories = CardHistories(member, models, DamagedRestores())
    for _ in range(3):
        histories.serve(None)
    assert member.held() == frozenset()
    models.current = OLD
    models.withdrawn.add("v2")
    for _ in range(6):
        histories.serve(None)
    assert histories.model() is OLD
    assert member.held() == {1}
    assert histories.waiting[1].needs_operator
    assert "inputs were lost" in histories.waiting[1].reason
