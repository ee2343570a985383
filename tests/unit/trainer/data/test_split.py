"""Expanding windows in time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_scorer.errors import UsageError
from trainer.data.split import Split, split_by_time
from trainer.fitting.plan import SplitPlan

DAY = 86_400


def make_times(n: int, days: float) -> NDArray[np.int64]:
    return np.linspace(DAY, DAY + days * DAY, n).astype(np.int64)


def every(n: int, step: int) -> NDArray[np.int8]:
    labels: NDArray[np.int8] = (np.arange(n) % step == 0).astype(np.int8)
    return labels


def assert_sound(split: Split, times: NDArray[np.int64], labels: NDArray[np.int8]) -> None:
    """Each part has both classes and starts a gap after the previous one ended."""
    ends = []
    for fold in split.folds:
        assert fold.train.start == 0
        for part in fold.parts:
            assert 0 < labels[part].sum() < part.stop - part.start
        for before, after in ((fold.train, fold.validation), (fold.validation, fold.test)):
            gap = times[after.start] - times[before.stop - 1]
            assert gap > 0
            assert gap >= split.gap_seconds
        ends.append(fold.test)
    for before, after in itertools.pairwise(ends):
        assert before.stop == after.start
    assert ends[-1].stop == len(times)
    assert split.test == slice(ends[0].start, len(times))


def test_windows_expand_and_their_tests_cover_the_newest_rows() -> None:
    times, labels = make_times(10_000, 180), every(10_000, 20)
    split = split_by_time(times, labels, SplitPlan())
    assert_sound(split, times, labels)
    assert split.gap_days == 3
    assert split.notes == ()
    assert [fold.test.stop - fold.test.start for fold in split.folds] == [1500] * 3
    shares = [fold.train.stop / 10_000 for fold in split.folds]
    assert shares == pytest.approx([0.437, 0.564, 0.692], abs=0.01)
    watched = [fold.validation.stop - fold.validation.start for fold in split.folds]
    seen = [fold.validation.stop for fold in split.folds]
    assert watched == pytest.approx([0.15 * n for n in seen], rel=0.01)


def test_rows_that_are_not_learned_from_move_no_window() -> None:
    times, labels = make_times(10_000, 180), every(10_000, 20)
    whole, rest = (split_by_time(times, labels, SplitPlan(), first) for first in (0, 1000))
    assert (whole.first, rest.first) == (0, 1000)
    for one, other in zip(whole.folds, rest.folds, strict=True):
        assert other.train == slice(1000, one.train.stop)
        assert (other.validation, other.test) == (one.validation, one.test)
    assert rest.facts(times, labels)["train"]["first_seconds"] == times[1000]


def test_too_many_rows_that_are_not_learned_from_are_an_error_that_counts_them() -> None:
    times, labels = make_times(400, 180), every(400, 20)
    with pytest.raises(UsageError, match="of which the first 390 are not learned from"):
        split_by_time(times, labels, SplitPlan(), 390)


@pytest.mark.parametrize(
    ("plan", "shares"),
    [
        (SplitPlan(folds=1), [0.15]),
        (SplitPlan(folds=2), [0.15, 0.15]),
        (SplitPlan(folds=5), [0.09] * 5),
        (SplitPlan(folds=2, test_share=0.5), [0.25, 0.25]),
    ],
)
def test_share_of_the_test_windows_follows_their_number(
    plan: SplitPlan, shares: list[float]
) -> None:
    times, labels = make_times(10_000, 180), every(10_000, 20)
    split = split_by_time(times, labels, plan)
    assert_sound(split, times, labels)
    found = [(fold.test.stop - fold.test.start) / 10_000 for fold in split.folds]
    assert found == pytest.approx(shares, abs=0.001)


def test_rows_of_the_same_second_stay_on_the_same_side() -> None:
    times = np.sort(np.random.default_rng(0).integers(0, 40, 4000)) * 3600
    labels = every(4000, 7)
    split = split_by_time(times, labels, SplitPlan(gap_days=0))
    assert_sound(split, times, labels)


def test_short_data_shrinks_the_gap() -> None:
    times, labels = make_times(1000, 2), every(1000, 10)
    split = split_by_time(times, labels, SplitPlan())
    assert split.gap_seconds == pytest.approx(0.02 * 2 * DAY)
    assert_sound(split, times, labels)


def test_frauds_in_one_period_move_the_cuts_there() -> None:
    times = make_times(1000, 100)
    labels = np.zeros(1000, np.int8)
    labels[100:500:10] = 1
    split = split_by_time(times, labels, SplitPlan(gap_days=0))
    assert len(split.folds) == 3
    assert_sound(split, times, labels)
    assert split.test.start < 500


def test_too_few_frauds_for_all_windows_give_fewer_and_a_note() -> None:
    times = make_times(1000, 100)
    labels = every(1000, 16)
    split = split_by_time(times, labels, SplitPlan())
    assert len(split.folds) == 2
    assert_sound(split, times, labels)
    assert any(f"{len(split.folds)} of 3 test windows" in note for note in split.notes)


def test_no_gap_is_the_last_resort_and_noted() -> None:
    times = make_times(1000, 100)
    labels = np.zeros(1000, np.int8)
    labels[[500, 510, 520]] = 1
    split = split_by_time(times, labels, SplitPlan(folds=1))
    assert split.gap_seconds == 0
    assert any("without a gap" in note for note in split.notes)


def test_data_that_cannot_be_split_is_refused() -> None:
    labels = np.array([0, 1] * 20, np.int8)
    with pytest.raises(UsageError, match="cannot split 40 rows with 20 frauds by time"):
        split_by_time(np.full(40, 5), labels, SplitPlan())


def test_facts_describe_the_first_window_and_all_test_rows() -> None:
    times, labels = make_times(1000, 100), every(1000, 10)
    split = split_by_time(times, labels, SplitPlan())
    facts = split.facts(times, labels)
    assert facts["test"]["rows"] == 450
    assert facts["test"]["frauds"] == int(labels[550:].sum())
    assert facts["train"]["last_seconds"] < facts["validation"]["first_seconds"]
    assert facts["validation"]["last_seconds"] < facts["test"]["first_seconds"]
    assert facts["test"]["last_seconds"] == int(times[-1])
