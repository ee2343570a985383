"""Progress on standard error: a bar on a terminal, otherwise lines at intervals."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Final, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from stream_scorer.cli.console import note

T = TypeVar("T")

OnProgress = Callable[[int, int], None]
"""Called with the number of offsets read so far and the number of offsets to read."""

_EVERY_SECONDS: Final = 10.0  # between two lines in a log


class _Rate(ProgressColumn):
    """Steps per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


@contextmanager
def counting(
    what: str, total: int | None, count: Callable[[T], int]
) -> Iterator[Callable[[T], None]]:
    """A progress bar with count, rate and times; call the yielded function with the state.

    Nothing is drawn if standard error is not a terminal.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        *([] if total is None else [TimeRemainingColumn()]),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda state: bar.update(task, completed=count(state))


@contextmanager
def adding(what: str) -> Iterator[Callable[[int], None]]:
    """A count without a known total; call the yielded function with each increment."""
    seen = 0
    with counting(what, None, int) as show:

        def more(count: int) -> None:
            nonlocal seen
            seen += count
            show(seen)

        yield more


@contextmanager
def showing_progress(command: str, *, quiet: bool, what: str = "offsets") -> Iterator[OnProgress]:
    """Show progress on standard error; call the yielded function with offsets read and to read.

    With ``quiet``, or if standard error is not a terminal, lines are printed instead of a bar.
    """
    with ExitStack() as stack:
        bar: list[Callable[[int], None]] = []

        def show(done: int, total: int) -> None:
            if not bar:  # the total is known at the first call
                bar.append(stack.enter_context(counting(f"reading {what}", total, int)))
            bar[0](done)

        lines = log_lines(command, time.monotonic, note)
        yield lines if quiet or not sys.stderr.isatty() else show


def log_lines(
    command: str,
    clock: Callable[[], float],
    write: Callable[[str], None],
    every: float = _EVERY_SECONDS,
) -> OnProgress:
    """Progress as lines with percentage, rate and time left, one every ``every`` seconds."""
    begun = printed = clock()

    def show(done: int, total: int) -> None:
        nonlocal printed
        now = clock()
        if now - printed < every:
            return
        printed = now
        share = 100 * done / total if total else 100.0
        rate = done / (now - begun)
        left = f", about {_duration((total - done) / rate)} left" if 0 < done < total else ""
        write(f"{command}: {share:.0f} % of {total:,} offsets read, {rate:,.0f}/s{left}")

    return show


def _duration(seconds: float) -> str:
    """``42 s``, or hours, minutes and seconds from a minute on."""
    return f"{seconds:.0f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))
