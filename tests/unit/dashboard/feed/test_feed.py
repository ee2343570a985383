"""The feed: catches up, resumes, retries after errors, and skips records it cannot decode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from dashboard.cache.flag_table import FlagWriter
from dashboard.cache.reading import Listing, StoredFlag, read_page
from dashboard.cache.selection import Selection
from dashboard.feed.board import Board, FeedState
from dashboard.feed.loop import Feed
from dashboard.feed.reading import FlagReader
from schemas.resolver import LocalSchemas
from tests.support.dashboard_kit import MemoryTopic, encode_score, make_score
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds in production takes a moment here."""
    for name in ("_POLL_SECONDS", "_SAVE_SECONDS", "_REFRESH_SECONDS", "_RETRY_SECONDS"):
        monkeypatch.setattr(f"dashboard.feed.loop.{name}", 0.02)


@contextmanager
def running_feed(folder: Path, topic: MemoryTopic) -> Iterator[Board]:
    board = Board()
    writer = FlagWriter(folder / "flags.sqlite3", keep=10_000)
    reader = FlagReader("fraud-scores", LocalSchemas("fraud_score"), "transactions")
    feed = Feed(topic.open, ("fraud-scores", "transactions"), writer, reader, board)
    feed.start()
    try:
        yield board
    finally:
        feed.stop(10)


def read_rows(folder: Path) -> list[StoredFlag]:
    return read_page(folder / "flags.sqlite3", Listing(Selection(), now=0), None, 10_000)


def flag_count(folder: Path) -> int:
    return len(read_rows(folder))


def is_live(board: Board) -> bool:
    return board.status.state is FeedState.LIVE


def test_all_scores_are_counted_and_only_flagged_ones_are_stored(tmp_path: Path) -> None:
    topic = MemoryTopic(3)
    for i in range(60):
        topic.append(encode_score(make_score(0.95 if i % 10 == 0 else 0.05)), i % 3)
    with running_feed(tmp_path, topic) as board:
        wait_until(lambda: is_live(board) and board.counts.scored == 60)
        assert board.counts.flagged == 6
        assert board.counts.histogram[2] == 54
        assert board.counts.histogram[47] == 6
        assert board.status.lag == 0
        stamp = board.status.stamp
        assert stamp is not None
        assert (stamp.model_version, stamp.review_threshold) == ("v7", 0.4)
    assert flag_count(tmp_path) == 6


def test_backlog_causes_a_reset_and_later_rows_are_activity(tmp_path: Path) -> None:
    topic = MemoryTopic(1)
    topic.append(encode_score(make_score(0.9)))
    with running_feed(tmp_path, topic) as board:
        wait_until(lambda: is_live(board))
        first = board.drain()
        assert first.is_reset
        assert first.scored == 0
        topic.append(encode_score(make_score(0.9)))
        topic.append(encode_score(make_score(0.1)))
        wait_until(lambda: board.counts.scored == 3)
        later = board.drain()
        assert (later.is_reset, later.scored, later.flagged, len(later.rows)) == (False, 2, 1, 1)


def test_restart_continues_where_it_stopped_and_a_deleted_file_is_rebuilt(tmp_path: Path) -> None:
    topic = MemoryTopic(2)
    for i in range(20):
        topic.append(encode_score(make_score(0.9)), i % 2)
    with running_feed(tmp_path, topic) as board:
        wait_until(lambda: board.counts.scored == 20)
    topic.append(encode_score(make_score(0.9)))
    with running_feed(tmp_path, topic) as board:
        wait_until(lambda: board.counts.scored == 21)
    before = read_rows(tmp_path)
    for file in tmp_path.glob("flags.sqlite3*"):
        file.unlink()
    with running_feed(tmp_path, topic) as board:
        wait_until(lambda: board.counts.scored == 21)
    assert read_rows(tmp_path) == before


def test_malformed_records_are_counted_and_skipped(tmp_path: Path) -> None:
    good = encode_score(make_score(0.9))
    topic = MemoryTopic(1)
    bad: list[bytes | None] = [None, b"", b"\x00\x00", b"{}", good[:30], b"\xc3\x01" + b"\x01" * 60]
    for value in [good, *bad, encode_score(make_score(0.8))]:
        topic.append(value)
    with running_feed(tmp_path, topic) as board:
        wait_until(lambda: board.counts.scored == 2)
        assert board.counts.unreadable == len(bad)
        assert is_live(board) or wait_until(lambda: is_live(board))
    assert flag_count(tmp_path) == 2


def test_feed_waits_for_broker_and_topic_shows_the_reason_and_recovers(tmp_path: Path) -> None:
    topic = MemoryTopic(1)
    topic.is_down = True
    topic.exists = False
    with running_feed(tmp_path, topic) as board:
        wait_until(lambda: "no broker answers" in board.status.reason)
        assert board.status.state is FeedState.WAITING
        assert board.status.detail == "Kafka does not answer"
        topic.is_down = False
        wait_until(lambda: "fraud-scores does not exist yet" in board.status.reason)
        assert board.status.detail == "the topic of the scores does not exist yet"
        topic.exists = True
        wait_until(lambda: is_live(board))
        topic.append(encode_score(make_score(0.9)))
        wait_until(lambda: board.counts.scored == 1)
        topic.is_down = True
        wait_until(lambda: board.status.state is FeedState.WAITING)
        assert flag_count(tmp_path) == 1
        topic.append(encode_score(make_score(0.9)))
        topic.is_down = False
        wait_until(lambda: is_live(board) and board.counts.scored == 2)


def test_recreated_topic_is_read_from_the_start(tmp_path: Path) -> None:
    topic = MemoryTopic(1)
    for _ in range(5):
        topic.append(encode_score(make_score(0.9)))
    with running_feed(tmp_path, topic) as board:
        wait_until(lambda: board.counts.scored == 5)
    shorter = MemoryTopic(1)
    record = make_score(0.9)
    shorter.append(encode_score(record))
    with running_feed(tmp_path, shorter) as board:
        wait_until(lambda: is_live(board) and board.counts.scored == 1)
    rows = read_rows(tmp_path)
    assert [orjson.loads(row.body)["transaction_id"] for row in rows] == [record["transaction_id"]]


def test_partitions_added_later_are_read(tmp_path: Path) -> None:
    topic = MemoryTopic(1)
    with running_feed(tmp_path, topic) as board:
        wait_until(lambda: is_live(board))
        topic.logs.append([encode_score(make_score(0.9))])
        wait_until(lambda: board.counts.scored == 1)
