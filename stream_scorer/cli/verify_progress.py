"""How far an audit is: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from stream_scorer.audit.run import OnProgress
from stream_scorer.cli.console import note
from stream_scorer.cli.progress import counting

_EVERY_SECONDS: Final = 10.0  # a line in a log that nobody watches


@contextmanager
def showing_progress(*, quiet: bool) -> Iterator[OnProgress]:
    """Call what is yielded with the offsets read and the offsets there are, on standard error.

    With ``quiet``, or where nobody watches, there is no bar, only the lines of a long audit.
    """
    with ExitStack() as stack:
        bar: list[Callable[[int], None]] = []

        def show(done: int, total: int) -> None:
            if not bar:  # the total is known from the first call on
                bar.append(stack.enter_context(counting("reading offsets", total, int)))
            bar[0](done)

        lines = log_lines(time.monotonic, note)
        yield lines if quiet or not sys.stderr.isatty() else show


def log_lines(
    clock: Callable[[], float], write: Callable[[str], None], every: float = _EVERY_SECONDS
) -> OnProgress:
    """Progress as lines with share and rate, one every ``every`` seconds."""
    begun = said = clock()

    def show(done: int, total: int) -> None:
        nonlocal said
        now = clock()
        if now - said < every:
            return
        said = now
        share = 100 * done / total if total else 100.0
        write(f"verify: {share:.0f} % of {total:,} offsets read, {done / (now - begun):,.0f}/s")

    return show
