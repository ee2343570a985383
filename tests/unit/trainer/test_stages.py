"""Stages of a run: time, memory, and what a person reads while one runs."""

from __future__ import annotations

import io
import logging
import mmap
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.support.waiting import wait_until
from trainer.memory import peak_bytes, reset_peak, return_freed_memory
from trainer.stages import Pace, Stages

MIB = 1024 * 1024


def quiet_stages() -> Stages:
    return Stages(Console(file=io.StringIO()))


def test_a_stage_that_runs_twice_adds_its_seconds_and_keeps_its_highest_peak() -> None:
    stages = quiet_stages()
    with stages.stage("fit"):
        held = np.ones(40 * MIB // 8)
    high = stages.measured["fit"].peak_bytes
    before = stages.seconds["fit"]
    del held
    with stages.stage("fit"):
        pass
    assert stages.seconds["fit"] > before
    assert stages.measured["fit"].peak_bytes >= high
    assert stages.facts()["fit"]["peak_mib"] >= high // MIB > 40
    assert stages.total_seconds == stages.seconds["fit"]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_peak_of_memory_is_that_since_the_reset() -> None:
    reset_peak()
    with mmap.mmap(-1, 64 * MIB) as held:  # goes back to the system at its end, unlike an array
        held.write(bytes(64 * MIB))
        high = peak_bytes()
    reset_peak()
    assert peak_bytes() < high - 50 * MIB


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_freed_memory_goes_back_to_the_system() -> None:
    held = [np.ones(1000) for _ in range(8000)]
    keeper = np.ones(1000)  # above the others on the heap, so that it cannot shrink by itself
    del held
    return_freed_memory()
    reset_peak()
    before = peak_bytes()
    assert keeper.sum() == 1000
    held = [np.ones(1000) for _ in range(8000)]
    assert peak_bytes() > before + 40 * MIB
    del held


def test_peak_of_memory_without_proc_is_that_since_the_start(tmp_path: Path) -> None:
    reset_peak(tmp_path / "nowhere")
    assert peak_bytes(tmp_path / "nowhere") >= peak_bytes() // 2


def pace(unit: str, total: int | None, steps: int, seconds: float, **more: bool) -> Pace:
    """A stage that has done ``steps`` in ``seconds``."""
    times = iter([100.0, *[100.0 + seconds] * 9])
    made = Pace(unit, total, clock=lambda: next(times), **more)
    made.steps += steps
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


def test_steps_of_earlier_runs_count_as_done_and_not_for_the_rate() -> None:
    times = iter([100.0, 150.0, 150.0])
    made = Pace("trees", 400, clock=lambda: next(times), before=100)
    assert made.describe() == ""
    made.steps += 100
    assert made.describe() == "200 of 400 trees, 2 trees/s, about 2 min left"


def test_long_stage_is_logged_while_it_runs(caplog: pytest.LogCaptureFixture) -> None:
    stages = Stages(Console(file=io.StringIO()), log_seconds=0.01)
    with caplog.at_level(logging.INFO), stages.stage("fit", 600, "trees") as advance:
        wait_until(lambda: "fit: running for 1 s" in caplog.messages)
        advance(3)
        wait_until(lambda: "fit: 3 of 600 trees" in caplog.messages)
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
        wait_until(lambda: "other: running for 1 s" in caplog.messages)
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
