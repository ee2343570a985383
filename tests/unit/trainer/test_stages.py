"""Stages of a run: time, memory, progress."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from trainer.memory import peak_bytes, reset_peak, return_freed_memory
from trainer.stages import Stages, format_rate

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
    held = np.ones(64 * MIB // 8)
    high = peak_bytes()
    del held
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


def test_long_stage_logs_share_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    monkeypatch.setattr("trainer.stages.time.monotonic", lambda: now[0])
    with (
        caplog.at_level(logging.INFO, "trainer.stages"),
        quiet_stages().stage("fit", 400, done=100) as advance,
    ):
        for _ in range(100):
            now[0] += 0.5
            advance(1)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["fit: 40 %, 2/s, about 120 s left", "fit done in 50.0 s"]


def test_terminal_shows_rate_and_time_left() -> None:
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=120)
    with Stages(console).stage("fit", 300, done=100) as advance:
        for _ in range(100):
            advance(1)
    shown = terminal.getvalue()
    assert "fit" in shown
    assert "67%" in shown
    assert "/s" in shown


@pytest.mark.parametrize(
    ("rate", "text"), [(0.523, "0.523"), (52.14, "52.1"), (1234, "1.23k"), (3.4e6, "3.4M")]
)
def test_rates_have_three_digits(rate: float, text: str) -> None:
    assert format_rate(rate) == text
