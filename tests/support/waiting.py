"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEFAULT_TIMEOUT_SECONDS = 90.0  # failures alone wait so long; a crowded machine is ten times slower


def wait_until(
    condition: Callable[[], T | None],
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
    *,
    what: str = "",
    interval: float = 0.02,
) -> T:
    """The first truthy value of ``condition``.

    One that raises ``OSError`` does not hold yet: nobody listens, or the answer is late.

    Raises:
        AssertionError: it stayed falsy for ``timeout`` seconds; names ``what`` was waited for.
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
