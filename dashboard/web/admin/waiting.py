"""Runs calls that wait for the store or a broker in threads of their own, and never for long."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio.to_thread import run_sync

from dashboard.web.parts import Parts
from dashboard.web.problems import Problem

T = TypeVar("T")


async def wait_for(parts: Parts, call: Callable[[], T], seconds: float, what: str) -> T:
    """The result of ``call``, which may block.

    Raises:
        Problem: 503, ``what`` did not answer within ``seconds``. The call goes on in its thread.
    """
    try:
        with anyio.fail_after(seconds):
            return await run_sync(call, limiter=parts.waiting, abandon_on_cancel=True)
    except TimeoutError:
        raise Problem(
            503,
            f"{what} did not answer within {seconds:.0f} s",
            kind="no-answer",
            headers={"Retry-After": "5"},
        ) from None
