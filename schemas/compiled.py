"""How this project compiles its loops: one decorator, so that all kernels have the same rules.

No fast-math: every addition happens in the order written, with IEEE-754 results. No GIL, so that
threads overlap. Machine code is cached on disk beside the source, or in ``NUMBA_CACHE_DIR``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a loop over numpy arrays on its first call; dividing by zero gives infinity."""
    return cast("F", njit(nogil=True, cache=True, error_model="numpy")(function))


def inlined(function: F) -> F:
    """The same for a small piece that is compiled into its callers."""
    return cast("F", njit(nogil=True, cache=True, error_model="numpy", inline="always")(function))
