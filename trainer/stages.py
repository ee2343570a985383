"""The stages of a run: their time, their memory and their progress."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from trainer.memory import peak_bytes, reset_peak

log = logging.getLogger(__name__)

Advance = Callable[[int], None]
Metric = Callable[[str, float, int], None]

LOG_SECONDS: Final = 10.0
"""Between two log lines of a stage that runs on."""

RATE_AFTER_SECONDS: Final = 1.0
"""A rate over less time says nothing about the time left."""

_MEGA: Final = 1_000_000
_MINUTE: Final = 60
_HOUR: Final = 3600
_MIB: Final = 1024 * 1024


def _no_metric(name: str, value: float, step: int) -> None:
    """Nobody tracks the run."""


@dataclass(slots=True)
class Pace:
    """How far a stage is, how fast, and how long it may still take.

    ``is_limit`` says that the stage may end before ``total`` steps, as boosting does. ``before`` of
    the steps were done by earlier runs of the stage.
    """

    unit: str
    total: int | None
    is_limit: bool = False
    clock: Callable[[], float] = time.monotonic
    before: int = 0
    steps: int = field(init=False)
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.clock()
        self.steps = self.before

    def describe(self) -> str:
        """``1,200 of 6,000 trees, 12.5 trees/s, at most 6 min left``; empty before any step."""
        elapsed = self.clock() - self._started
        if self.steps == self.before:
            return ""
        scale, unit = (_MEGA, "MB") if self.unit == "bytes" else (1, self.unit)
        count = f"{self.steps / scale:,.0f}"
        if self.total:
            count += f" of {self.total / scale:,.0f}"
        parts = [f"{count} {unit}"]
        if elapsed >= RATE_AFTER_SECONDS:
            rate = (self.steps - self.before) / elapsed
            parts.append(f"{_rate(rate / scale)} {unit}/s")
            if self.total and self.steps < self.total:
                about = "at most" if self.is_limit else "about"
                parts.append(f"{about} {_duration((self.total - self.steps) / rate)} left")
        return ", ".join(parts)


@dataclass(slots=True)
class StageFacts:
    """The seconds of a stage, and its peak of memory (resident set size)."""

    seconds: float = 0.0
    peak_bytes: int = 0


@dataclass(slots=True)
class Stages:
    """Runs stages one after the other and records how long each took, and its peak of memory.

    On a terminal each stage has a progress bar. Elsewhere a line is logged every ten seconds and
    at the end of each stage. A stage may run several times. ``metric`` receives (name, value, step)
    of the curves of the run.
    """

    console: Console = field(default_factory=lambda: Console(stderr=True))
    measured: dict[str, StageFacts] = field(default_factory=dict)
    metric: Metric = _no_metric
    log_seconds: float = LOG_SECONDS

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds of each stage so far."""
        return {name: stage.seconds for name, stage in self.measured.items()}

    @property
    def total_seconds(self) -> float:
        """The total time of all stages so far."""
        return sum(self.seconds.values())

    def facts(self) -> dict[str, Any]:
        """Seconds and peak of memory (MiB) of each stage so far, for the metadata."""
        return {
            name: {"seconds": round(stage.seconds, 3), "peak_mib": stage.peak_bytes // _MIB}
            for name, stage in self.measured.items()
        }

    def curve(self, name: str) -> Callable[[float, int], None]:
        """A function that reports one curve's (value, step)."""
        return lambda value, step: self.metric(name, value, step)

    @contextmanager
    def stage(
        self,
        name: str,
        total: int | None = None,
        unit: str = "",
        *,
        is_limit: bool = False,
        done: int = 0,
    ) -> Iterator[Advance]:
        """Time a stage; call the yielded function with the number of steps done of ``total``.

        Args:
            name: of the stage.
            total: the number of steps, if known.
            unit: what a step is, in the plural: rows, trees, bytes.
            is_limit: the stage may need fewer steps than ``total``.
            done: how many of the steps earlier runs of the stage did.
        """
        reset_peak()
        started = time.monotonic()
        pace = Pace(unit, total, is_limit, before=done)
        shown = self._bar(name, pace) if self.console.is_terminal else self._lines(name, pace)
        with shown as show:

            def advance(steps: int) -> None:
                pace.steps += steps
                show(steps)

            yield advance
        elapsed = time.monotonic() - started
        facts = self.measured.setdefault(name, StageFacts())
        facts.seconds += elapsed
        facts.peak_bytes = max(facts.peak_bytes, peak_bytes())
        if not self.console.is_terminal:
            log.info("%s done in %.1f s", name, elapsed)

    @contextmanager
    def _bar(self, name: str, pace: Pace) -> Iterator[Advance]:
        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[pace]}"),
        )
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(name, total=pace.total, completed=pace.before, pace="")
            yield lambda steps: progress.update(task, advance=steps, pace=pace.describe())
            if pace.total is None:
                progress.update(task, total=1, completed=1)

    @contextmanager
    def _lines(self, name: str, pace: Pace) -> Iterator[Advance]:
        """Log from a thread: many stages do one long call that reports no steps."""
        done = threading.Event()
        started = time.monotonic()

        def write() -> None:
            while not done.wait(self.log_seconds):
                how_far = pace.describe() or f"running for {_duration(time.monotonic() - started)}"
                log.info("%s: %s", name, how_far)

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        try:
            yield lambda _: None
        finally:
            done.set()
            thread.join()


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _duration(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{max(1, round(seconds))} s"
    if seconds < _HOUR:
        return f"{round(seconds / _MINUTE)} min"
    return f"{seconds / _HOUR:.1f} h"
