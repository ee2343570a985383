"""The stages of a run: timed, shown as progress bars, logged when they end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

log = logging.getLogger(__name__)

Advance = Callable[[int], None]


@dataclass(slots=True)
class Stages:
    """Runs stages one after the other and records how long each took.

    On a terminal each stage has a progress bar; elsewhere the end of each stage is logged.
    """

    console: Console = field(default_factory=lambda: Console(stderr=True))
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def total_seconds(self) -> float:
        """The total time of all stages so far."""
        return sum(self.seconds.values())

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        """Time a stage; call the yielded function with the number of steps done of ``total``."""
        started = time.monotonic()
        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        with Progress(
            *columns, console=self.console, disable=not self.console.is_terminal
        ) as progress:
            task = progress.add_task(name, total=total)
            yield lambda steps: progress.update(task, advance=steps)
            progress.update(task, total=1, completed=1)
        elapsed = time.monotonic() - started
        self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
        if not self.console.is_terminal:
            log.info("%s done in %.1f s", name, elapsed)
