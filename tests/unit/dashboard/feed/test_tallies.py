"""Every score is counted by version, minute and bin, as a full decode would count it."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.cache import score_counts
from dashboard.cache.flag_table import Counts, FlagWriter
from dashboard.cache.score_counts import (
    DAY_MS,
    MINUTE_MS,
    ScoreKey,
    Tally,
    bin_of,
    read_score_counts,
    read_score_versions,
    read_timeseries,
)
from dashboard.feed.reading import FlagReader, Unsaved
from schemas.resolver import LocalSchemas
from tests.support.dashboard_kit import encode_score, make_score

DAY = 20_000 * DAY_MS
TIMES = st.sampled_from([0, 1, -1, 2**40, -(2**62), 2**62]).flatmap(
    lambda start: st.integers(start, start + 5 * MINUTE_MS)
) | st.integers(DAY, DAY + 3_000_000)


def read(values: list[bytes]) -> tuple[Unsaved, Counts]:
    unsaved, counts = Unsaved(), Counts()
    reader = FlagReader("fraud-scores", LocalSchemas("fraud_score"), "transactions")
    records = [(0, i, value) for i, value in enumerate(values)]
    for start in range(0, len(records), 7):
        reader.read(records[start : start + 7], unsaved, counts)
    return unsaved, counts


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.1, 0.57, 0.62, 0.95, 1.0]), TIMES,
                  st.sampled_from(["v7", "v8", "version " * 12, ""]), st.sampled_from([0.4, 0.62])),
        max_size=40,
    )
)  # fmt: skip
def test_tallies_equal_those_of_the_full_records(
    rows: list[tuple[float, int, str, float]],
) -> None:
    records = [
        make_score(score, scored_at=time, model_version=version, review_threshold=review)
        for score, time, version, review in rows
    ]
    unsaved, counts = read([encode_score(record) for record in records])
    expected: Counter[tuple[ScoreKey, int]] = Counter()
    for record in records:
        key = ScoreKey(
            record["model_version"], record["review_threshold"], record["block_threshold"],
            record["scored_at"] // MINUTE_MS,
        )  # fmt: skip
        expected[key, bin_of(record["score"])] += 1
    found = {(key, b): n for key, tally in unsaved.tallies.items() for b, n in tally.bins.items()}
    assert found == expected
    tallies = unsaved.tallies.values()
    assert sum(tally.scored for tally in tallies) == counts.scored == len(records)
    assert sum(tally.flagged for tally in tallies) == counts.flagged
    assert sum(tally.blocked for tally in tallies) == sum(r["score"] >= 0.8 for r in records)


def test_truncated_record_and_thresholds_that_are_no_numbers_are_unreadable() -> None:
    value = encode_score(make_score(0.1))
    strange = encode_score(make_score(0.9, review_threshold=math.nan))
    unsaved, counts = read([value, value[:30], value[:-60], strange, value])
    assert (counts.scored, counts.unreadable, unsaved.flags) == (2, 3, [])
    assert sum(tally.scored for tally in unsaved.tallies.values()) == 2


@given(st.integers(0, 1000), st.sampled_from([-1, 0, 1]))
def test_score_is_at_least_a_threshold_of_three_digits_if_its_bin_is(step: int, side: int) -> None:
    threshold = step / 1000
    score = threshold if side == 0 else math.nextafter(threshold, side * math.inf)
    if 0 <= score <= 1 and step < 1000:
        assert (bin_of(score) >= step) == (score >= threshold)


def tally(*scores: float) -> Tally:
    made = Tally()
    for score in scores:
        made.add(score, is_flagged=score >= 0.4, is_blocked=score >= 0.8)
    return made


def test_counts_are_read_by_version_and_day_and_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "flags.sqlite3"
    day = DAY // MINUTE_MS
    for _ in range(2):
        writer = FlagWriter(path, keep=1000)
        tallies = {
            ScoreKey("v7", 0.4, 0.8, day): tally(0.1, 0.4, 0.9),
            ScoreKey("v7", 0.4, 0.8, day + 1441): tally(0.1),
            ScoreKey("v7", 0.5, 0.8, day + 1442): tally(0.4),
            ScoreKey("v8", 0.4, 0.8, day + 1): tally(1.0),
        }
        writer.save([], {0: 1}, Counts(), tallies)
        writer.close()
    first = read_score_counts(path, "v7", DAY + 5, DAY + 6)
    assert (first.since, first.until) == (DAY, DAY + DAY_MS)
    assert first.totals == [(0.4, 0.8, 6, 4, 2)]
    assert {i: n for i, n in enumerate(first.bins) if n} == {100: 2, 400: 2, 900: 2}
    both = read_score_counts(path, "v7", DAY, DAY + DAY_MS)
    assert both.totals == [(0.4, 0.8, 8, 4, 2), (0.5, 0.8, 2, 2, 0)]
    assert both.days == {DAY: 6, DAY + DAY_MS: 4}
    assert sum(read_score_counts(path, "v9", DAY, DAY).bins) == 0
    assert read_score_versions(path) == [("v7", DAY, DAY + DAY_MS), ("v8", DAY, DAY)]
    assert read_timeseries(path, DAY, DAY + DAY_MS, MINUTE_MS) == [
        (DAY, 6, 4),
        (DAY + MINUTE_MS, 2, 2),
    ]
    assert read_timeseries(path, DAY, DAY + 2 * DAY_MS, DAY_MS) == [
        (DAY, 8, 6),
        (DAY + DAY_MS, 4, 2),
    ]


def test_oldest_days_and_minutes_are_deleted_beyond_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, most in (("_MOST_GROUPS", 10), ("_NEWEST_GROUPS", 5), ("_LARGEST_GROUPS", 4)):
        monkeypatch.setattr(score_counts, name, most)
    monkeypatch.setattr(score_counts, "_MOST_MINUTES", 10)
    writer = FlagWriter(tmp_path / "flags.sqlite3", keep=1000)
    for day in range(25):
        key = ScoreKey("v7", 0.4, 0.8, day * 1440)
        writer.save([], {0: day}, Counts(), {key: tally(0.1)})
    (version,) = read_score_versions(writer.path)
    assert version[2] == 24 * DAY_MS
    assert 24 - version[1] // DAY_MS < 10
    minutes = read_timeseries(writer.path, 0, 25 * DAY_MS, MINUTE_MS)
    assert 9 <= len(minutes) <= 11
    assert minutes[-1].start == 24 * DAY_MS
