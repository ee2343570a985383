"""Windows of whole days, scores a day, and rows as columns."""

from __future__ import annotations

import math

import numpy as np

from dashboard.whatif.curve import count_alerts
from dashboard.whatif.rows import (
    BINS,
    DAY_MS,
    LabelledScore,
    ScoreCounts,
    Thresholds,
    Volume,
    build_labelled,
    daily_volume,
    window_of,
)

TODAY = 20_000


def test_window_ends_as_many_days_ago_as_labels_need() -> None:
    window = window_of(7, 14, TODAY)
    assert (window.first, window.last) == (TODAY - 20, TODAY - 14)
    assert (window.since_ms, window.until_ms) == ((TODAY - 20) * DAY_MS, (TODAY - 13) * DAY_MS)


def test_scores_a_day_leave_out_today_and_the_first_day_of_counting() -> None:
    window = window_of(7, 0, TODAY)
    days = {TODAY - 3: 5, TODAY - 2: 1000, TODAY - 1: 2000, TODAY: 7}
    assert daily_volume(days, window, TODAY - 3, TODAY) == Volume(1500.0, False)


def test_scores_a_day_use_the_first_day_of_the_window_if_counting_began_before() -> None:
    window = window_of(2, 1, TODAY)
    days = {TODAY - 2: 100, TODAY - 1: 300, TODAY: 7}
    assert daily_volume(days, window, TODAY - 9, TODAY) == Volume(200.0, False)


def test_day_without_scores_between_others_counts() -> None:
    window = window_of(7, 0, TODAY)
    days = {TODAY - 4: 1, TODAY - 3: 600, TODAY - 1: 300}
    assert daily_volume(days, window, TODAY - 4, TODAY) == Volume(300.0, False)


def test_without_a_whole_day_the_count_so_far_is_partial() -> None:
    window = window_of(7, 0, TODAY)
    assert daily_volume({TODAY: 40}, window, TODAY, TODAY) == Volume(40.0, True)
    assert daily_volume({TODAY - 30: 40}, window, TODAY - 30, TODAY) == Volume(0.0, True)


def test_several_thresholds_of_one_version_leave_the_count_to_the_bins() -> None:
    bins = np.zeros(BINS, np.int64)
    bins[[600, 601, 999]] = [3, 5, 1]
    counts = ScoreCounts(bins, None, None, 1.0)
    found = count_alerts(counts, Thresholds(0.6005, 0.9), np.array([0.6, 0.6005, 0.601, 0.999]))
    assert found.tolist() == [9, 6, 6, 1]


def test_rows_become_columns_in_order_and_bad_scores_are_left_out() -> None:
    rows = [
        LabelledScore(0.2, None, True, False),
        LabelledScore(math.nan, True, True, False),
        LabelledScore(7.0, True, True, False),
        LabelledScore(0.9, True, False, True, amount=3.0),
        LabelledScore(0.5, False, False, True, is_sampled=True, weight=20.0),
    ]
    found = build_labelled(rows, unscored=2)
    assert found.scores.tolist() == [0.9, 0.5, 0.2]
    assert found.labels.tolist() == [1, 0, -1]
    assert found.is_reviewed.tolist() == [False, False, True]
    assert found.is_reported.tolist() == [True, True, False]
    assert found.is_sampled.tolist() == [False, True, False]
    assert found.weights.tolist() == [1.0, 20.0, 1.0]
    assert np.isnan(found.amounts).tolist() == [False, True, True]
    assert (len(found), found.unscored) == (3, 2)
