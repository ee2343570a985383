"""How this project compiles its loops: decorators that give all kernels the same options.

No fast-math: every addition happens in the order written, with IEEE-754 results. The GIL is
released, so that threads run in parallel. Machine code is cached on disk beside the source, or in
``NUMBA_CACHE_DIR``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a loop over numpy arrays on its first call; division by zero gives infinity."""
    return cast("F", njit(nogil=True, cache=True, error_model="numpy")(function))


def inlined(function: F) -> F:
    """The same for a small function, which is inlined into its callers."""
    return cast("F", njit(nogil=True, cache=True, error_model="numpy", inline="always")(function))
