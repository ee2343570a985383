"""Reads request bodies up to a limit, whatever the client announces."""

from __future__ import annotations

from fastapi import Request

from dashboard.web.problems import Problem


async def read_body(request: Request, most: int) -> bytes:
    """The body; counted while it streams in, so that a missing or false length is no way around.

    Raises:
        Problem: 413 as soon as it is too large.
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
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise too_large
    return bytes(body)
