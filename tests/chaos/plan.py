"""The plan of the long campaign: the faults and their order, determined by a seed."""

from __future__ import annotations

import random
from typing import Final

from tests.chaos.faults import (
    Fault,
    FreezeBroker,
    FreezeScorer,
    KillBroker,
    KillScorer,
    Scale,
    expire_txn,
)
from tests.chaos.faulty_proxy import Mode
from tests.chaos.offset_faults import AddPartition, How, WrongOffsets
from tests.chaos.store_faults import CacheFull, ClockStep, StoreFault
from tests.chaos.topic_faults import ReadOnly, SmallMessages

MEMBERS: Final = 3
KILLS_A_ROUND: Final = 50
_KILL_SECONDS: Final = 2.0
_RECOVERY_SECONDS: Final = 3.0


def other_faults() -> list[Fault]:
    """One of each fault, except kills of scorers."""
    return [
        FreezeScorer(),
        expire_txn(),
        Scale(1, MEMBERS),
        Scale(4, MEMBERS),
        KillBroker(),
        FreezeBroker(),
        ReadOnly("output"),
        ReadOnly("dlq"),
        SmallMessages("output", 6_000),
        SmallMessages("dlq", 20_000),
        *(StoreFault(mode) for mode in Mode if mode is not Mode.OK),
        *(WrongOffsets(how, MEMBERS) for how in How),
        AddPartition(),
        CacheFull(),
        ClockStep(3_600.0),
        ClockStep(-86_400.0),
    ]


def make_plan(kills: int, seed: int) -> list[Fault]:
    """``kills`` kills in random order with all other faults, which are repeated every 50 kills."""
    rng = random.Random(seed)
    plan: list[Fault] = [KillScorer() for _ in range(kills)]
    for _ in range(max(1, round(kills / KILLS_A_ROUND))):
        plan += other_faults()
    rng.shuffle(plan)
    return plan


def planned_seconds(plan: list[Fault]) -> float:
    """The approximate duration of a plan, so that the feed lasts until its end."""
    return sum(
        _KILL_SECONDS if isinstance(fault, KillScorer) else fault.hold_seconds + _RECOVERY_SECONDS
        for fault in plan
    )
