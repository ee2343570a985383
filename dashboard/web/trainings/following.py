"""Looks at trainings while one runs: its end is counted and recorded though nobody reads them."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from dashboard.web.parts import Parts
from dashboard.web.problems import Problem
from dashboard.web.trainings.view import describe_all

log = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 15.0


async def follow_trainings(parts: Parts) -> None:
    """Look once at the start, and then while a training is known to run, until cancelled."""
    is_unknown, problem = True, ""
    while True:
        if is_unknown or parts.trainings.is_waiting:
            try:
                await describe_all(parts)
                is_unknown, problem = False, ""
            except Problem as found:
                if found.detail != problem:
                    log.warning("the trainings cannot be read: %s", found.detail)
                problem = found.detail
            except Exception:
                log.exception("looking at the trainings failed; it will be retried")
        await asyncio.sleep(INTERVAL_SECONDS)
