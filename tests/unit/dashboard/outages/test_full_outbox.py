"""What waits is bounded: nothing is accepted that could not be stored, and the answer says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard.cases.case import Decision, DeskUnavailable, Status, Who
from dashboard.cases.log import Channel
from dashboard.cases.outbox import Entry, Outbox, OutboxFull
from dashboard.cases.state import AuditSelection
from tests.support.desk.desk_kit import MemoryLog
from tests.support.desk.replica import running_desk
from tests.support.waiting import wait_until

ANA, BO = Who("ana", "analyst"), Who("bo", "analyst")


def entry(number: int, channel: Channel) -> Entry:
    return Entry(f"id-{number}", channel, b"1", None, {})


def test_full_outbox_takes_none_of_the_entries_and_stays_as_it_is(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite3", most=3)
    outbox.add([entry(n, Channel.AUDIT) for n in range(2)])
    with pytest.raises(OutboxFull, match="3 events of the audit log wait"):
        outbox.add([entry(n, channel) for n in (7, 8) for channel in Channel])
    assert [outbox.count(channel) for channel in Channel] == [0, 2]
    outbox.add([entry(2, Channel.AUDIT)])
    outbox.add([entry(2, Channel.AUDIT)])  # it waits already
    assert outbox.remove(Channel.AUDIT, ["id-0"]) == 1
    outbox.add([entry(3, Channel.AUDIT)])
    assert outbox.count(Channel.AUDIT) == 3
    outbox.close()


def test_missing_audit_topic_stops_the_desk_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.cases.context.Outbox", lambda path: Outbox(path, most=2))
    log = MemoryLog()
    log.exist.remove(Channel.AUDIT)
    with running_desk(tmp_path, log) as desk:
        wait_until(lambda: desk.status().state == "live", what="the desk")
        for offset in range(2):
            desk.decide(Decision(f"0-{offset}", "FRAUD"), ANA, f"key-{offset}")
        wanted = "fraud-audit does not exist: run stream-scorer topics create. Nothing more is acc"
        for act in (
            lambda: desk.decide(Decision("0-2", "FRAUD"), ANA, "key-2"),
            lambda: desk.claim("0-3", ANA),
            lambda: desk.record("export", ANA, {}),
        ):
            with pytest.raises(DeskUnavailable, match=wanted):
                act()
        assert all(desk.case_of([one])[one].status is Status.OPEN for one in ("0-2", "0-3"))
        log.exist.add(Channel.AUDIT)
        wait_until(lambda: desk.status().events_waiting == 0, what="the topic")
        assert desk.decide(Decision("0-2", "FRAUD"), ANA, "key-2").label == "FRAUD"


def test_claim_made_in_an_outage_is_in_the_audit_log_and_takes_nothing_from_others(
    tmp_path: Path,
) -> None:
    log = MemoryLog()
    with running_desk(tmp_path / "a", log) as first, running_desk(tmp_path / "b", log) as second:
        desks = (first, second)
        wait_until(lambda: all(desk.status().is_ok for desk in desks), what="the desks")
        log.is_down = True
        wait_until(lambda: first.status().state == "waiting", what="the outage")
        assert first.claim("0-1", ANA).is_local
        assert first.claim("0-1", ANA).is_local  # a renewal is not another event
        assert first.claim("0-2", ANA).is_local
        assert first.release("0-2", ANA).status is Status.OPEN
        assert first.status().events_waiting == 3
        log.is_down = False

        def audit() -> list[tuple[str, str]]:
            found = second.audit(AuditSelection(by="ana"), None, 10)
            return sorted((one.body["kind"], one.body["flag_id"]) for _, one in found)

        expected = [("local-claim", "0-1"), ("local-claim", "0-2"), ("local-release", "0-2")]
        wait_until(lambda: audit() == expected, what="the events on the other replica")
        assert second.case_of(["0-1"])["0-1"].status is Status.OPEN
        assert second.claim("0-1", BO).by == "bo"
        (event,) = [one for one in second.events("0-1") if one.kind == "local-claim"]
        assert event.is_effective
        wait_until(lambda: first.case_of(["0-1"])["0-1"].by == "bo", what="bo's claim")


def test_a_bulk_that_was_refused_is_not_in_the_audit_log(tmp_path: Path) -> None:
    from dashboard.cases.deciding import Wanted

    with running_desk(tmp_path, MemoryLog()) as desk:
        wait_until(lambda: desk.status().is_ok, what="the desk")
        desk.claim("0-0", BO)
        refused = [Wanted(Decision("0-0", "FRAUD")), Wanted(Decision("9-9", "FRAUD"))]
        assert all(isinstance(one, Exception) for one in desk.decide_many(refused, ANA, "none"))
        desk.decide_many([*refused, Wanted(Decision("0-1", "FRAUD"))], ANA, "some")
        wait_until(lambda: desk.status().events_waiting == 0, what="the events")
        bulk = [e.body["details"] for _, e in desk.audit(AuditSelection(kind="bulk"), None, 9)]
    assert bulk == [{"key": "some", "decisions": 1, "refused": 2}]
