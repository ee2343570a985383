"""How the scores of the stored transactions are distributed: counted as they come and go."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from dashboard.cache.connection import reading
from dashboard.cache.score_counts import SCORE_BINS, bin_of

HISTOGRAM_BINS: Final = 50
_WIDTH: Final = SCORE_BINS // HISTOGRAM_BINS


class Listed(NamedTuple):
    """Stored transactions by score. ``removals``: how often some of them were deleted."""

    bins: tuple[int, ...] = (0,) * HISTOGRAM_BINS
    removals: int = 0


class ListedCounter:
    """The counts of one file. Its rows are read once, when it is opened."""

    def __init__(self, db: sqlite3.Connection, removals: int = 0) -> None:
        self._bins = [0] * HISTOGRAM_BINS
        self._removals = removals
        self.add(score for (score,) in db.execute("SELECT score FROM flags"))

    def add(self, scores: Iterable[float]) -> None:
        """Count new rows."""
        for score in scores:
            self._bins[histogram_bin(score)] += 1

    def remove(self, scores: Iterable[float]) -> None:
        """Take out rows that are deleted."""
        self._removals += 1
        for score in scores:
            self._bins[histogram_bin(score)] -= 1

    @property
    def listed(self) -> Listed:
        """The counts now."""
        return Listed(tuple(self._bins), self._removals)


def histogram_bin(score: float) -> int:
    """The bin of a score. Bins have equal widths from 0 to 1."""
    return bin_of(score) // _WIDTH


def read_decided_scores(path: Path, desk: Path) -> dict[str, float]:
    """Flag id → score of all stored transactions with a decision. ``desk`` is the desk's cache."""
    with reading(path, desk) as db:
        return dict(
            db.execute(
                "SELECT f.id, f.score FROM desk.decided d JOIN flags f ON f.id = d.target "
                "UNION SELECT f.id, f.score FROM desk.decided d JOIN flags f "
                "ON f.transaction_id = CAST(substr(d.target, 2) AS INTEGER) "
                "WHERE d.target LIKE '#%'"
            )
        )
