"""SIGINT and SIGTERM as a flag, for loops that must not be interrupted inside a client's call.

A KeyboardInterrupt that is raised within a librdkafka callback gets lost or becomes a
SystemError, and process 1 of a container has no default action for SIGTERM.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


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
