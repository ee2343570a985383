"""Progress bars on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

T = TypeVar("T")


class _Rate(ProgressColumn):
    """Steps per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


@contextmanager
def counting(
    what: str, total: int | None, count: Callable[[T], int]
) -> Iterator[Callable[[T], None]]:
    """A progress bar with count and rate; call the yielded function with the current state.

    Nothing is drawn if standard error is not a terminal.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
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
