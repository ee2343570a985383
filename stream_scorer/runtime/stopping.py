"""Stopping in time: signals as a flag, and a time limit for clients' ``close``.

The flag is for loops that must not be interrupted inside a client's call. A KeyboardInterrupt
raised within a librdkafka callback gets lost or becomes a SystemError, and process 1 of a container
has no default action for SIGTERM.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def close_within(seconds: float, close: Callable[[], object], name: str) -> None:
    """Call ``close`` in a thread called ``name``; abandon the thread after ``seconds``."""
    thread = threading.Thread(target=close, name=name, daemon=True)
    thread.start()
    thread.join(seconds)


@contextmanager
def stop_flag() -> Iterator[Callable[[], bool]]:
    """A function that returns whether the process received SIGINT or SIGTERM.

    Only the main thread may handle signals; in any other thread it always returns False.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    received: list[int] = []
    before = [signal.signal(number, lambda n, _: received.append(n)) for number in _SIGNALS]
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)
