"""Who holds a case: the rules, and that all replicas come to the same result."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dashboard.cases.case import LEASE_MS, Case, Status
from dashboard.cases.desk_table import DeskWriter
from dashboard.cases.events import (
    CLAIM,
    DECISION,
    RELEASE,
    SNOOZE,
    WITHDRAWAL,
    Event,
)
from dashboard.cases.labels import DECIDE, WITHDRAW, Label, latest, target_of
from dashboard.cases.log import Channel, Place
from dashboard.cases.rules import NO_HOLD, Hold, apply_event
from dashboard.cases.state import NOTHING, AuditSelection, DeskCache, build_case

MINUTE = 60_000


def event(kind: str, by: str, time: int, **more: object) -> Event:
    made = Event(f"{kind}-{by}-{time}", kind, time, by, time, flag_id="0-1")
    return replace(made, **more)  # type: ignore[arg-type]


def run(*events: Event) -> tuple[Hold, list[bool]]:
    hold, effects = NO_HOLD, []
    for one in events:
        hold, is_effective = apply_event(hold, one)
        effects.append(is_effective)
    return hold, effects


def test_first_claim_holds_for_fifteen_minutes_and_the_second_has_no_effect() -> None:
    hold, effects = run(event(CLAIM, "ana", 1000), event(CLAIM, "bo", 2000))
    assert effects == [True, False]
    assert (hold.holder, hold.claimed_at, hold.changes) == ("ana", 1000, 1)
    assert hold.is_held(1000 + LEASE_MS - 1)
    assert not hold.is_held(1000 + LEASE_MS)


def test_lease_ends_at_the_brokers_time_and_then_another_may_claim() -> None:
    early, late = event(CLAIM, "bo", LEASE_MS - 1), event(CLAIM, "bo", LEASE_MS)
    assert run(event(CLAIM, "ana", 0), early)[0].holder == "ana"
    assert run(event(CLAIM, "ana", 0), late)[0].holder == "bo"


def test_renewal_extends_the_lease_and_is_no_new_version() -> None:
    hold, effects = run(event(CLAIM, "ana", 0), event(CLAIM, "ana", 10 * MINUTE))
    assert effects == [True, True]
    assert hold.lease_until == 10 * MINUTE + LEASE_MS
    assert (hold.claimed_at, hold.changes) == (0, 1)


def test_only_the_holder_can_release() -> None:
    hold, effects = run(event(CLAIM, "ana", 0), event(RELEASE, "bo", 1))
    assert effects == [True, False]
    assert hold.holder == "ana"
    hold, effects = run(event(CLAIM, "ana", 0), event(RELEASE, "ana", 1), event(CLAIM, "bo", 2))
    assert (effects, hold.holder) == ([True, True, True], "bo")


def test_snooze_ends_the_lease_and_a_claim_ends_the_snooze() -> None:
    until = 60 * MINUTE
    hold, _ = run(event(CLAIM, "ana", 0), event(SNOOZE, "ana", 1, until=until))
    assert hold.is_snoozed(until - 1)
    assert not hold.is_snoozed(until)
    assert not hold.is_held(2)
    hold, _ = run(event(SNOOZE, "ana", 1, until=until), event(CLAIM, "bo", 2))
    assert (hold.holder, hold.is_snoozed(3)) == ("bo", False)
    hold, effects = run(event(CLAIM, "ana", 0), event(SNOOZE, "bo", 1, until=until))
    assert (effects, hold.holder) == ([True, False], "ana")


def test_snooze_until_a_time_that_is_over_ends_the_snooze() -> None:
    hold, _ = run(event(SNOOZE, "ana", 1, until=60 * MINUTE), event(SNOOZE, "bo", 2, until=0))
    assert not hold.is_snoozed(3)
    assert hold.changes == 2


@pytest.mark.parametrize("kind", [DECISION, WITHDRAWAL])
def test_decision_ends_lease_and_snooze(kind: str) -> None:
    hold, _ = run(event(CLAIM, "ana", 0), event(kind, "ana", 1))
    assert hold == Hold(changes=1)


def test_kinds_of_later_releases_change_nothing() -> None:
    hold, effects = run(event(CLAIM, "ana", 0), event("escalate", "bo", 1))
    assert (hold.holder, effects) == ("ana", [True, False])


def make_label(offset: int, partition: int = 0, **more: object) -> Label:
    made = Label(
        Place(partition, offset), offset, "0-1", 7, None, "ANALYST", "FRAUD", DECIDE, "ana",
        offset, None, (), None,
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


def test_last_decision_stands_wherever_it_is_unless_another_one_names_it() -> None:
    late = make_label(4, decided_at=1000)
    later = make_label(3, decided_at=9000, label="LEGITIMATE")
    assert latest([late, later]) is later
    moved = make_label(0, partition=1, decided_at=9500)
    assert latest([late, moved, later]) is moved
    correction = make_label(5, decided_at=2000, supersedes="1:0")  # of a clock that is behind
    assert latest([late, moved, correction]) is correction
    each_other = [make_label(n, decided_at=n, supersedes=f"0:{3 - n}") for n in (1, 2)]
    assert latest(each_other) is each_other[1]
    assert latest([]) is None


def script(seed: int) -> tuple[list[tuple[Event, Place]], list[Label]]:
    """A random log of three cases: each case's events share a partition, as its labels do."""
    pick = random.Random(seed)
    events, labels = list[tuple[Event, Place]](), list[Label]()
    time, audit_ends, label_ends = 0, [0, 0], [0, 0]
    for number in range(60):
        time += pick.randint(0, 6 * MINUTE)
        case = pick.randrange(3)
        flag_id, who = f"0-{case}", pick.choice(["ana", "bo", "cy"])
        if pick.random() < 0.3:
            partition = case % 2
            is_external = pick.random() < 0.3
            labels.append(
                make_label(
                    label_ends[partition], partition, time=time,
                    target=target_of(case) if pick.random() < 0.3 else flag_id,
                    transaction_id=case, by=who, decided_at=time + pick.randint(-9000, 9000),
                    origin="CHARGEBACK" if is_external else "ANALYST",
                    kind=WITHDRAW if not is_external and pick.random() < 0.3 else DECIDE,
                    label=pick.choice(["FRAUD", "LEGITIMATE", "UNSURE"]),
                    decision_id=pick.choice([None, f"d{number}", "same"]),
                )
            )  # fmt: skip
            label_ends[partition] += 1
            continue
        kind = pick.choice([CLAIM, CLAIM, RELEASE, SNOOZE, DECISION, "unknown"])
        one = Event(
            f"e{number}" if pick.random() < 0.9 else f"again-{case}", kind, time, who, time,
            flag_id=flag_id, until=time + pick.randint(-MINUTE, 60 * MINUTE),
        )  # fmt: skip
        partition = (case + 1) % 2
        events.append((one, Place(partition, audit_ends[partition])))
        audit_ends[partition] += 1
    return events, labels


