"""How long to wait before what failed is tried again."""

from __future__ import annotations

from typing import Final

_MAX_DOUBLINGS: Final = 20  # a double's exponent is bounded


def backoff_seconds(failures: int, first: float, last: float) -> float:
    """Seconds to wait after failures in a row; doubles with each one, up to a limit.

    Args:
        failures: so far, at least 1.
        first: seconds after the first failure.
        last: seconds at most.
    """
    return min(first * 2.0 ** min(failures - 1, _MAX_DOUBLINGS), last)
