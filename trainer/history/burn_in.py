"""The first rows in time only build up card histories; no model learns from them.

Without earlier rows every card looks new, which no stream repeats: there, histories go back further
than any model's training rows.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.features.program import Program

log = logging.getLogger(__name__)

BURN_IN_SHARE: Final = 0.1
"""Of the time from the first labelled row to the last."""


def first_learned_row(times: NDArray[np.int64], program: Program) -> int:
    """The first row that a model with this program learns from; ``times`` ascend."""
    if program.history is None or not len(times):
        return 0
    begin = float(times[0]) + BURN_IN_SHARE * float(times[-1] - times[0])
    return int(np.searchsorted(times, begin, side="left"))


def burn_in_facts(times: NDArray[np.int64], first: int) -> dict[str, Any]:
    """The rows before ``first``, for the metadata."""
    return {
        "share_of_time": BURN_IN_SHARE,
        "rows": first,
        "until_seconds": int(times[min(first, len(times) - 1)]),
    }


def log_burn_in(times: NDArray[np.int64], first: int) -> None:
    """Say which rows are not learned from."""
    days = float(times[min(first, len(times) - 1)] - times[0]) / 86_400
    log.info(
        "the first %.1f days (%d of %d rows) only build up card histories: no model learns from "
        "them",
        days, first, len(times),
    )  # fmt: skip
