"""Waits for a condition with a deadline, instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEFAULT_TIMEOUT_SECONDS = 90.0  # only failures wait this long; a busy machine is ten times slower


def wait_until(
    condition: Callable[[], T | None],
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
    *,
    what: str = "",
    interval: float = 0.02,
) -> T:
    """The first truthy value of ``condition``.

    A condition that raises ``OSError`` counts as false: the server is not ready yet.

    Raises:
        AssertionError: it stayed falsy for ``timeout`` seconds; the message contains ``what``.
    """
    deadline = time.monotonic() + timeout
    while True:
        found: T | OSError | None
        try:
            found = value = condition()
            if value:
                return value
        except OSError as error:
            found = error
        if time.monotonic() > deadline:
            name = what or getattr(condition, "__name__", "the condition")
            raise AssertionError(f"{name} did not hold within {timeout:g} s (last: {found!r})")
        time.sleep(interval)
