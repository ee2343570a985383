"""The random lane: which unflagged transactions people review, chosen by a hash. Pure.

The choice depends only on the source coordinates and a fixed seed. So a retry, a replay and an
audit choose the same rows, and a row that is chosen at one share is chosen at every larger one.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

MAX_SHARE: Final = 0.01
"""The largest share that can be set: people have to look at every sampled transaction."""

SHARE_HEADER: Final = "review-sample-share"
"""The header of a sampled score with the share it was chosen at, as decimal text.

A sampled transaction stands for ``1 / share`` unflagged ones. The share is stated with each record
because it may change at any time, and then a share for the whole topic would be wrong.
"""

_SEED: Final = b"stream-scorer review sample 1"
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)
_UNIT: Final = 2.0**-53
_PLACES: Final = np.uint64(0x5851F42D4C957F2D)  # makes places independent of draws


def draws(
    topic: str, partitions: NDArray[np.int32] | NDArray[np.int64], offsets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """A number from 0 up to 1 for each input, uniformly distributed; float64 ``[n]``.

    Each partition has its own stream of SplitMix64 (Steele, Lea and Flood, "Fast splittable
    pseudorandom number generators", OOPSLA 2014), and an offset is a position in it.
    """
    return _unit(_hashes(topic, partitions, offsets))


def places(
    topic: str, partitions: NDArray[np.int32] | NDArray[np.int64], offsets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """As :func:`draws`, and independent of them: where samples are put among other rows."""
    return _unit(_mix(_hashes(topic, partitions, offsets) ^ _PLACES))


def choose(
    topic: str,
    partitions: NDArray[np.int32] | NDArray[np.int64],
    offsets: NDArray[np.int64],
    share: float,
) -> NDArray[np.bool_]:
    """Which inputs are sampled if they are not flagged, bool ``[n]``."""
    if share <= 0:
        return np.zeros(len(offsets), np.bool_)
    return draws(topic, partitions, offsets) < share


def parse_share(value: bytes | None) -> float | None:
    """The share in a header. None if it is not one that can have been set."""
    try:
        share = float((value or b"").decode("ascii"))
    except ValueError:
        return None
    return share if 0 < share <= MAX_SHARE else None


def _hashes(
    topic: str, partitions: NDArray[np.int32] | NDArray[np.int64], offsets: NDArray[np.int64]
) -> NDArray[np.uint64]:
    digest = hashlib.blake2b(topic.encode("utf-8", "surrogatepass"), digest_size=8, key=_SEED)
    base = np.frombuffer(digest.digest(), "<u8").astype(np.uint64)
    streams = _mix(base + (partitions.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    return _mix(streams + (offsets.astype(np.uint64) + np.uint64(1)) * _GOLDEN)


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return words ^ (words >> np.uint64(31))


def _unit(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = (words >> np.uint64(11)).astype(np.float64) * _UNIT
    return found
