"""Reads request bodies up to a limit, whatever the client announces."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import Request

from dashboard.web.problems import Problem

BODY_SECONDS: Final = 30.0
"""For all of a body; the largest then needs 350 kB/s. A byte now and then must not hold on to a
connection for ever."""


async def read_body(request: Request, most: int) -> bytes:
    """The body; counted while it streams in, so that a missing or false length is no way around.

    Raises:
        Problem: 413 as soon as it is too large, 408 when it takes too long.
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
                body += chunk
                if len(body) > most:
                    raise too_large
    except TimeoutError:
        raise Problem(
            408,
            f"the body did not arrive within {BODY_SECONDS:.0f} s",
            headers={"Connection": "close"},
        ) from None
    return bytes(body)
