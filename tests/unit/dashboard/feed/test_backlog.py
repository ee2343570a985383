"""The backlog of the scorers: what counts, what it says of a scorer that stands still."""

from __future__ import annotations

import pytest

from dashboard.cache.flag_table import Counts
from dashboard.feed.backlog import BacklogGauge, BacklogWatch
from dashboard.feed.board import SILENT_MS, Backlog, Board
from dashboard.feed.prefix import Stamp
from dashboard.feed.records import InputRecord
from stream_scorer.errors import FatalError, RetryableError
from tests.support.dashboard_kit import Clock
from tests.support.listing.memory_input import CONTROL, MemoryInput
from tests.support.waiting import wait_until


def record(at: int = 5000) -> InputRecord:
    return InputRecord(at, b"1", b"{}")


def test_backlog_is_what_the_group_has_not_committed() -> None:
    topic = MemoryInput([[record()] * 5, [record()] * 3])
    topic.committed = {0: 2, 1: 3}
    gauge = BacklogGauge(topic)
    assert gauge.measure() == Backlog(3, 5)
    topic.committed = {0: 5, 1: 3}
    assert gauge.measure() == Backlog(0, 8)
    assert topic.looked_up == []


def test_control_records_at_the_end_are_no_backlog() -> None:
    topic = MemoryInput([[record(), CONTROL, CONTROL], [record(7000), CONTROL, record(6000)]])
    topic.committed = {0: 1, 1: 1}
    gauge = BacklogGauge(topic)
    # Nothing is read while scorers may be about to commit.
    assert [gauge.measure().records for _ in range(3)] == [4, 4, 4]
    assert gauge.measure() == Backlog(1, 2, oldest_at=6000)
    assert gauge.measure() == Backlog(1, 2, oldest_at=6000)
    assert topic.looked_up == [(0, 1), (1, 1)]
    topic.logs[0].append(record(9000))
    assert gauge.measure() == Backlog(2, 2, oldest_at=6000)
    assert topic.looked_up[2:] == [(0, 3)]
    topic.committed = {0: 4, 1: 3}
    assert gauge.measure() == Backlog(0, 7)


def test_watch_says_why_the_backlog_is_not_known_and_recovers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dashboard.feed.backlog._POLL_SECONDS", 0.01)
    topic, board = MemoryInput([[record()]]), Board()
    topic.problem = FatalError("kafka: GROUP_AUTHORIZATION_FAILED at broker-3.internal:9092")
    watch = BacklogWatch(lambda: topic, board)
    watch.start()
    try:
        wait_until(lambda: "may not read" in board.backlog.detail)
        assert board.backlog.records is None
        assert "broker-3" not in board.backlog.detail
        assert "broker-3" in board.backlog.reason
        assert board.scorer.state == "unknown"
        topic.problem = RetryableError("kafka: timed out")
        wait_until(lambda: "does not answer" in board.backlog.detail)
        topic.problem, topic.exists = None, False
        wait_until(lambda: "topic does not exist" in board.backlog.detail)
        topic.exists = True
        wait_until(lambda: board.backlog.records == 1)
        assert (board.backlog.detail, board.backlog.reason) == ("", "")
    finally:
        watch.stop(10)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_scorer_is_silent_when_records_wait_and_nothing_happens_for_a_minute(clock: Clock) -> None:
    board = Board(clock)
    board.note_backlog(Backlog(0, 100))
    assert board.scorer.state == "idle"
    clock.now += 3600  # no input for an hour
    board.note_backlog(Backlog(5, 100))
    assert board.scorer.state == "working"
    began = board.now()
    clock.now += SILENT_MS / 1000
    board.note_backlog(Backlog(9, 100))
    assert board.scorer.state == "working"
    clock.now += 1
    assert (board.scorer.state, board.scorer.since) == ("silent", began)
    board.note_backlog(Backlog(8, 101))  # it commits dead letters too, which give no score
    assert board.scorer.state == "working"


def test_score_is_progress_although_the_backlog_grows(clock: Clock) -> None:
    board = Board(clock)
    board.note_backlog(Backlog(5, 100))
    clock.now += 100
    board.add(1, [], Stamp(0.4, 0.8, "v7", board.now(), None), Counts(scored=1))
    board.note_backlog(Backlog(50, 100))
    assert board.scorer.state == "working"


def test_delay_starts_at_the_event_or_else_at_the_scoring(clock: Clock) -> None:
    board = Board(clock)
    now = board.now()
    board.add(1, [], Stamp(0.4, 0.8, "v7", now - 40, now - 900), Counts())
    assert (board.status.delay_ms, board.status.input_delay_ms) == (40, 900)
    board.add(1, [], Stamp(0.4, 0.8, "v7", now - 40, None), Counts())
    assert board.status.input_delay_ms == 40
