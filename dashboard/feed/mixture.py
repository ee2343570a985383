"""Notices that scorers disagree: two model versions, or two sets of thresholds, at the same time.

A promotion is no disagreement: the first version ends when the second one begins. During a rolling
update of scorers, or if one of them has other settings, both go on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

OVERLAP_MS: Final = 10_000
"""Both must go on for this long: scorers that look for a new version do it at different times."""

SEEN_MS: Final = 30_000
"""What was not seen for this long has ended."""

_MOST: Final = 20  # a record may name any version and thresholds


class Scoring(NamedTuple):
    """How a scorer scores."""

    version: str
    review_threshold: float
    block_threshold: float


@dataclass(frozen=True, slots=True)
class Mixed:
    """Scorers that disagree, since epoch milliseconds. ``found`` has the first ones seen first."""

    since: int
    found: tuple[Scoring, ...]

    @property
    def versions(self) -> list[str]:
        """Their model versions."""
        return list(dict.fromkeys(one.version for one in self.found))


class Mixture:
    """Which models and thresholds score now. Its caller holds a lock."""

    def __init__(self) -> None:
        self._seen: dict[Scoring, tuple[int, int]] = {}  # first and last time

    def note(self, found: Iterable[Scoring], now: int) -> None:
        """Note how the scores read now were made. ``now`` is in epoch milliseconds."""
        for one in found:
            first, _ = self._seen.pop(one, (now, now))
            self._seen[one] = first, now  # the one seen last is the last one
        self._seen = {one: seen for one, seen in self._seen.items() if now - seen[1] <= SEEN_MS}
        while len(self._seen) > _MOST:
            del self._seen[next(iter(self._seen))]

    def find(self, now: int) -> Mixed | None:
        """The scorers that disagree now. None if all agree."""
        lasting = sorted(
            (first, one)
            for one, (first, last) in self._seen.items()
            if last - first >= OVERLAP_MS and now - last <= SEEN_MS
        )
        if len(lasting) < 2:
            return None
        since = lasting[1][0]
        # One that ended when the second one began was replaced by it.
        going_on = [one for _, one in lasting if self._seen[one][1] - since >= OVERLAP_MS]
        return Mixed(since, tuple(going_on)) if len(going_on) > 1 else None
