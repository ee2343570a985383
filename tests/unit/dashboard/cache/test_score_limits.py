"""Counts by version and time: what anybody could write to the topic does not displace real days."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboard.cache import score_counts
from dashboard.cache.connection import open_cache
from dashboard.cache.score_counts import (
    DAY_MS,
    MINUTE_MS,
    SCORE_SCHEMA,
    ScoreCounter,
    ScoreKey,
    Tally,
    read_score_counts,
    read_score_versions,
    read_timeseries,
)

TODAY = 20_000
MINUTES = DAY_MS // MINUTE_MS


def now() -> float:
    """Noon of the day."""
    return TODAY * 86_400.0 + 43_200


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "counts.sqlite3"


@pytest.fixture
def db(path: Path) -> Iterator[sqlite3.Connection]:
    found = open_cache(path, SCORE_SCHEMA, 1, "SELECT count(*) FROM minutes")
    yield found
    found.close()


def scores(count: int) -> Tally:
    return Tally(count, 0, 0, {300: count})


def key(version: str, day: int = TODAY, review: float = 0.4, minute: int = 0) -> ScoreKey:
    return ScoreKey(version, review, 0.8, day * MINUTES + minute)


def add(db: sqlite3.Connection, tallies: dict[ScoreKey, Tally]) -> None:
    with db:
        ScoreCounter(db, now).add(tallies)


def scored(path: Path, version: str, days: int = 400) -> int:
    found = read_score_counts(path, version, (TODAY - days) * DAY_MS, TODAY * DAY_MS)
    assert sum(found.bins) == sum(found.days.values())
    return sum(found.bins)


def test_invented_versions_displace_no_day_of_a_model_in_use(
    db: sqlite3.Connection, path: Path
) -> None:
    counter = ScoreCounter(db, now)
    with db:
        counter.add({key("v7", TODAY - day): scores(1000) for day in range(300)})
        for start in range(0, 3000, 150):
            counter.add({key(f"made-up-{start + i}"): scores(1) for i in range(150)})
    assert scored(path, "v7") == 300_000
    assert len(read_score_versions(path)) <= 1001  # v7 and the limit


def test_days_that_no_clock_can_show_are_not_counted_by_time(
    db: sqlite3.Connection, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add(db, {key("v7"): scores(10)})
    ahead = {key("v9", TODAY + 2 + day): scores(5) for day in range(2000)}
    add(db, {**ahead, key("v8", TODAY + 1): scores(3)})
    assert [version for version, _, _ in read_score_versions(path)] == ["v8", "v7"]
    assert scored(path, "v7") == 10
    points = read_timeseries(path, 0, (TODAY + 3000) * DAY_MS, MINUTE_MS)
    assert [point.scored for point in points] == [10, 3]
    assert len([r for r in caplog.records if "days from now" in r.message]) == 1


def test_minutes_of_an_earlier_release_that_are_ahead_go_first(
    db: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_counts, "_MOST_MINUTES", 20)
    with db:
        ahead = [((TODAY + 50) * MINUTES + i, 1, 0) for i in range(15)]
        db.executemany("INSERT INTO minutes VALUES (?, ?, ?)", ahead)
    add(db, {key("v7", minute=minute): scores(1) for minute in range(15)})
    points = read_timeseries(path, 0, (TODAY + 60) * DAY_MS, MINUTE_MS)
    assert [point.start // MINUTE_MS % MINUTES for point in points] == list(range(15))


def test_invented_thresholds_displace_no_real_ones_and_no_score(
    db: sqlite3.Connection, path: Path
) -> None:
    counter = ScoreCounter(db, now)
    with db:
        for start in range(0, 500, 10):
            made_up = {key("v7", review=0.5 + (start + i) / 10_000): scores(1) for i in range(10)}
            counter.add({**made_up, key("v7"): scores(100)})
    found = read_score_counts(path, "v7", TODAY * DAY_MS, TODAY * DAY_MS)
    real = [total for total in found.totals if total.review_threshold == 0.4]
    assert [total.scored for total in real] == [5000]
    assert len(found.totals) <= 50
    assert scored(path, "v7") == 5500  # every score is in the bins


def test_a_year_of_one_model_after_another_is_kept(db: sqlite3.Connection, path: Path) -> None:
    counter = ScoreCounter(db, now)
    with db:
        for day in range(1200):
            counter.add({key(f"v{day // 30}", TODAY - 1200 + day): scores(1000 + day % 7)})
    newest = [(v, first) for v, first, _ in read_score_versions(path)]
    assert newest[0] == ("v39", (TODAY - 30) * DAY_MS)
    assert all(scored(path, f"v{number}") == sum(
        1000 + day % 7 for day in range(number * 30, number * 30 + 30)
    ) for number in range(28, 40))  # fmt: skip
