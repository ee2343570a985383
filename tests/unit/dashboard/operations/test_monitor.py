"""The monitor keeps its last reading, says since when it cannot read, and asks only if needed."""

from __future__ import annotations

import pytest

from dashboard.feed.backlog import BacklogGauge
from dashboard.feed.board import NOT_MEASURED, Backlog, Board, InputPlace
from dashboard.operations.backlog import BacklogHistory, PartitionBacklog, WatchedBacklog
from dashboard.operations.dead_letters import DeadLetters
from dashboard.operations.monitor import DEAD_LETTER_SECONDS, Monitor
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.runtime.settings import KafkaSettings
from tests.support.dashboard_kit import Clock
from tests.support.listing.memory_input import MemoryInput
from tests.support.operations.brokers import MemoryBacklog, MemoryDeadLetters
from tests.support.waiting import wait_until


def test_backlog_counts_from_the_committed_offset_or_the_start() -> None:
    rows = [(5, 0, 12), (None, 3, 1003), (2, 10, 12), (20, 0, 12)]
    found = [PartitionBacklog(0, committed, low, end).waiting for committed, low, end in rows]
    assert found == [7, 1000, 2, 0]


def test_failure_keeps_the_last_reading_and_the_time_of_the_first_failure() -> None:
    clock, source = Clock(), MemoryBacklog([PartitionBacklog(0, 5, 0, 12)])
    monitor = Monitor(source, MemoryDeadLetters(), ["a"], clock)
    monitor.poll()
    assert monitor.state.history == [(1_000_000, 7)]
    source.error = RetryableError("no broker answers")
    for _ in range(2):
        clock.now += 5
        monitor.poll()
    reading = monitor.state.backlog
    assert (reading.at, reading.since, reading.problem) == (
        1_000_000, 1_005_000, "no broker answers",
    )  # fmt: skip
    assert reading.value is not None
    assert len(monitor.state.history) == 1
    source.error = None
    monitor.poll()
    assert (monitor.state.backlog.problem, monitor.state.backlog.since) == ("", None)
    assert len(monitor.state.history) == 2


def test_unexpected_error_does_not_end_the_thread_and_says_where_to_look() -> None:
    source = MemoryBacklog()
    source.read = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    monitor = Monitor(source, MemoryDeadLetters(), [])
    monitor.poll()
    assert monitor.state.backlog.problem == "unexpected error; see the log"


def test_history_keeps_an_hour() -> None:
    history = BacklogHistory(3)
    for at in range(5):
        history.add(at, at)
    assert history.points() == [(2, 2), (3, 3), (4, 4)]


def test_dead_letters_are_read_only_while_somebody_looks() -> None:
    clock, dead_letters = Clock(), MemoryDeadLetters(DeadLetters(3, []))
    monitor = Monitor(MemoryBacklog(), dead_letters, [], clock)
    monitor.start()
    try:
        found = monitor.dead_letters(60)
        assert found.value == DeadLetters(3, [])
        monitor.dead_letters(0)
        assert dead_letters.reads == 1
        dead_letters.error = FatalError("not authorized for topic transactions-dlq")
        clock.now += DEAD_LETTER_SECONDS
        monitor.dead_letters(0)
        wait_until(lambda: monitor.dead_letters(0).problem, what="the failure")
        assert monitor.dead_letters(0).value == DeadLetters(3, [])
        assert dead_letters.reads == 2
    finally:
        monitor.stop()


def test_page_does_not_wait_for_brokers_that_are_silent() -> None:
    monitor = Monitor(MemoryBacklog(), MemoryDeadLetters(), [])
    assert monitor.dead_letters(0.01).at is None  # its threads do not run


def test_backlog_of_the_header_feeds_the_page_and_is_asked_for_once() -> None:
    topic = MemoryInput([[]])
    topic.places = (InputPlace(0, 5, 0, 12), InputPlace(1, None, 3, 1003))
    board = Board()
    source = WatchedBacklog(KafkaSettings(), lambda: board.backlog)
    board.note_backlog(BacklogGauge(topic).measure())
    assert [one.waiting for one in source.read()] == [7, 1000]
    board.note_backlog(Backlog(None, detail="for everybody", reason="broker-3 refused"))
    with pytest.raises(RetryableError, match="broker-3 refused"):
        source.read()


def test_page_waits_for_the_first_measurement_in_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = [NOT_MEASURED, NOT_MEASURED, Backlog(7, places=(InputPlace(0, 5, 0, 12),))]
    source = WatchedBacklog(KafkaSettings(), lambda: answers.pop(0))
    assert [one.waiting for one in source.read()] == [7]
    monkeypatch.setattr("dashboard.operations.backlog.REQUEST_SECONDS", 0.05)
    with pytest.raises(RetryableError, match="not known yet"):
        WatchedBacklog(KafkaSettings(), lambda: NOT_MEASURED).read()
