"""Finds the scores of both versions for the same inputs, with bounded memory. Pure.

The scores of a partition are in the order of their inputs on the champion's topic, and nearly so on
the challenger's: it is written at least once. So both are read side by side, and only what the
other side may still deliver is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

SLACK: Final = 50_000
"""Inputs by which a side may be out of order: far more than the batches that a scorer holds."""

_RECENT: Final = 101
"""Scores whose median offset says how far a side was read. One score can name any input."""


class Side(NamedTuple):
    """Scores of inputs of one partition by one version, ``n`` rows.

    Attributes:
        offsets: of the inputs, int64.
        transactions: transaction ids, int64.
        times: when the scores were written, epoch milliseconds, int64.
        scores: float64.
        decisions: positions in the schema's enum, int8.
        amounts: float64; NaN where the score does not state it.
        cards: a hash of the record's key, int64.
        shares: the share of the random lane, float64; NaN where the row is not in it.
    """

    offsets: NDArray[np.int64]
    transactions: NDArray[np.int64]
    times: NDArray[np.int64]
    scores: NDArray[np.float64]
    decisions: NDArray[np.int8]
    amounts: NDArray[np.float64]
    cards: NDArray[np.int64]
    shares: NDArray[np.float64]

    def take(self, rows: Any) -> Side:
        """A subset, by mask or row numbers."""
        return Side._make([column[rows] for column in self])


class Pairs(NamedTuple):
    """Both versions' scores of the same inputs of one partition, row by row."""

    partition: int
    champion: Side
    challenger: Side

    def __len__(self) -> int:
        return len(self.champion.offsets)

    @property
    def amounts(self) -> NDArray[np.float64]:
        """What either score states; NaN where neither does."""
        first, second = self.champion.amounts, self.challenger.amounts
        return np.where(np.isnan(first), second, first)

    def take(self, rows: Any) -> Pairs:
        """A subset, by mask or row numbers."""
        return Pairs(self.partition, self.champion.take(rows), self.challenger.take(rows))


def join(
    partition: int, champion: Iterator[Side], challenger: Iterator[Side], slack: int = SLACK
) -> Iterator[Pairs]:
    """The inputs that both sides have, each once; of several scores of one side the last counts.

    Args:
        partition: of the inputs.
        champion: its scores, nearly in the order of the inputs.
        challenger: its scores, likewise.
        slack: how many inputs a side may be out of order by.
    """
    sides = _Reading(champion), _Reading(challenger)
    while not all(side.is_done for side in sides):
        behind = min((s for s in sides if not s.is_done), key=lambda side: side.reached)
        behind.read()
        bound = min(side.horizon(slack) for side in sides)
        parts = [side.take_below(bound) for side in sides]
        found = _match(partition, *parts)
        if len(found):
            yield found


class _Reading:
    """One side, as far as it was read."""

    def __init__(self, pages: Iterator[Side]) -> None:
        self._pages = pages
        self._held: list[Side] = []
        self._recent = np.empty(0, np.int64)
        self.reached = -1
        self.is_done = False

    def read(self) -> None:
        page = next(self._pages, None)
        if page is None:
            self.is_done = True
        elif len(page.offsets):
            self._held.append(page)
            self._recent = np.concatenate([self._recent, page.offsets[-_RECENT:]])[-_RECENT:]
            if len(self._recent) == _RECENT:
                self.reached = int(np.sort(self._recent)[_RECENT // 2])

    def horizon(self, slack: int) -> int:
        """All scores of inputs before this offset were read."""
        return int(np.iinfo(np.int64).max) if self.is_done else self.reached - slack

    def take_below(self, bound: int) -> Side:
        taken = [page.take(page.offsets < bound) for page in self._held]
        self._held = [
            page.take(page.offsets >= bound) for page in self._held if page.offsets.max() >= bound
        ]
        return concatenate(taken)


def concatenate(parts: list[Side]) -> Side:
    """The rows of several, in order; none of none."""
    columns = zip(no_side(), *parts, strict=True)
    return Side._make([np.concatenate(column) for column in columns])


def no_side() -> Side:
    """No rows."""
    kinds = (np.int64, np.int64, np.int64, np.float64, np.int8, np.float64, np.int64, np.float64)
    return Side._make([np.empty(0, kind) for kind in kinds])


def _match(partition: int, champion: Side, challenger: Side) -> Pairs:
    ours, theirs = _last_of_each(champion), _last_of_each(challenger)
    _, at, other = np.intersect1d(
        ours.offsets, theirs.offsets, assume_unique=True, return_indices=True
    )
    return Pairs(partition, ours.take(at), theirs.take(other))


def _last_of_each(side: Side) -> Side:
    order = np.argsort(side.offsets, kind="stable")
    ordered = side.offsets[order]
    is_last = np.append(ordered[1:] != ordered[:-1], True) if len(ordered) else ordered == 0
    return side.take(order[is_last])
