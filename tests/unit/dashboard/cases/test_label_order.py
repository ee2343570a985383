"""Decisions that reach their topic late: the last one made stands, on every replica."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from dashboard.cases.case import Decision, Who
from dashboard.cases.desk import Desk
from dashboard.cases.log import Channel, NewRecord, Place
from schemas.records import decode_record
from tests.support.desk.desk_kit import MemoryLog
from tests.support.desk.replica import running_desk
from tests.support.waiting import wait_until

ANA, BO = Who("ana", "analyst"), Who("bo", "analyst")


class CutOff(MemoryLog):
    """A view of a log that one replica loses its connection to."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__()
        self.logs, self.changed, self._log = log.logs, log.changed, log

    def append(self, records: Sequence[NewRecord], seconds: float) -> list[Place | None]:
        return [None] * len(records) if self.is_down else self._log.append(records, seconds)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(partitions=1)


@pytest.fixture
def desks(tmp_path: Path, log: MemoryLog) -> Iterator[tuple[Desk, CutOff, Desk]]:
    """Two replicas, and how to cut off the first one. The second one's clock is behind."""
    own = CutOff(log)
    with ExitStack() as stack:
        first = stack.enter_context(running_desk(tmp_path / "a", own))
        second = stack.enter_context(
            running_desk(tmp_path / "b", log, clock=lambda: time.time() - 60)
        )
        for desk in (first, second):
            wait_until(lambda desk=desk: desk.status().is_ok, what="the desk")  # type: ignore[misc]
        yield first, own, second


def labels(log: MemoryLog) -> list[tuple[str, str | None]]:
    found = [decode_record("fraud_label", r.value) for r in log.records(Channel.LABELS)]
    return [(label["label"], label["supersedes"]) for label in found]


def test_label_that_waited_lands_behind_a_later_one_and_does_not_undo_it(
    desks: tuple[Desk, CutOff, Desk], log: MemoryLog
) -> None:
    first, own, second = desks
    own.is_down = True
    wait_until(lambda: first.status().state == "waiting", what="the outage")
    second_now = second._context.now
    first._context.now = lambda: second_now() - 30_000  # type: ignore[method-assign]
    first.decide(Decision("0-1", "FRAUD"), ANA, "early")
    second.decide(Decision("0-1", "LEGITIMATE"), BO, "later")
    own.is_down = False
    wait_until(lambda: first.waiting() == 0, what="the label is recorded")
    wait_until(lambda: len(second.events("0-1")) == 2, what="the second replica reads it")
    assert labels(log) == [("LEGITIMATE", None), ("FRAUD", None)]
    for desk in (first, second):
        case = desk.case_of(["0-1"])["0-1"]
        assert (case.label, case.decided_by, case.recorded) == ("LEGITIMATE", "bo", "0:0")
        assert [label.label for label in desk.standing_labels()] == ["LEGITIMATE"]


def test_correction_by_a_replica_whose_clock_is_behind_stands(
    desks: tuple[Desk, CutOff, Desk], log: MemoryLog
) -> None:
    first, _, second = desks
    first.decide(Decision("0-1", "FRAUD"), ANA, "one")
    wait_until(lambda: second.case_of(["0-1"])["0-1"].label == "FRAUD", what="it is read")
    second.decide(Decision("0-1", "LEGITIMATE"), BO, "two")
    wait_until(lambda: first.case_of(["0-1"])["0-1"].label == "LEGITIMATE", what="the correction")
    assert labels(log) == [("FRAUD", None), ("LEGITIMATE", "0:0")]
    records = [decode_record("fraud_label", r.value) for r in log.records(Channel.LABELS)]
    times = [record["decided_at"] for record in records]
    assert times == sorted(times)


