"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEFAULT_TIMEOUT_SECONDS = 30.0


def wait_until(
    condition: Callable[[], T],
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
    *,
    what: str = "",
    interval: float = 0.02,
) -> T:
    """The first truthy value of ``condition``.

    Raises:
        AssertionError: it stayed falsy for ``timeout`` seconds; names ``what`` was waited for.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            name = what or getattr(condition, "__name__", "the condition")
            raise AssertionError(f"{name} did not hold within {timeout:g} s (last: {value!r})")
        time.sleep(interval)