def replay(
    path: Path, events: Sequence[tuple[Event, Place]], labels: Sequence[Label], seed: int
) -> dict[str, Case]:
    """The cases of a replica that reads the partitions in an order and in batches of its own."""
    pick = random.Random(seed)
    queues: list[list[Any]] = [[one for one in events if one[1].partition == p] for p in (0, 1)]
    queues += [[label for label in labels if label.place.partition == p] for p in (0, 1)]
    writer = DeskWriter(path)
    while any(queues):
        batch_labels, batch_events = list[Label](), list[tuple[Event, Place]]()
        for _ in range(pick.randint(1, 9)):
            if not (full := [queue for queue in queues if queue]):
                break
            found = pick.choice(full).pop(0)
            if isinstance(found, Label):
                batch_labels.append(found)
            else:
                batch_events.append(found)
        writer.save(batch_labels, batch_events, {(Channel.AUDIT, 0): 1})
        if pick.random() < 0.2:  # a restart
            writer.close()
            writer = DeskWriter(path)
    writer.close()
    now = max(one.time for one, _ in events)
    states = DeskCache(path).states({f"0-{case}": case for case in range(3)})
    return {flag_id: build_case(state, NOTHING, now) for flag_id, state in states.items()}


@pytest.mark.parametrize("seed", range(8))
def test_every_replica_comes_to_the_same_cases(seed: int, tmp_path: Path) -> None:
    events, labels = script(seed)
    first = replay(tmp_path / "a.sqlite3", events, labels, 1)
    assert first == replay(tmp_path / "b.sqlite3", events, labels, 2)
    assert first == replay(tmp_path / "c.sqlite3", events, labels, 3)
    assert {case.status for case in first.values()} <= set(Status)
    assert any(case.version for case in first.values())


def test_events_that_retention_removed_leave_the_cache_and_the_holder_stays(
    tmp_path: Path,
) -> None:
    writer = DeskWriter(tmp_path / "desk.sqlite3")
    events = [(event(CLAIM, "ana", time), Place(0, time)) for time in range(5)]
    writer.save([], events, {(Channel.AUDIT, 0): 5})
    writer.forget_events({0: 3})
    cache = DeskCache(writer.path)
    found = cache.audit(AuditSelection(), None, 10)
    assert [entry.place for _, entry in found] == ["0:4", "0:3"]
    assert cache.states({"0-1": None})["0-1"].hold.holder == "ana"
    writer.close()
