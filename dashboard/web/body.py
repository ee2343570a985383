"""Reads request bodies up to a limit, whatever the client announces and however many come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from fastapi import Request

from dashboard.web.problems import Problem

BODY_SECONDS: Final = 30.0
"""For all of a body; the largest then needs 350 kB/s. A byte now and then must not hold on to a
connection for ever."""

BODIES_BYTES: Final = 128 * 1024 * 1024
"""Of all bodies that one process holds at a time: a dozen of the largest, thousands of usual ones.
Without it as many clients as may connect could send the largest at once, and the memory ends."""


class BodyBudget:
    """What the bodies held at one time may weigh in all. Used from the event loop alone.

    A body counts as it arrives and not as it is announced: who merely announces one takes no
    other's place.
    """

    def __init__(self, most: int = BODIES_BYTES) -> None:
        self._most = most
        self.held = 0
        """Bytes in use now."""

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """For as long as one body is held; what it gives is called with each part's size.

        That call raises Problem (503) where the part has no room.
        """
        taken = 0

        def take(count: int) -> None:
            nonlocal taken
            if self.held + count > self._most:
                raise Problem(
                    503,
                    f"requests of {self._most:,} bytes are being answered just now, and no more "
                    "fit: try again in a moment",
                    kind="too-many-bodies",
                    headers={"Retry-After": "1", "Connection": "close"},  # the rest stays unread
                )
            self.held += count
            taken += count

        try:
            yield take
        finally:
            self.held -= taken


async def read_body(
    request: Request, most: int, take: Callable[[int], None] | None = None
) -> bytes:
    """The body; counted while it streams in, so that a missing or false length is no way around.

    Args:
        request: of which nothing has been read.
        most: bytes.
        take: from :meth:`BodyBudget.share`.

    Raises:
        Problem: 413 as soon as it is too large, 408 when it takes too long, 503 where ``take``
            finds no room.
    """
    too_large = Problem(
        413,
        f"the body is larger than {most:,} bytes: send fewer rows at a time",
        headers={"Connection": "close"},  # the rest of the body is not read
    )
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > most:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                if len(body) + len(chunk) > most:
                    raise too_large
                if take is not None:
                    take(len(chunk))
                body += chunk
    except TimeoutError:
        raise Problem(
            408,
            f"the body did not arrive within {BODY_SECONDS:.0f} s",
            headers={"Connection": "close"},
        ) from None
    return bytes(body)
