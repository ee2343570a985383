"""What a redrive sends with stored progress, and after Kafka has deleted the progress."""

from __future__ import annotations

import base64
import zlib
from dataclasses import replace

import pytest

from stream_scorer.dead_letters.dead_letter import DeadLetter, DeadLetterFilter
from stream_scorer.dead_letters.redrive_plan import Planner
from stream_scorer.dead_letters.redrive_progress import RedriveProgress, parse_progress
from stream_scorer.dead_letters.redrive_retention import (
    DEFAULT_RETENTION_MS,
    MOST_SKEW_MS,
    RETENTION,
    known_since,
    retention_of,
)
from stream_scorer.errors import FatalError, UsageError

NOW = 1_700_000_000_000
MEBIBYTE = 1024 * 1024
HOUR = 3_600_000


def make_dead_letters(*ages_ms: int) -> list[DeadLetter]:
    """Dead letters of these ages at ``NOW``, in partition 0 from offset 0 on."""
    return [
        DeadLetter(0, offset, NOW - age, {"stage": "decode"}, (), b"k", b"v", is_cut=False)
        for offset, age in enumerate(ages_ms)
    ]


def plan(
    dead_letters: list[DeadLetter],
    progress: RedriveProgress,
    selection: DeadLetterFilter = DeadLetterFilter(),  # noqa: B008 - frozen
    *,
    again: bool = False,
) -> tuple[list[int], RedriveProgress, int]:
    """Offsets that are sent, the progress after that, and how many were too old."""
    planner = Planner(selection, {0: progress}, 1_000_000, again=again)
    planned = planner.plan(dead_letters)
    return (
        [x.offset for x in planned.dead_letters],
        planned.progress,
        planner.tally.result().too_old,
    )


@pytest.mark.parametrize(
    ("retention_ms", "young_ms", "old_ms"),
    [
        (DEFAULT_RETENTION_MS, 6 * 24 * HOUR, 6 * 24 * HOUR + 1),
        (24 * HOUR, 12 * HOUR, 12 * HOUR + 1),
        (60_000, 30_000, 30_001),
    ],
)
def test_without_progress_only_recent_dead_letters_are_sent(
    retention_ms: int, young_ms: int, old_ms: int
) -> None:
    fresh = RedriveProgress(known_since=known_since(NOW, retention_ms))
    sent, after, too_old = plan(make_dead_letters(old_ms, young_ms, -HOUR, NOW + 1), fresh)
    assert sent == [1, 2]  # the last one has no timestamp, which is -1 in Kafka
    assert too_old == 2
    assert after == RedriveProgress(0, frozenset({1, 2}), fresh.known_since)


def test_margin_covers_clock_differences() -> None:
    """A dead letter from a fast clock was redriven at once; then the progress was deleted."""
    forgotten = DEFAULT_RETENTION_MS + 1
    (dead_letter,) = make_dead_letters(forgotten - MOST_SKEW_MS)
    fresh = RedriveProgress(known_since=known_since(NOW, DEFAULT_RETENTION_MS))
    assert plan([replace(dead_letter, time=dead_letter.time - 2)], fresh)[0] == []
    assert plan([replace(dead_letter, time=dead_letter.time + HOUR)], fresh)[0] == [0]


def test_uncertainty_outlives_the_run_that_found_no_progress() -> None:
    dead_letters = make_dead_letters(30 * 24 * HOUR, HOUR)
    first = plan(dead_letters, RedriveProgress(known_since=known_since(NOW, DEFAULT_RETENTION_MS)))
    stored = parse_progress(first[1].position, first[1].metadata())
    assert plan(dead_letters, stored) == ([], stored, 1)


def test_again_sends_old_dead_letters_of_unknown_progress_only_once() -> None:
    dead_letters = make_dead_letters(30 * 24 * HOUR, HOUR, 30 * 24 * HOUR)
    progress = RedriveProgress(0, frozenset({1}), NOW - 6 * 24 * HOUR)
    sent, after, too_old = plan(dead_letters, progress, again=True)
    assert (sent, too_old) == ([0, 2], 0)
    assert after.position == 3
    assert plan(dead_letters, after, again=True)[0] == []


def test_with_stored_progress_dead_letters_of_any_age_are_sent() -> None:
    assert plan(make_dead_letters(300 * 24 * HOUR), RedriveProgress())[0] == [0]


def test_dead_letter_left_out_by_a_filter_is_not_counted_as_too_old() -> None:
    fresh = RedriveProgress(known_since=NOW)
    assert plan(make_dead_letters(HOUR), fresh, DeadLetterFilter(stage="schema")) == ([], fresh, 0)


def test_shortest_retention_of_the_brokers_counts() -> None:
    assert retention_of([{RETENTION: "10080"}, {RETENTION: "60", "x": "1"}]) == HOUR
    assert retention_of([]) == retention_of([{"x": "1"}]) == DEFAULT_RETENTION_MS


def test_unlimited_retention_leaves_no_uncertainty() -> None:
    assert known_since(NOW, 2_147_483_647 * 60_000) == 0


@pytest.mark.parametrize(
    "progress",
    [
        RedriveProgress(7, known_since=NOW),
        RedriveProgress(7, frozenset({9, 12}), NOW),
        RedriveProgress(7, frozenset({7 + 8 * MEBIBYTE - 1}), NOW),
        RedriveProgress(7, frozenset({9, 12})),
    ],
)
def test_progress_with_uncertainty_is_restored_from_its_metadata(progress: RedriveProgress) -> None:
    assert parse_progress(7, progress.metadata()) == progress


def test_offset_too_far_after_the_position_is_refused() -> None:
    progress = RedriveProgress(0, frozenset([*range(1, 1000), 9_000_000]))
    with pytest.raises(UsageError, match="since offset 0 to store which"):
        progress.metadata()


def packed(bits: bytes) -> str:
    return "redriven:" + base64.b64encode(zlib.compress(bits, 9)).decode()


@pytest.mark.parametrize(
    "text",
    [
        packed(b"\1" * (MEBIBYTE + 1)),
        packed(b"\1" * 3 * MEBIBYTE),
        packed(b"\1\2\3")[:-4],
        packed(b"\1") + ";",
        "since:",
        "since:x",
        "since:-5",
        "since:1 redriven:",
        "SINCE:1",
    ],
)  # fmt: skip
def test_damaged_metadata_stops_the_redrive(text: str) -> None:
    with pytest.raises(FatalError, match="redrive group"):
        parse_progress(0, text)
