"""Progress: what a person reads while a stage runs, on a terminal and in a log."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from tests.support.waiting import wait_until
from trainer.stages import Pace, Stages


def pace(unit: str, total: int | None, steps: int, seconds: float, **more: bool) -> Pace:
    """A stage that has done ``steps`` in ``seconds``."""
    times = iter([100.0, *[100.0 + seconds] * 9])
    made = Pace(unit, total, clock=lambda: next(times), **more)
    made.steps = steps
    return made


@pytest.mark.parametrize(
    ("unit", "total", "steps", "seconds", "text"),
    [
        ("rows", 40_000, 10_000, 5.0, "10,000 of 40,000 rows, 2,000 rows/s, about 15 s left"),
        ("bytes", 600_000_000, 60_000_000, 30.0, "60 of 600 MB, 2 MB/s, about 4 min left"),
        ("trees", 600, 3, 60.0, "3 of 600 trees, 0.05 trees/s, about 3.3 h left"),
        ("rows", None, 10_000, 5.0, "10,000 rows, 2,000 rows/s"),
        ("rows", 100, 100, 5.0, "100 of 100 rows, 20 rows/s"),
        ("rows", 100, 50, 0.5, "50 of 100 rows"),
        ("rows", 100, 0, 50.0, ""),
    ],
)
def test_pace_is_steps_rate_and_time_left(
    unit: str, total: int | None, steps: int, seconds: float, text: str
) -> None:
    assert pace(unit, total, steps, seconds).describe() == text


def test_stage_that_may_end_early_says_at_most() -> None:
    text = pace("trees", 600, 300, 60.0, is_limit=True).describe()
    assert text == "300 of 600 trees, 5 trees/s, at most 1 min left"


def test_long_stage_is_logged_while_it_runs(caplog: pytest.LogCaptureFixture) -> None:
    stages = Stages(Console(file=io.StringIO()), log_seconds=0.01)
    with caplog.at_level(logging.INFO), stages.stage("fit", 600, "trees") as advance:
        wait_until(lambda: "fit: running for 1 s" in caplog.messages, 20)
        advance(3)
        wait_until(lambda: "fit: 3 of 600 trees" in caplog.messages, 20)
    assert caplog.messages[-1].startswith("fit done in ")
    assert stages.seconds["fit"] == stages.total_seconds > 0


def test_stage_that_fails_is_no_longer_logged(caplog: pytest.LogCaptureFixture) -> None:
    stages = Stages(Console(file=io.StringIO()), log_seconds=0.01)
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(ValueError, match="no rows"),
        stages.stage("ingest"),
    ):
        raise ValueError("no rows")
    before = len(caplog.messages)
    with caplog.at_level(logging.INFO), stages.stage("other"):
        wait_until(lambda: "other: running for 1 s" in caplog.messages, 20)
    assert not any(text.startswith("ingest") for text in caplog.messages[before:])


def test_terminal_shows_a_bar_with_the_pace_and_no_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    screen = io.StringIO()
    stages = Stages(Console(file=screen, force_terminal=True, width=150), log_seconds=0.01)
    with caplog.at_level(logging.INFO), stages.stage("fit", 600, "trees") as advance:
        advance(300)
    assert "300 of 600 trees" in screen.getvalue()
    assert caplog.messages == []


def test_curve_reports_to_whoever_tracks_the_run() -> None:
    points: list[tuple[str, float, int]] = []
    stages = Stages(metric=lambda *point: points.append(point))
    curve = stages.curve("fold_2.validation_average_precision")
    curve(0.25, 1)
    curve(0.5, 2)
    assert points == [
        ("fold_2.validation_average_precision", 0.25, 1),
        ("fold_2.validation_average_precision", 0.5, 2),
    ]
