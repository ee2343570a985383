"""Which transactions a challenger scores: by a hash of their source coordinates. Pure.

A retry, a replay or another scorer chooses the same ones. The hash is that of SplitMix64 [Steele,
Lea and Flood 2014, "Fast splittable pseudorandom number generators"].
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_SEED: Final = 0x5AD0_5AD0_5AD0_5AD0
"""Of this choice alone, so that it is independent of any other one by source coordinates."""

_STEP: Final = np.uint64(0x9E37_79B9_7F4A_7C15)
_FIRST: Final = np.uint64(0xBF58_476D_1CE4_E5B9)
_SECOND: Final = np.uint64(0x94D0_49BB_1331_11EB)
_BITS: Final = 53  # of a double's fraction


def choose(
    partitions: NDArray[np.int32], offsets: NDArray[np.int64], share: float
) -> NDArray[np.bool_]:
    """The rows to score, bool ``[n]``: each with probability ``share``."""
    if share >= 1:
        return np.ones(len(offsets), np.bool_)
    if share <= 0:
        return np.zeros(len(offsets), np.bool_)
    key = _mix(partitions.astype(np.uint64) + np.uint64(_SEED))
    values = _mix(offsets.astype(np.uint64) ^ key)
    chosen: NDArray[np.bool_] = (values >> np.uint64(64 - _BITS)).astype(np.float64) < (
        share * 2.0**_BITS
    )
    return chosen


def _mix(values: NDArray[np.uint64]) -> Any:
    mixed = values + _STEP
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    return mixed ^ (mixed >> np.uint64(31))
