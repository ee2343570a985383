"""Progress of long reading: a bar on a terminal, otherwise a line at intervals."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from stream_scorer.audit.run import OnProgress
from stream_scorer.cli.console import note
from stream_scorer.cli.progress import counting

_EVERY_SECONDS: Final = 10.0  # between two lines in a log


@contextmanager
def showing_progress(
    *, quiet: bool, name: str = "verify", what: str = "offsets"
) -> Iterator[OnProgress]:
    """Show progress on standard error; call the yielded function with offsets read and to read.

    With ``quiet``, or if standard error is not a terminal, lines are printed instead of a bar.
    """
    with ExitStack() as stack:
        bar: list[Callable[[int], None]] = []

        def show(done: int, total: int) -> None:
            if not bar:  # the total is known at the first call
                bar.append(stack.enter_context(counting(f"reading {what}", total, int)))
            bar[0](done)

        lines = log_lines(time.monotonic, note, name=name, what=what)
        yield lines if quiet or not sys.stderr.isatty() else show


def log_lines(
    clock: Callable[[], float],
    write: Callable[[str], None],
    every: float = _EVERY_SECONDS,
    *,
    name: str = "verify",
    what: str = "offsets",
) -> OnProgress:
    """Progress as lines with percentage and rate, one every ``every`` seconds."""
    begun = printed = clock()

    def show(done: int, total: int) -> None:
        nonlocal printed
        now = clock()
        if now - printed < every:
            return
        printed = now
        share = 100 * done / total if total else 100.0
        write(f"{name}: {share:.0f} % of {total:,} {what} read, {done / (now - begun):,.0f}/s")

    return show
