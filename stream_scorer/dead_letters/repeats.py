"""Inputs that were accepted before: redriven from dead letters of a stage after validation. Pure.

A record that failed at ``score`` or ``publish`` was a valid transaction, so it is part of its
card's history already. Its redriven copy gets features, but must not count a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.framing import Headers
from schemas.rejections import Stage
from stream_scorer.runtime.text import as_text

REDRIVEN_STAGE: Final = "redrive.stage"
"""On a redriven record: the stage at which its first copy failed."""

NOT_ACCEPTED: Final = frozenset({Stage.FRAMING, Stage.SCHEMA, Stage.DECODE, Stage.VALIDATE})
"""Stages before a record is known to be a transaction. What failed there is in no history."""


def find_first_copies(headers: Sequence[Headers]) -> NDArray[np.bool_]:
    """True for each record that was not accepted before, bool ``[n]``: it advances its history."""
    found = np.ones(len(headers), np.bool_)
    if not any(headers):  # which is usual
        return found
    for row, given in enumerate(headers):
        if given:
            found[row] = not _was_accepted(given)
    return found


def _was_accepted(headers: Headers) -> bool:
    stages = [as_text(value) for name, value in headers or () if name == REDRIVEN_STAGE]
    # The last one counts, as for dead letters: earlier ones came with the record.
    return bool(stages) and stages[-1] in (Stage.SCORE, Stage.PUBLISH)
