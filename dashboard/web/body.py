"""Reads request bodies with limits on size, time, and the memory of all bodies together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from fastapi import Request

from dashboard.web.problems import Problem

BODY_SECONDS: Final = 30.0
"""Timeout for a whole body. The largest body then needs 350 kB/s. Without it a client that sends a
byte now and then could keep a connection open forever."""

BODIES_BYTES: Final = 128 * 1024 * 1024
"""Limit of all bodies that one process holds at a time: 12 of the largest, thousands of typical
ones. Without it, all allowed connections could send the largest body at once and exhaust memory."""


class BodyBudget:
    """Limits the total size of the request bodies in memory. Used only on the event loop.

    A body counts as its bytes arrive, so a client cannot use up the budget with a large
    Content-Length alone.
    """

    def __init__(self, max_bytes: int = BODIES_BYTES) -> None:
        self._max_bytes = max_bytes
        self.held = 0
        """Bytes currently in use."""

    @contextmanager
    def track(self) -> Iterator[Callable[[int], None]]:
        """Track one body. Yields a function to call with the size of each chunk.

        That function raises Problem (503) if the chunk exceeds the budget. Leaving the context
        returns the bytes.
        """
        added = 0

        def add(count: int) -> None:
            nonlocal added
            if self.held + count > self._max_bytes:
                raise Problem(
                    503,
                    f"the request bodies in progress reached the limit of {self._max_bytes:,} "
                    "bytes: retry later",
                    kind="too-many-bodies",
                    headers={"Retry-After": "1", "Connection": "close"},  # the rest is not read
                )
            self.held += count
            added += count

        try:
            yield add
        finally:
            self.held -= added


async def read_body(
    request: Request, max_bytes: int, add: Callable[[int], None] | None = None
) -> bytes:
    """Read the body. Bytes are counted as they arrive, whatever Content-Length says.

    Args:
        request: a request whose body has not been read.
        max_bytes: the largest body allowed.
        add: from :meth:`BodyBudget.track`.

    Raises:
        Problem: 413 if the body is too large, 408 if it takes too long, 503 if ``add`` has no
            budget left.
    """
    too_large = Problem(
        413,
        f"the body is larger than {max_bytes:,} bytes: send fewer rows per request",
        headers={"Connection": "close"},  # the rest of the body is not read
    )
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                if len(body) + len(chunk) > max_bytes:
                    raise too_large
                if add is not None:
                    add(len(chunk))
                body += chunk
    except TimeoutError:
        raise Problem(
            408,
            f"the body did not arrive within {BODY_SECONDS:.0f} s",
            headers={"Connection": "close"},
        ) from None
    return bytes(body)
