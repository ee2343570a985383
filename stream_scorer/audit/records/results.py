"""The results that scores state, as bits: a recomputed score is compared exactly. Pure."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.scores.program import DECISIONS, Slot

NO_REASONS: Final = 0
"""In place of the hash of reasons: there are none."""

UNREAD: Final = 1
"""In place of the hash of reasons: they were not read, because the score is not recomputed."""

NO_DECISION: Final = -1
"""In place of a decision: the score states none that exists."""

_DOUBLE: Final = struct.Struct("<d")
_LENGTH: Final = struct.Struct("<q")


class Results(NamedTuple):
    """What scores state about their model's result; each column has ``n`` rows.

    Attributes:
        scores: the bits of the scores, int64.
        reviews: the bits of the review thresholds, int64.
        blocks: the bits of the block thresholds, int64.
        decisions: positions in the contract's enum, int8; ``NO_DECISION`` where it is none of them.
        reasons: hashes of the reasons (:func:`hash_reasons`), int64; ``UNREAD`` where unknown.
    """

    scores: NDArray[np.int64]
    reviews: NDArray[np.int64]
    blocks: NDArray[np.int64]
    decisions: NDArray[np.int8]
    reasons: NDArray[np.int64]

    def take(self, rows: Any) -> Results:
        """A subset, by mask or row numbers."""
        return Results(*(column[rows] for column in self))

    def read(self, rows: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        """Set rows from the slots of the compiled reader; their reasons stay unread."""
        self.scores[rows] = places[:, Slot.SCORE]
        self.reviews[rows] = places[:, Slot.REVIEW]
        self.blocks[rows] = places[:, Slot.BLOCK]
        decisions = places[:, Slot.DECISION]
        is_known = (decisions >= 0) & (decisions < len(DECISIONS))
        self.decisions[rows] = np.where(is_known, decisions, NO_DECISION)

    def set(self, row: int, stated: StatedResult) -> None:
        """Set one row."""
        self.scores[row], self.reviews[row], self.blocks[row] = map(
            bits_of, (stated.score, stated.review, stated.block)
        )
        self.decisions[row], self.reasons[row] = stated.decision, stated.reasons


class StatedResult(NamedTuple):
    """The result that one score states; numbers that it does not state are NaN."""

    score: float
    review: float
    block: float
    decision: int
    reasons: int


def empty_results(size: int) -> Results:
    """Columns in which nothing is stated."""
    scores, reviews, blocks = np.full((3, size), bits_of(float("nan")), np.int64)
    return Results(
        scores,
        reviews,
        blocks,
        np.full(size, NO_DECISION, np.int8),
        np.full(size, UNREAD, np.int64),
    )


def join_results(parts: Iterable[Results]) -> Results:
    """The rows of several; there is at least one."""
    return Results(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def bits_of(number: float) -> int:
    """The bits of a double as a signed integer."""
    return int.from_bytes(_DOUBLE.pack(number), "little", signed=True)


def number_of(bits: int) -> float:
    """The double with these bits."""
    return float(_DOUBLE.unpack(int(bits).to_bytes(8, "little", signed=True))[0])


def hash_reasons(reasons: Iterable[tuple[str, str | None, float]]) -> int:
    """A hash of reasons: feature, value as text, and the bits of the contribution, in their order.

    ``NO_REASONS`` if there are none, and else never ``NO_REASONS`` or ``UNREAD``.
    """
    packed = []
    for feature, value, contribution in reasons:
        for text in (feature, value):
            data = None if text is None else text.encode("utf-8", "surrogatepass")
            packed += [_LENGTH.pack(-1 if data is None else len(data)), data or b""]
        packed.append(_DOUBLE.pack(contribution))
    if not packed:
        return NO_REASONS
    digest = hashlib.blake2b(b"".join(packed), digest_size=8).digest()
    found = int.from_bytes(digest, "little", signed=True)
    return 2 if found in (NO_REASONS, UNREAD) else found


def is_chosen(
    partitions: NDArray[np.int64] | int, offsets: NDArray[np.int64], one_in: int
) -> NDArray[np.bool_]:
    """Which inputs are among the one in ``one_in`` that are recomputed: the same in each audit."""
    mixed = (offsets.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    own = np.asarray(partitions, np.int64).astype(np.uint64) * np.uint64(0xBF58476D1CE4E5B9)
    # The finalizer of MurmurHash3 (Appleby): neighbours in both coordinates become independent.
    mixed ^= own
    for shift, factor in ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53), (33, 1)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    found: NDArray[np.bool_] = mixed <= np.uint64((2**64 - 1) // one_in)
    return found
