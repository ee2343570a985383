"""Reads request bodies with limits on size, time, and the memory of all bodies together.

Gzip is decompressed within the same limits.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
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

CLIENT_BODIES_BYTES: Final = BODIES_BYTES // 2
"""The share of one client: 6 of the largest bodies. The rest is left for others."""

GZIP: Final = "gzip"
MAX_MEMBERS: Final = 64
"""Members of one gzip body. Most clients send one. Each costs a decompressor, and a body of the
largest size could contain half a million empty ones."""

MAX_RATIO: Final = 1032
"""No gzip body decompresses to more than this many times its size."""

_WINDOW_BITS: Final = 16 + zlib.MAX_WBITS  # gzip, not zlib
_ALIASES: Final = {"x-gzip": GZIP, "identity": ""}


class BodyBudget:
    """Limits the total size of the request bodies in memory. Used only on the event loop.

    A body counts as its bytes arrive, so a client cannot use up the budget with a large
    Content-Length alone.
    """

    def __init__(
        self, max_bytes: int = BODIES_BYTES, client_bytes: int = CLIENT_BODIES_BYTES
    ) -> None:
        self._max_bytes = max_bytes
        self._client_bytes = client_bytes
        self._by_client: Counter[str] = Counter()
        self.held = 0
        """Bytes currently in use."""

    @contextmanager
    def track(self, client: str) -> Iterator[Callable[[int], None]]:
        """Track one body of a client. Yields a function to call with the size of each chunk.

        That function raises Problem (503) if the chunk exceeds the budget or the client's share.
        Leaving the context returns the bytes.
        """
        added = 0

        def add(count: int) -> None:
            nonlocal added
            if self.held + count > self._max_bytes:
                raise _too_many_bodies("the request bodies in progress reached", self._max_bytes)
            if self._by_client[client] + count > self._client_bytes:
                raise _too_many_bodies(
                    "your request bodies in progress reached", self._client_bytes
                )
            self.held += count
            self._by_client[client] += count
            added += count

        try:
            yield add
        finally:
            self.held -= added
            self._by_client[client] -= added
            if not self._by_client[client]:
                del self._by_client[client]


def _too_many_bodies(what: str, limit: int) -> Problem:
    return Problem(
        503,
        f"{what} the limit of {limit:,} bytes: retry later",
        kind="too-many-bodies",
        headers={"Retry-After": "1", "Connection": "close"},  # the rest is not read
    )


async def read_body(
    request: Request,
    max_bytes: int,
    add: Callable[[int], None] | None = None,
    seconds: float | None = None,
) -> bytes:
    """Read the body. Bytes are counted as they arrive, whatever Content-Length says.

    Args:
        request: a request whose body has not been read.
        max_bytes: the largest body allowed.
        add: from :meth:`BodyBudget.track`.
        seconds: timeout for the body. None: ``BODY_SECONDS``.

    Raises:
        Problem: 413 if the body is too large, 408 if it takes too long, 503 if ``add`` has no
            budget left.
    """
    too_large = Problem(
        413,
        f"the body is larger than {max_bytes:,} bytes: send less in one request",
        headers={"Connection": "close"},  # the rest of the body is not read
    )
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise too_large
    body = bytearray()
    seconds = BODY_SECONDS if seconds is None else seconds
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                if len(body) + len(chunk) > max_bytes:
                    raise too_large
                if add is not None:
                    add(len(chunk))
                body += chunk
    except TimeoutError:
        raise Problem(
            408,
            f"the body did not arrive within {seconds:.0f} s",
            headers={"Connection": "close"},
        ) from None
    return bytes(body)


def content_coding(request: Request, accepted: tuple[str, ...] = ()) -> str:
    """The content coding of the body: one of ``accepted``, or an empty string for none.

    Raises:
        Problem: 415 for any other coding. It names the accepted ones.
    """
    value = ", ".join(request.headers.getlist("content-encoding")).strip().lower()
    coding = _ALIASES.get(value, value)
    if not coding or coding in accepted:
        return coding
    ways = "".join(f"{name}, or " for name in accepted)
    raise Problem(
        415,
        f"Content-Encoding {value[:40]!r} is not supported: send {ways}no Content-Encoding",
        kind="unsupported-content-encoding",
        headers={
            "Accept-Encoding": ", ".join(accepted) or "identity",
            "Connection": "close",  # the body is not read
        },
    )


def inflate(body: bytes, max_bytes: int) -> bytes:
    """Decompress a gzip body. Never produces more than ``max_bytes`` + 1 bytes.

    Raises:
        Problem: 413 if the content is larger than ``max_bytes``, 400 if the body is not gzip, is
            damaged or ends early.
    """
    content = bytearray()
    rest = body
    for _ in range(MAX_MEMBERS):
        member = zlib.decompressobj(_WINDOW_BITS)
        try:
            content += member.decompress(rest, max_bytes + 1 - len(content))
        except zlib.error as error:
            raise _damaged(str(error)) from None
        if len(content) > max_bytes:
            raise Problem(
                413,
                f"the decompressed body is larger than {max_bytes:,} bytes: "
                "send less in one request",
            )
        if not member.eof:
            raise _damaged("the body ends early")
        if not (rest := member.unused_data):
            return bytes(content)
    raise _damaged(f"it has more than {MAX_MEMBERS} members")


def _damaged(reason: str) -> Problem:
    return Problem(400, f"the body is not valid gzip: {reason}", kind="invalid-content-encoding")
