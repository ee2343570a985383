"""Where a record has what: words of eight bytes.

::

    0 card1 as int64        1 hash of the rest of the key      2 transactions
    3 first time            4 last time                        5 last TransactionID
    6 sum of the amounts    7 sum of their squares             8 largest amount (float32)
    then  2 doubles for each half-life: decayed count, decayed amount
          running means (float32), how many values each has (uint8, at most 255)
          last values (float32; NO_VALUE before the first)
          sets: four hashes of 16 bits each, 0 is an empty place
          the ring: time (uint32 seconds) and amount (float32) of each remembered transaction
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FIXED_WORDS: Final = 9

NO_VALUE: Final = 2.0**127
"""In place of a last value before the first one: a record holds no NaN, which has many bits."""


@dataclass(frozen=True, slots=True)
class RecordLayout:
    """What the records of a key space hold, and where: the first word of each part."""

    half_lives: tuple[int, ...]
    windows: tuple[int, ...]
    means: tuple[str, ...]
    lasts: tuple[str, ...]
    sets: tuple[str, ...]
    ring: int
    means_at: int
    counts_at: int
    lasts_at: int
    sets_at: int
    ring_at: int
    width: int

    @classmethod
    def of(
        cls,
        half_lives: tuple[int, ...],
        windows: tuple[int, ...],
        means: tuple[str, ...],
        lasts: tuple[str, ...],
        sets: tuple[str, ...],
        ring: int,
    ) -> RecordLayout:
        """The layout of records with these parts."""
        means_at = FIXED_WORDS + 2 * len(half_lives)
        counts_at = means_at + (len(means) + 1) // 2
        lasts_at = counts_at + (len(means) + 7) // 8
        sets_at = lasts_at + (len(lasts) + 1) // 2
        ring_at = sets_at + len(sets)
        return cls(
            half_lives,
            windows,
            means,
            lasts,
            sets,
            ring,
            means_at,
            counts_at,
            lasts_at,
            sets_at,
            ring_at,
            ring_at + ring,
        )
