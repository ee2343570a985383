"""Which transactions a challenger scores: by a hash of their source coordinates. Pure.

A retry, a replay or another scorer chooses the same ones, and one that is chosen at some share is
chosen at every larger one.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.scores.sampling import draws

_STREAM: Final = "challenger of "
"""Before the topic's name: a name of a topic has no space, so that this choice is independent of
the random lane's."""


def choose(
    topic: str, partitions: NDArray[np.int32], offsets: NDArray[np.int64], share: float
) -> NDArray[np.bool_]:
    """The rows to score, bool ``[n]``: each with probability ``share``."""
    if share >= 1:
        return np.ones(len(offsets), np.bool_)
    if share <= 0:
        return np.zeros(len(offsets), np.bool_)
    return draws(_STREAM + topic, partitions, offsets) < share
