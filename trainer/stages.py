"""The stages of a run: their time, their memory and their progress."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from trainer.memory import peak_bytes, reset_peak

log = logging.getLogger(__name__)

Advance = Callable[[int], None]

LOG_SECONDS: Final = 30.0
"""How often the progress of a long stage is logged where there is no terminal."""

_MIB: Final = 1024 * 1024


@dataclass(slots=True)
class StageFacts:
    """The seconds of a stage, and its peak of memory (resident set size)."""

    seconds: float = 0.0
    peak_bytes: int = 0


@dataclass(slots=True)
class Stages:
    """Runs stages one after the other and records how long each took, and its peak of memory.

    On a terminal each stage has a progress bar; elsewhere the end of each stage is logged, and the
    progress of a long one every half minute. A stage may run several times.
    """

    console: Console = field(default_factory=lambda: Console(stderr=True))
    measured: dict[str, StageFacts] = field(default_factory=dict)

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

    @contextmanager
    def stage(self, name: str, total: int | None = None, done: int = 0) -> Iterator[Advance]:
        """Time a stage; call the yielded function with the number of steps done of ``total``.

        ``done`` of them were done before, by earlier runs of the stage.
        """
        reset_peak()
        started = time.monotonic()
        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(),
            TaskProgressColumn(),
            _RateColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        is_shown = self.console.is_terminal
        with Progress(*columns, console=self.console, disable=not is_shown) as progress:
            task = progress.add_task(name, total=total, completed=done)
            logged = _LoggedProgress(name, total, done, started)

            def advance(steps: int) -> None:
                progress.update(task, advance=steps)
                if not is_shown:
                    logged.advance(steps)

            yield advance
            if total is None:
                progress.update(task, total=1, completed=1)
        elapsed = time.monotonic() - started
        facts = self.measured.setdefault(name, StageFacts())
        facts.seconds += elapsed
        facts.peak_bytes = max(facts.peak_bytes, peak_bytes())
        if not is_shown:
            log.info("%s done in %.1f s", name, elapsed)


class _RateColumn(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        """The rate, once there is one."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None or task.total is None else f"{format_rate(speed)}/s")


@dataclass(slots=True)
class _LoggedProgress:
    """Logs the progress of a stage from time to time."""

    name: str
    total: int | None
    done: int
    started: float
    before: int = field(init=False)
    logged_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.before, self.logged_at = self.done, self.started

    def advance(self, steps: int) -> None:
        """Count, and log if the last line was half a minute ago."""
        self.done += steps
        now = time.monotonic()
        if self.total is None or now - self.logged_at < LOG_SECONDS:
            return
        self.logged_at = now
        rate = (self.done - self.before) / (now - self.started)
        log.info(
            "%s: %.0f %%, %s/s, about %.0f s left",
            self.name,
            100 * self.done / max(self.total, 1),
            format_rate(rate),
            max(self.total - self.done, 0) / rate if rate else 0.0,
        )


def format_rate(rate: float) -> str:
    """A rate in three digits: 0.52, 7.31, 52.1, 1.2k, 3.4M."""
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if rate >= limit:
            return f"{rate / limit:.3g}{unit}"
    return f"{rate:.3g}"
