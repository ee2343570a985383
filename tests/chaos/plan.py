"""The plan of the long campaign: the faults and their order, determined by a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
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
from tests.chaos.history.faults import (
    DamageSnapshots,
    FreezeInRestore,
    KillAll,
    KillInRestore,
    LoseSnapshots,
    Promote,
    Redrive,
)
from tests.chaos.offset_faults import AddPartition, How, WrongOffsets
from tests.chaos.store_faults import CacheFull, ClockStep, StoreFault
from tests.chaos.topic_faults import ReadOnly, SmallMessages

MEMBERS: Final = 3
KILLS_A_ROUND: Final = 50
ONLY_KILLS: Final = 3
ONLY_KILLED: Final = "only scorer killed"
_KILL_SECONDS: Final = 2.0
_RECOVERY_SECONDS: Final = 3.0
_RESTORES_FACTOR: Final = 2.0


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


def history_faults() -> list[Fault]:
    """Faults of card history, beside those of :func:`other_faults` that its topics allow."""
    return [
        *(fault for fault in other_faults() if not isinstance(fault, AddPartition)),
        Promote(),
        KillInRestore(),
        KillInRestore(),
        FreezeInRestore(),
        DamageSnapshots(),
        LoseSnapshots(),
        KillAll(),
        Redrive(),
    ]


def make_plan(
    kills: int, seed: int, *, with_history: bool = False, rounds: int | None = None
) -> list[Fault]:
    """``kills`` kills in random order with all other faults.

    The others are repeated ``rounds`` times, or every 50 kills.

    With history, the only scorer is killed at the end, so that it can be measured how long it takes
    until a successor has restored everything and scores.
    """
    rng = random.Random(seed)
    plan: list[Fault] = [KillScorer() for _ in range(kills)]
    for _ in range(rounds or max(1, round(kills / KILLS_A_ROUND))):
        plan += history_faults() if with_history else other_faults()
    rng.shuffle(plan)
    if with_history:
        only: list[Fault] = [KillAll(ONLY_KILLED) for _ in range(ONLY_KILLS)]
        plan += [_members(MEMBERS), _members(1), *only, _members(MEMBERS)]
    return plan


def _members(count: int) -> Fault:
    return Scale(count, count, hold_seconds=0.0)


def planned_seconds(plan: Sequence[Fault], *, with_history: bool = False) -> float:
    """The approximate duration of a plan, so that the feed lasts until its end.

    With history every fault is followed by restores, which wait for what the fault has broken.
    """
    return (_RESTORES_FACTOR if with_history else 1) * sum(
        _KILL_SECONDS if isinstance(fault, KillScorer) else fault.hold_seconds + _RECOVERY_SECONDS
        for fault in plan
    )
