"""How many of the stored transactions are decided, by score. It follows the changes of cases."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Protocol

from dashboard.cache.listed import HISTOGRAM_BINS, histogram_bin

_MOST_MISSING: Final = 200
"""Decisions about transactions that are not stored yet: another dashboard was faster."""


class Scores(Protocol):
    """The desk, as far as scores are concerned."""

    def decided_scores(self) -> Mapping[str, float]:
        """Flag id → score of all stored transactions with a recorded decision."""
        ...

    def scores_of(self, flag_ids: Collection[str]) -> Mapping[str, float]:
        """The scores of those that are stored."""
        ...


class DecidedBins:
    """The counts. Used by one thread at a time."""

    def __init__(self, scores: Scores) -> None:
        self._scores = scores
        self._bins = [0] * HISTOGRAM_BINS
        self._bin_of: dict[str, int] = {}
        self._missing: dict[str, None] = {}

    @property
    def bins(self) -> tuple[int, ...]:
        """Decided transactions by bin."""
        return tuple(self._bins)

    def recount(self) -> None:
        """Count all of them again: at the start, and after a change that names none."""
        self._bin_of = {
            flag_id: histogram_bin(score)
            for flag_id, score in self._scores.decided_scores().items()
        }
        self._missing = {}
        self._bins = [0] * HISTOGRAM_BINS
        for number in self._bin_of.values():
            self._bins[number] += 1

    def update(self, decided: Mapping[str, bool]) -> None:
        """Note which of the cases that changed are decided now."""
        for flag_id, is_decided in decided.items():
            if not is_decided:
                self._missing.pop(flag_id, None)
                if (number := self._bin_of.pop(flag_id, None)) is not None:
                    self._bins[number] -= 1
        self._add([one for one, is_decided in decided.items() if is_decided])

    def retry(self) -> None:
        """Look again for decided transactions that were not stored."""
        if self._missing:
            self._add(list(self._missing))

    def _add(self, flag_ids: Collection[str]) -> None:
        new = [one for one in flag_ids if one not in self._bin_of]
        if not new:
            return
        found = self._scores.scores_of(new)
        for flag_id in new:
            if flag_id in found:
                number = self._bin_of[flag_id] = histogram_bin(found[flag_id])
                self._bins[number] += 1
                self._missing.pop(flag_id, None)
            else:
                self._missing[flag_id] = None
        while len(self._missing) > _MOST_MISSING:
            del self._missing[next(iter(self._missing))]
