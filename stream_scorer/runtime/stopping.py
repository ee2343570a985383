"""Ending in time: signals as a flag, and clients whose close knows no limit.

The flag is for loops that must not be interrupted inside a client's call: a
KeyboardInterrupt that is raised within a librdkafka callback gets lost or becomes a SystemError,
and process 1 of a container has no default action for SIGTERM.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def close_within(seconds: float, close: Callable[[], object], name: str) -> None:
    """Call ``close`` in a thread of that name, which is left behind if it takes longer."""
    thread = threading.Thread(target=close, name=name, daemon=True)
    thread.start()
    thread.join(seconds)


@contextmanager
def stop_flag() -> Iterator[Callable[[], bool]]:
    """A function that says whether the process was told to stop; main thread only.

    Outside the main thread, which alone may handle signals, it always says no.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    told: list[int] = []
    before = [signal.signal(number, lambda n, _: told.append(n)) for number in _SIGNALS]
    try:
        yield lambda: bool(told)
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)
