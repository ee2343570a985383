"""Hands a batch over and waits for the answer, in one call without the GIL.

Each time that a thread wants the GIL back, the loop has to give it up and waits until the thread
was woken, which takes some hundred microseconds. Three calls of the system, one after the other,
cost the loop twice as much as this one (measured).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import types
from numpy.typing import NDArray

from schemas.compiled import compiled

FAILED: Final = -1

_memcpy = types.ExternalFunction("memcpy", types.intp(types.intp, types.intp, types.intp))
_write = types.ExternalFunction("write", types.intp(types.intc, types.intp, types.intp))
_read = types.ExternalFunction("read", types.intp(types.intc, types.intp, types.intp))


@compiled
def exchange(
    sources: NDArray[np.int64],
    sizes: NDArray[np.int64],
    places: NDArray[np.int64],
    target: NDArray[np.uint8],
    connection: int,
    message: NDArray[np.uint8],
    answer: NDArray[np.uint8],
) -> int:
    """Copy ``sizes`` bytes from each address to its place, send the message, and receive.

    Returns:
        Bytes of the answer, which may be a part of it; 0: the other side has ended; ``FAILED``.
    """
    begin = target.ctypes.data
    for i in range(len(sources)):
        _memcpy(begin + places[i], sources[i], sizes[i])
    sent = 0
    while sent < len(message):
        done = _write(np.int32(connection), message.ctypes.data + sent, len(message) - sent)
        if done <= 0:
            return FAILED
        sent += done
    received: int = _read(np.int32(connection), answer.ctypes.data, len(answer))
    return received
