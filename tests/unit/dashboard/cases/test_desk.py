"""The desk without HTTP: outages, restarts, labels of others, and what replicas see."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from dashboard.cases import deciding
from dashboard.cases.case import Case, Conflict, Decision, DeskUnavailable, Status, Who
from dashboard.cases.desk import Desk
from dashboard.cases.events import make_event
from dashboard.cases.log import Channel
from dashboard.cases.outbox import Entry, Outbox
from dashboard.cases.state import AuditSelection
from schemas.records import encode_record
from stream_scorer.errors import UsageError
from tests.support.desk.desk_kit import MemoryLog
from tests.support.desk.replica import running_desk
from tests.support.waiting import wait_until

ANA, BO = Who("ana", "analyst"), Who("bo", "analyst")

Open = Callable[..., Desk]


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def open_desk(tmp_path: Path, log: MemoryLog) -> Iterator[Open]:
    """``open_desk(name)`` starts a replica, whose state is in a folder of that name."""
    with ExitStack() as stack:

        def start(name: str = "a", state: str = "live") -> Desk:
            desk = stack.enter_context(running_desk(tmp_path / name, log))
            wait_until(lambda: desk.status().state == state, what=f"the desk is {state}")
            return desk

        yield start


def case(desk: Desk, flag_id: str) -> Case:
    return desk.case_of([flag_id])[flag_id]


def test_decision_made_while_kafka_is_down_waits_and_is_recorded_once(
    open_desk: Open, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = open_desk()
    log.is_down = True
    wait_until(lambda: desk.status().state == "waiting", what="the outage to show")
    monkeypatch.setattr(deciding, "RECORD_SECONDS", 3600)  # it does not wait for what cannot come
    found = desk.decide(Decision("0-1", "FRAUD", ("mule",), "a note"), ANA, "key")
    assert (found.status, found.label, found.pending, found.version) == (
        Status.DECIDED, "FRAUD", True, 1,
    )  # fmt: skip
    assert [(e.kind, e.pending) for e in desk.events("0-1")] == [("decision", True)]
    assert desk.decide(Decision("0-1", "FRAUD", ("mule",), "a note"), ANA, "key") == found
    assert (desk.status().waiting, desk.status().detail) == (1, "kafka: no broker answers")
    log.is_down = False
    wait_until(lambda: desk.status().waiting == 0, what="the decision is recorded")
    found = case(desk, "0-1")
    assert (found.pending, found.version, found.note) == (False, 1, "a note")
    assert found.recorded == str(log.records(Channel.LABELS)[0].place)
    assert len(log.records(Channel.LABELS)) == 1


def test_record_whose_confirmation_was_lost_is_not_written_twice(
    open_desk: Open, log: MemoryLog
) -> None:
    desk = open_desk()
    log.is_mute = True
    desk.decide(Decision("0-1", "FRAUD"), ANA, "key")
    wait_until(lambda: desk.status().waiting == 0, what="it was read back")
    log.is_mute = False
    desk.decide(Decision("0-2", "FRAUD"), ANA, "other")
    assert [dict(r.headers or ())["decision-id"] for r in log.records(Channel.LABELS)] == [
        b"key", b"other",
    ]  # fmt: skip


def test_outbox_that_survives_a_crash_drops_what_is_on_the_topic(
    open_desk: Open, log: MemoryLog, tmp_path: Path
) -> None:
    first = open_desk("a")
    first.decide(Decision("0-1", "FRAUD"), ANA, "recorded")
    (record,) = log.records(Channel.LABELS)
    wait_until(lambda: first.status().events_waiting == 0, what="the event")
    (tmp_path / "b").mkdir()
    outbox = Outbox(tmp_path / "b" / "outbox.sqlite3")
    body = {
        "transaction_id": 101, "label": "FRAUD", "kind": "decide", "decided_by": "ana",
        "decided_at": 1, "note": None, "reasons": [], "score": 0.9, "review_threshold": 0.4,
        "block_threshold": 0.8, "model_version": "v7",
        "source": {"topic": "transactions", "partition": 0, "offset": 1},
    }  # fmt: skip
    # As a crash between the broker's confirmation and its note leaves it, and one not sent.
    entry = Entry("recorded", Channel.LABELS, b"101", "0-1", body)
    late = Entry("late", Channel.LABELS, b"102", "0-2", {**body, "transaction_id": 102})
    outbox.add([entry, late])
    outbox.close()
    second = open_desk("b")
    wait_until(lambda: second.status().waiting == 0, what="the outbox to empty")
    ids = [dict(r.headers or ())["decision-id"] for r in log.records(Channel.LABELS)]
    assert ids == [b"recorded", b"late"]
    assert case(second, "0-1").recorded == str(record.place)


def test_claims_are_local_without_the_audit_topic_and_decisions_are_recorded(
    open_desk: Open, log: MemoryLog
) -> None:
    log.exist = {Channel.LABELS}
    desk = open_desk()
    assert desk.status().missing == ("fraud-audit",)
    assert desk.status().detail == (
        "topic fraud-audit does not exist: run stream-scorer topics create"
    )
    claimed = desk.claim("0-1", ANA)
    assert (claimed.status, claimed.by, claimed.is_local) == (Status.CLAIMED, "ana", True)
    with pytest.raises(Conflict, match="0-1 is claimed by ana"):
        desk.claim("0-1", BO)
    assert desk.release("0-1", ANA).status is Status.OPEN
    assert desk.claim("0-1", BO).by == "bo"
    assert desk.decide(Decision("0-1", "FRAUD"), BO, "key").recorded
    events = 4  # two claims, a release and the decision
    assert (desk.status().waiting, desk.status().events_waiting) == (0, events)
    log.exist.add(Channel.AUDIT)
    wait_until(lambda: desk.status().events_waiting == 0, what="the event is recorded")
    assert desk.status().missing == ()
    assert not desk.claim("0-2", ANA).is_local


def test_decisions_wait_for_the_labels_topic_and_claims_do_not(
    open_desk: Open, log: MemoryLog
) -> None:
    log.exist = {Channel.AUDIT}
    desk = open_desk()
    assert not desk.claim("0-1", ANA).is_local
    assert desk.decide(Decision("0-1", "FRAUD"), ANA, "key").pending
    withdrawn = desk.withdraw("0-1", ANA, "undo")
    assert (withdrawn.status, withdrawn.pending) == (Status.OPEN, True)
    assert desk.status().waiting == 2
    log.exist.add(Channel.LABELS)
    wait_until(lambda: desk.status().waiting == 0, what="both are recorded")
    records = log.records(Channel.LABELS)
    assert [dict(r.headers or ())["decision-kind"] for r in records] == [b"decide", b"withdraw"]
    assert case(desk, "0-1").version == 3


def test_second_replica_shows_the_same_and_a_deleted_cache_is_rebuilt(
    open_desk: Open, log: MemoryLog, tmp_path: Path
) -> None:
    first = open_desk("a")
    first.claim("0-0", ANA)
    first.snooze("0-1", int(time.time() * 1000) + 60_000, ANA)
    first.decide(Decision("0-2", "LEGITIMATE"), BO, "key")
    ids = [f"0-{offset}" for offset in range(4)]
    second = open_desk("b")
    assert second.case_of(ids) == first.case_of(ids)
    assert [second.events(one) for one in ids] == [first.events(one) for one in ids]
    with pytest.raises(Conflict):
        second.claim("0-0", BO)
    second.release("0-0", ANA)
    wait_until(lambda: case(first, "0-0").status is Status.OPEN, what="the release to arrive")
    known = second.case_of(ids)
    second.stop(10)
    for path in (tmp_path / "b").glob("desk.sqlite3*"):
        path.unlink()
    assert open_desk("b").case_of(ids) == known


def test_damaged_cache_is_rebuilt_and_a_damaged_outbox_is_reported(
    open_desk: Open, log: MemoryLog, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "desk.sqlite3").write_bytes(b"nonsense" * 1000)
    assert case(open_desk("a"), "0-1") == Case()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "outbox.sqlite3").write_bytes(b"nonsense" * 1000)
    with pytest.raises(UsageError, match="keep a copy, then move it away"):
        open_desk("b")


def test_disk_that_cannot_be_written_refuses_the_decision(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite3")
    blocker = sqlite3.connect(tmp_path / "outbox.sqlite3")
    blocker.execute("BEGIN EXCLUSIVE")
    outbox._db.execute("PRAGMA busy_timeout = 1")
    with pytest.raises(DeskUnavailable, match="cannot be written"):
        outbox.add([Entry("id", Channel.LABELS, b"1", "0-1", {})])
    blocker.rollback()
    assert outbox.count(Channel.LABELS) == 0
    outbox.add([Entry("id", Channel.LABELS, b"1", "0-1", {})])
    assert outbox.count(Channel.LABELS) == 1


def test_chargebacks_are_external_also_by_transaction_id(open_desk: Open, log: MemoryLog) -> None:
    desk = open_desk()
    desk.decide(Decision("0-1", "LEGITIMATE"), ANA, "key")
    number, _ = desk.changes_after(0)
    log.put_label(101, "FRAUD", "CHARGEBACK")
    source = {"topic": "transactions", "partition": 0, "offset": 2}
    log.put_label(102, "FRAUD", "CHARGEBACK", source=source)
    log.put_label(102, "LEGITIMATE", "REVERSAL", source=source)
    wait_until(lambda: case(desk, "0-2").external == "LEGITIMATE", what="the reversal")
    first, second = case(desk, "0-1"), case(desk, "0-2")
    assert (first.external, first.label, first.version) == ("FRAUD", "LEGITIMATE", 2)
    assert (second.status, second.label, second.version) == (Status.OPEN, None, 2)
    assert [event.kind for event in desk.events("0-2")] == ["chargeback", "reversal"]
    assert set(desk.changes_after(number)[1] or ()) == {"0-1", "0-2"}


def test_labels_of_other_tools_count_as_decisions(open_desk: Open, log: MemoryLog) -> None:
    desk = open_desk()
    log.put_label(103, "FRAUD", "ANALYST", decided_by="tool")
    wait_until(lambda: case(desk, "0-3").label == "FRAUD", what="the label")
    assert case(desk, "0-3").decided_by == "tool"
    assert desk.withdraw("0-3", ANA, "undo").status is Status.OPEN


def test_bad_records_stop_nothing_and_are_counted(open_desk: Open, log: MemoryLog) -> None:
    desk = open_desk()
    for channel in Channel:
        for value in (None, b"", b"junk", b"\xc3\x01" + b"\0" * 20, b"{}", b"\0\0\0\0\7x"):
            log.put(channel, value, headers=[("decision-id", b"\xff\xfe")])
    fine = b'{"transaction_id": 100, "decided_at": 1, "label": "FRAUD", "origin": "ANALYST"'
    for source in (b"5", b"[]", b'{"topic": "t", "partition": Infinity, "offset": 1}', b'"x"'):
        log.put(Channel.LABELS, fine + b', "source": ' + source + b"}")
    log.put(Channel.LABELS, fine + b', "decided_by": "\\ud800", "note": ["\\udfff"]}')
    log.put(Channel.LABELS, b'{"transaction_id": 1, "decided_at": 1, "label": "FRAUD", '
            b'"origin": "ANALYST", "source": {"topic": 5}, "decided_by": ["x"]}')  # fmt: skip
    deep = make_event("bulk", ANA, 1, details={})
    for details in ("[" * 900 + "]" * 900, "{", '"\\ud800"'):
        record = replace(deep, event_id=details, details=details).as_record()
        log.put(Channel.AUDIT, encode_record("audit_event", record))
    wait_until(lambda: desk.status().unreadable == 16, what="all are read")
    wait_until(lambda: len(desk.audit(AuditSelection(kind="bulk"), None, 9)) == 3, what="events")
    assert case(desk, "0-0").decided_by == "?"
    assert desk.claim("0-1", ANA).by == "ana"


def test_changes_that_are_no_longer_remembered_are_said(open_desk: Open, log: MemoryLog) -> None:
    desk = open_desk()
    number, _ = desk.changes_after(0)
    assert desk.changes_after(number) == (number, [])
    desk.claim("0-1", ANA)
    last, ids = desk.changes_after(number)
    assert ids == ["0-1"]
    for _ in range(1001):
        log.put_label(1, "FRAUD", "CHARGEBACK", decided_by="bank")
    desk._context.reader.note_change([f"1-{n}" for n in range(1001)])
    assert desk.changes_after(last)[1] is None


def test_clock_of_a_replica_does_not_decide_who_holds_a_case(
    tmp_path: Path, log: MemoryLog
) -> None:
    day = 86_400
    with (
        running_desk(tmp_path / "right", log) as right,
        running_desk(tmp_path / "fast", log, clock=lambda: time.time() + day) as fast,
    ):
        for desk in (right, fast):
            wait_until(lambda d=desk: d.status().state == "live", what="the desk")  # type: ignore[misc]
        right.claim("0-1", ANA)
        wait_until(lambda: case(fast, "0-1").version == 1, what="the claim to arrive")
        assert case(fast, "0-1").status is Status.OPEN  # its clock says that the lease is over
        with pytest.raises(Conflict, match="0-1 is claimed by ana"):
            fast.claim("0-1", BO)
        with pytest.raises(Conflict):
            fast.snooze("0-1", int((time.time() + 2 * day) * 1000), BO)
        assert case(right, "0-1").by == "ana"