def test_two_decisions_that_wait_name_each_other(
    desks: tuple[Desk, CutOff, Desk], log: MemoryLog
) -> None:
    first, own, _ = desks
    own.is_down = True
    wait_until(lambda: first.status().state == "waiting", what="the outage")
    first.decide(Decision("0-1", "FRAUD"), ANA, "one")
    first.withdraw("0-1", ANA, "two")
    first.decide(Decision("0-1", "UNSURE"), ANA, "three")
    own.is_down = False
    wait_until(lambda: first.waiting() == 0, what="they are recorded")
    assert labels(log) == [("FRAUD", None), ("UNSURE", "0:0"), ("UNSURE", "0:1")]


def test_label_of_a_clock_far_ahead_can_be_corrected(
    desks: tuple[Desk, CutOff, Desk], log: MemoryLog
) -> None:
    first, _, second = desks
    source = {"topic": "transactions", "partition": 0, "offset": 1}
    log.put_label(101, "FRAUD", "ANALYST", decided_at=2**52, source=source)
    wait_until(lambda: first.case_of(["0-1"])["0-1"].label == "FRAUD", what="it is read")
    first.decide(Decision("0-1", "LEGITIMATE"), ANA, "key")
    wait_until(lambda: second.case_of(["0-1"])["0-1"].label == "LEGITIMATE", what="the correction")
    assert first.case_of(["0-1"])["0-1"].decided_at < 2**52  # type: ignore[operator]


def test_history_is_in_the_order_of_the_brokers_clock(
    desks: tuple[Desk, CutOff, Desk], log: MemoryLog
) -> None:
    first, _, second = desks
    first.claim("0-1", ANA)
    first.release("0-1", ANA)
    wait_until(lambda: second.case_of(["0-1"])["0-1"].by is None, what="the release")
    second.decide(Decision("0-1", "FRAUD"), BO, "one")  # a minute ago, by its clock
    wait_until(lambda: first.case_of(["0-1"])["0-1"].label == "FRAUD", what="the decision")
    second.withdraw("0-1", BO, "two")
    wait_until(lambda: first.case_of(["0-1"])["0-1"].label is None, what="the withdrawal")
    first.claim("0-1", ANA)
    for desk in (first, second):
        wait_until(lambda desk=desk: len(desk.events("0-1")) == 5, what="all events")  # type: ignore[misc]
        found = desk.events("0-1")
        assert [event.kind for event in found] == [
            "claim", "release", "decision", "withdrawal", "claim",
        ]  # fmt: skip
        recorded = [record.time for record in log.records(Channel.LABELS)]
        assert [event.at for event in found[2:4]] == recorded
        made = found[2].made_at
        assert made is not None
        assert 50_000 < found[2].at - made < 70_000


def test_decision_sent_to_two_replicas_is_recorded_once(
    desks: tuple[Desk, CutOff, Desk], log: MemoryLog
) -> None:
    first, own, second = desks
    own.is_down = True
    wait_until(lambda: first.status().state == "waiting", what="the outage")
    for desk in (first, second):
        desk.decide(Decision("0-1", "FRAUD"), ANA, "key")
    own.is_down = False
    wait_until(lambda: first.waiting() == 0, what="the first replica finds it on the topic")
    assert labels(log) == [("FRAUD", None)]


def test_record_that_two_replicas_wrote_is_one_decision(
    desks: tuple[Desk, CutOff, Desk], log: MemoryLog
) -> None:
    first, _, second = desks
    first.decide(Decision("0-1", "FRAUD"), ANA, "key")
    (record,) = log.records(Channel.LABELS)
    log.put(Channel.LABELS, record.value, b"101", record.headers or ())  # type: ignore[arg-type]  # ours are bytes
    first.decide(Decision("0-1", "LEGITIMATE"), ANA, "next")
    for desk in (first, second):
        wait_until(lambda desk=desk: len(desk.events("0-1")) == 2, what="both decisions")  # type: ignore[misc]
        assert desk.case_of(["0-1"])["0-1"].label == "LEGITIMATE"
    assert len(labels(log)) == 3
