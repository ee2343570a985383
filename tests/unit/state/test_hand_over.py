"""Random schedules of scorers: whatever happens, scores are those of one pass over the inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from stream_scorer.model.bundle import Bundle
from tests.support.factories import make_bundle
from tests.support.state.history_kit import make_history_bundle
from tests.support.state.mutants import MUTANTS
from tests.support.state.world import Stuck, World

SCHEDULES = 10
PROMOTION_SCHEDULES = 12
MUTANT_SCHEDULES = 40
"""At most; the first that show all that is expected are enough."""


class Found(Exception):
    """A restored state is not the one that scores were made with."""


def stop_at_mismatch(world: World) -> None:
    if world.counted.restores["mismatch"]:
        raise Found("mark")


def test_every_score_is_that_of_one_pass_over_the_inputs_of_its_partition() -> None:
    total: Counter[str] = Counter()
    for seed in range(SCHEDULES):
        world = World(seed).run()
        world.check_outcomes()
        world.check_marks()
        assert world.counted.restores["mismatch"] == world.counted.restores["failed"] == 0
        assert world.counted.snapshots["different"] == world.counted.damaged == 0
        total.update(world.counted.restores)
        total.update(world.counted.snapshots)
        total["replayed"] += world.counted.rows
    # The schedules are such that there was something to find.
    assert total["checked"] > 10 * SCHEDULES
    assert total["created"] > SCHEDULES
    assert total["replayed"] > 50 * SCHEDULES


def test_promotions_in_between_lose_nothing_and_mix_no_histories() -> None:
    plain, other = make_bundle("v2"), make_history_bundle("v3", ring=5)
    versions: Counter[str] = Counter()
    for seed in range(PROMOTION_SCHEDULES):
        order = [plain, make_history_bundle("v1"), other, make_history_bundle("v4"), plain]
        world = World(seed, bundle=order[seed % len(order)])

        def promote(world: World, order: Sequence[Bundle] = order) -> None:
            if world.random.random() < 0.02:
                world.promote(world.random.choice(order))

        world.run(promote)
        world.check_outcomes()
        world.check_marks()
        assert world.counted.restores["mismatch"] == 0
        assert world.counted.snapshots["different"] == 0
        versions.update(version for version, _ in world.scores().values())
    assert min(versions[f"v{n}"] for n in range(1, 5)) > 20


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_fault_of_the_hand_over_is_found(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    missing = set(MUTANTS[mutant])
    for seed in range(MUTANT_SCHEDULES):
        missing -= find_faults(World(seed))
        if not missing:
            return
    pytest.fail(f"not found by {' or '.join(sorted(missing))} in {MUTANT_SCHEDULES} schedules")


def find_faults(world: World) -> set[str]:
    """What shows that something is wrong."""
    found = set[str]()
    try:
        world.run(stop_at_mismatch)
    except Found as caught:
        found.add(str(caught))
    except Stuck:
        found.add("stuck")
    except ValueError as error:  # a history refuses steps that end in another order
        found.add(str(error))
    try:
        world.check_features()
    except AssertionError:
        found.add("outcomes")
    return found
