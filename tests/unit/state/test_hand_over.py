"""Random schedules of scorers: whatever happens, scores are those of one pass over the inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

import pytest

from stream_scorer.model.bundle import Bundle
from stream_scorer.model.store.memory_store import StoreFault
from tests.support.factories import make_bundle
from tests.support.state.history_kit import make_history_bundle
from tests.support.state.mutants import MUTANTS
from tests.support.state.world import Stuck, World

SCHEDULES = 8
SPOILED_SCHEDULES = 4
KINDS: Sequence[Literal["unavailable", "torn", "lost"]] = ("unavailable", "torn", "lost")
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


def test_store_that_fails_loses_and_damages_objects_costs_time_and_no_score() -> None:
    total: Counter[str] = Counter()
    for seed in range(SPOILED_SCHEDULES):
        world = World(seed)

        def spoil(world: World) -> None:
            chance = world.random.random()
            if chance < 0.03:
                kind = world.random.choice(KINDS)
                world.objects.script([StoreFault(kind, times=world.random.randrange(1, 4))])
            elif chance < 0.06:
                spoil_snapshot(world)

        world.run(spoil)
        world.objects.heal()
        world.check_outcomes()
        world.check_marks()
        assert world.counted.restores["mismatch"] == 0
        assert world.counted.snapshots["different"] == 0
        total.update(world.counted.restores)
        total.update(world.counted.snapshots)
        total["damaged"] += world.counted.damaged
    # Restores and snapshots did fail, and damaged snapshots were met.
    assert total["failed"] > SPOILED_SCHEDULES
    assert total["damaged"] > 0
    assert total["checked"] > 5 * SPOILED_SCHEDULES


def spoil_snapshot(world: World) -> None:
    """One of the stored snapshots is damaged, is that of another partition, or is gone."""
    contents = world.objects._contents
    keys = sorted(k for k, content in contents.items() if k.endswith(".snap") and content)
    if not keys:
        return
    key, other = world.random.choice(keys), world.random.choice(keys)
    content = contents[key]
    damaged = content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]
    choices = [damaged, content[: len(content) // 2], b"", contents[other], None]
    new = world.random.choice(choices)
    if new is None:
        contents.pop(key)
    else:
        contents[key] = new


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
