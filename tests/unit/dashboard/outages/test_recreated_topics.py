"""A topic is deleted and created again while the dashboard reads it: it reads it from its start."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dashboard.cases.case import Decision, Status, Who
from dashboard.cases.log import Channel, LogBounds
from dashboard.cases.session import Session, find_recreated, origin_of
from dashboard.cases.state import AuditSelection
from tests.support.dashboard_kit import MemoryTopic, encode_score, make_app, make_score
from tests.support.desk.desk_kit import MemoryLog
from tests.support.desk.replica import running_desk
from tests.support.waiting import wait_until

ANA, BO = Who("ana", "analyst"), Who("bo", "analyst")
PLACE = (Channel.AUDIT, 0)


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds in production takes a moment here."""
    for name in ("_POLL_SECONDS", "_SAVE_SECONDS", "_REFRESH_SECONDS", "_RETRY_SECONDS"):
        monkeypatch.setattr(f"dashboard.feed.loop.{name}", 0.02)
    for name in ("_CHECK_SECONDS", "_RETRY_SECONDS"):
        monkeypatch.setattr(f"dashboard.cases.reading.{name}", 0.02)


def bounds(high: int, topic_id: str | None) -> LogBounds:
    ids = {} if topic_id is None else {Channel.AUDIT: topic_id}
    return LogBounds("c", {PLACE: (0, high)}, {}, ids)


@pytest.mark.parametrize(
    ("now", "is_recreated"),
    [
        (bounds(9, "a"), False),
        (bounds(9, "b"), True),  # it has grown past what was read
        (bounds(3, "a"), False),  # a replica that is behind, and no other topic
        (bounds(3, None), True),
        (bounds(9, None), False),
        (LogBounds("c", {}, {Channel.AUDIT: "missing"}), False),
    ],
)
def test_session_tells_another_topic_by_its_id(now: LogBounds, is_recreated: bool) -> None:
    assert Session(bounds(5, "a")).is_recreated(now, {PLACE: 5}) == is_recreated


def test_cache_tells_another_topic_by_its_id_or_its_end() -> None:
    log = MemoryLog()
    before = origin_of(bounds(5, "a"), log)
    assert find_recreated(bounds(9, "a"), before, {PLACE: 5}) == []
    assert find_recreated(bounds(9, "b"), before, {PLACE: 5}) == [Channel.AUDIT]
    assert find_recreated(bounds(4, None), before, {PLACE: 5}) == [Channel.AUDIT]
    of_earlier_release = {"cluster": "c", "labels": "fraud-labels", "audit": "fraud-audit"}
    assert find_recreated(bounds(9, "b"), of_earlier_release, {PLACE: 5}) == []


@pytest.mark.parametrize("has_ids", [True, False])
def test_audit_topic_created_again_is_read_from_its_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, has_ids: bool
) -> None:
    log = MemoryLog(partitions=1)
    if not has_ids:
        log.topic_ids.clear()
    with running_desk(tmp_path / "a", log) as first, running_desk(tmp_path / "b", log) as second:
        desks = (first, second)
        wait_until(lambda: all(desk.status().is_ok for desk in desks), what="the desks")
        first.decide(Decision("0-0", "FRAUD"), ANA, "key")
        for flag in ("0-1", "0-2"):
            first.claim(flag, ANA)
        wait_until(lambda: second.case_of(["0-2"])["0-2"].by == "ana", what="the claims")
        log.recreate(Channel.AUDIT)
        wait_until(
            lambda: all(desk.case_of(["0-1"])["0-1"].status is Status.OPEN for desk in desks),
            what="the claims are gone with their topic",
        )
        wait_until(lambda: all(desk.status().is_ok for desk in desks), what="the desks again")
        assert "the topic fraud-audit was deleted and created again" in caplog.text
        assert first.case_of(["0-0"])["0-0"].label == "FRAUD"  # its topic is the same
        assert second.claim("0-1", BO).by == "bo"
        wait_until(lambda: first.case_of(["0-1"])["0-1"].by == "bo", what="the new claim")
        assert [e.body["by"] for _, e in first.audit(AuditSelection(), None, 9)] == ["bo"]


def test_topic_that_grows_past_what_was_read_is_noticed_by_its_id(tmp_path: Path) -> None:
    log = MemoryLog(partitions=1)
    with running_desk(tmp_path, log) as desk:
        wait_until(lambda: desk.status().is_ok, what="the desk")
        desk.claim("0-1", ANA)
        old = [record.value for record in log.records(Channel.AUDIT)]
        desk.release("0-1", ANA)
        log.recreate(Channel.AUDIT)
        for _ in range(9):  # the same bytes again and again, beyond what was read
            log.put(Channel.AUDIT, old[0])
        wait_until(
            lambda: desk.case_of(["0-1"])["0-1"].by == "ana", what="the claim of the new one"
        )


def test_missing_topic_is_not_taken_for_another_one(tmp_path: Path) -> None:
    log = MemoryLog(partitions=1)
    with running_desk(tmp_path, log) as desk:
        wait_until(lambda: desk.status().is_ok, what="the desk")
        desk.claim("0-1", ANA)
        log.exist.remove(Channel.LABELS)
        wait_until(lambda: desk.status().missing == ("fraud-labels",), what="it is missing")
        assert desk.case_of(["0-1"])["0-1"].by == "ana"
        log.exist.add(Channel.LABELS)
        wait_until(lambda: desk.status().is_ok, what="it is back")
        assert desk.case_of(["0-1"])["0-1"].by == "ana"


def test_scores_topic_created_again_is_read_from_its_start(tmp_path: Path) -> None:
    topic = MemoryTopic(1)
    for _ in range(3):
        topic.append(encode_score(make_score(0.9)))
    app = make_app(tmp_path, topic)
    board = app.state.parts.board
    with TestClient(app, "http://127.0.0.1") as client:
        wait_until(lambda: board.counts.flagged == 3, what="the scores")
        with topic.changed:
            topic.logs[0] = [encode_score(make_score(0.9, transaction_id=n)) for n in range(5)]
            topic.topic_id = "topic 2"

        def transactions() -> list[int]:
            items = client.get("/api/v1/flags").json().get("items", [])
            return sorted(item["transaction_id"] for item in items)

        # The first of them are at offsets that were read before, of the other topic.
        wait_until(lambda: transactions() == list(range(5)), what="the new topic")
        assert board.counts.flagged == 5
