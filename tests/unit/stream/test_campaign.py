"""The long campaign: its faults, and how its feed is spread over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from tests.chaos.campaign import seconds_left
from tests.chaos.faults import Fault, KillScorer
from tests.chaos.plan import make_plan, planned_seconds

FAULTS: list[Fault] = [KillScorer() for _ in range(100)]


def ten_each(faults: Sequence[Fault]) -> float:
    return 10.0 * len(faults)


def test_feed_lasts_until_the_last_fault_however_slow_the_machine_is() -> None:
    for slowness in (0.5, 1.0, 4.0):
        for done in range(20, 101, 20):
            left = seconds_left(FAULTS, done, slowness * 10.0 * done, ten_each)
            needed = slowness * 10.0 * (100 - done)
            assert needed * 0.9 < left < 1.3 * needed + 60.0


def test_first_faults_say_little_about_the_speed_of_the_machine() -> None:
    assert seconds_left(FAULTS, 1, 40.0, ten_each) < 2.0 * ten_each(FAULTS)


@pytest.mark.parametrize("rounds", [1, 3])
def test_plan_has_every_other_fault_as_often_as_asked_and_all_kills(rounds: int) -> None:
    plan = make_plan(70, 7, with_history=True, rounds=rounds)
    counts = Counter(fault.name for fault in plan)
    assert counts["kill"] == 70
    assert counts["broker frozen"] == counts["zombie in a restore"] == rounds
    assert counts["kill in a restore"] == 2 * rounds
    assert planned_seconds(plan, with_history=True) > planned_seconds(plan)
