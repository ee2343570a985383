"""Stored transactions by score, decided or not: the running counts are what a scan would find."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from dashboard.cache.flag_table import Counts, FlagWriter
from dashboard.cache.listed import HISTOGRAM_BINS, Listed, histogram_bin
from dashboard.cases.case import Decision, Who
from dashboard.feed.board import Board, FeedState
from dashboard.feed.distribution import Distribution
from dashboard.live.decided import DecidedBins
from dashboard.live.publisher import CaseFollower
from tests.support.dashboard_kit import make_flag
from tests.support.desk.desk_kit import MemoryLog
from tests.support.desk.replica import running_desk
from tests.support.waiting import wait_until

ANA = Who("ana", "analyst")


def scan(path: Path) -> tuple[int, ...]:
    with sqlite3.connect(path) as db:
        found = Counter(histogram_bin(score) for (score,) in db.execute("SELECT score FROM flags"))
    db.close()
    return tuple(found[i] for i in range(HISTOGRAM_BINS))


def test_bins_have_equal_widths_and_the_last_one_has_the_score_of_one() -> None:
    edges = (0.0, 0.0199, 0.02, 0.5699, 0.57, 0.58, 0.9999, 1.0)
    assert [histogram_bin(score) for score in edges] == [0, 0, 1, 28, 28, 29, 49, 49]


def test_stored_rows_are_counted_as_they_come_and_go(tmp_path: Path) -> None:
    path, pick = tmp_path / "flags.sqlite3", random.Random(3)
    writer = FlagWriter(path, keep=100)
    for start in range(0, 400, 40):
        rows = [
            make_flag(i, scored_at=i, score=pick.uniform(0.4, 1)) for i in range(start, start + 40)
        ]
        writer.save([*rows, rows[0]], {0: start + 40}, Counts())
        writer.save(rows[:3], {0: start + 40}, Counts())  # which are there
        assert writer.listed.bins == scan(path)
    removals = writer.listed.removals
    assert removals >= 2
    assert sum(writer.listed.bins) <= 110
    writer.close()
    again = FlagWriter(path, keep=100)
    assert again.listed.bins == scan(path)
    again.clear()
    assert sum(again.listed.bins) == 0
    assert again.listed.removals == 1
    again.close()


class Scores:
    """Stored scores, and which of them are decided."""

    def __init__(self) -> None:
        self.stored: dict[str, float] = {}
        self.decided: set[str] = set()
        self.scans = 0

    def decided_scores(self) -> dict[str, float]:
        self.scans += 1
        return {one: self.stored[one] for one in self.decided if one in self.stored}

    def scores_of(self, flag_ids: Collection[str]) -> dict[str, float]:
        return {one: self.stored[one] for one in flag_ids if one in self.stored}


def test_decisions_and_withdrawals_in_any_order_give_what_a_recount_gives() -> None:
    pick, scores = random.Random(5), Scores()
    counted = DecidedBins(scores)
    for step in range(600):
        number = pick.randrange(60)
        flag_id = f"0-{number}"
        if pick.random() < 0.3:  # it is stored after its decision, as on a slower replica
            scores.stored[flag_id] = 0.4 + number / 100
            counted.retry()
        is_decided = pick.random() < 0.6
        (scores.decided.add if is_decided else scores.decided.discard)(flag_id)
        counted.update({flag_id: is_decided})
        if step == 300:
            counted.recount()
    fresh = DecidedBins(scores)
    fresh.recount()
    assert counted.bins == fresh.bins
    assert sum(counted.bins) > 10
    assert scores.scans == 2  # all others were followed


def test_decided_rows_are_never_more_than_the_stored_ones() -> None:
    found = Distribution()
    found.note_listed(Listed((2,) + (0,) * (HISTOGRAM_BINS - 1)))
    found.note_decided((5,) + (1,) * (HISTOGRAM_BINS - 1))
    shown = found.as_json()
    assert (shown["open"][:2], shown["decided"][:2]) == ([0, 0], [2, 0])


def test_ticks_say_what_is_decided_with_the_decision_and_after_a_rebuild(tmp_path: Path) -> None:
    number = histogram_bin(0.9)
    with running_desk(tmp_path / "state", MemoryLog()) as desk:
        board = Board()
        board.distribution.note_listed(Listed(scan(tmp_path / "state" / "flags.sqlite3")))
        follower = CaseFollower(desk, board)

        def shown() -> tuple[int, int]:
            follower.follow()
            found = board.distribution.as_json()
            return found["open"][number], found["decided"][number]

        wait_until(lambda: desk.status().is_ok, what="the desk")
        assert shown() == (4, 0)
        desk.decide(Decision("0-1", "FRAUD"), ANA, "one")
        desk.decide(Decision("0-2", "UNSURE"), ANA, "two")
        assert shown() == (2, 2)
        desk.withdraw("0-2", ANA, "three", None)
        assert shown() == (3, 1)
        before = board.distribution.changes
        board.enter(FeedState.LIVE)  # it has read the topic again
        assert board.distribution.changes == before + 1
        wait_until(lambda: shown() == (3, 1), what="the recount")
