"""Counts of dead letters by stage and by alike reasons, and the newest of them."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.dead_letters.dead_letter import DeadLetter
from stream_scorer.dead_letters.reasons import similar

_MOST_REASONS: Final = 5_000
"""Reasons may quote what came; beyond so many different ones the rest is counted as one."""

_OTHERS: Final = "(other reasons)"


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How often a kind of reason was met.

    Attributes:
        stage: where they failed.
        pattern: the reason with what differs collapsed.
        example: the first in full.
        count: how many.
    """

    stage: str
    pattern: str
    example: str
    count: int


@dataclass(frozen=True, slots=True, order=True)
class Listed:
    """A dead letter without its payload; ordered by age."""

    time: int
    partition: int
    offset: int
    place: str
    source: str
    stage: str
    reason: str


class LetterCounts:
    """Counts all, keeps the ``limit`` newest."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.by_stage: Counter[str] = Counter()
        self._by_reason: Counter[tuple[str, str]] = Counter()
        self._examples: dict[tuple[str, str], str] = {}
        self._newest: list[tuple[Listed, dict[str, Any]]] = []

    @property
    def total(self) -> int:
        """All that were added."""
        return self.by_stage.total()

    def add(self, letter: DeadLetter) -> None:
        """Count one."""
        self.by_stage[letter.stage] += 1
        kind = (letter.stage, similar(letter.reason))
        if kind not in self._examples and len(self._examples) >= _MOST_REASONS:
            kind = (letter.stage, _OTHERS)
        self._by_reason[kind] += 1
        self._examples.setdefault(kind, letter.reason)
        listed = Listed(
            letter.time,
            letter.partition,
            letter.offset,
            letter.place,
            letter.source,
            letter.stage,
            letter.reason,
        )
        push = heapq.heappush if len(self._newest) < self.limit else heapq.heappushpop
        push(self._newest, (listed, letter.as_json()))

    def reasons(self) -> list[ReasonCount]:
        """The most frequent first."""
        return [
            ReasonCount(stage, pattern, self._examples[stage, pattern], count)
            for (stage, pattern), count in self._by_reason.most_common()
        ]

    def newest(self) -> list[Listed]:
        """The oldest of them first."""
        return [listed for listed, _ in sorted(self._newest, key=lambda pair: pair[0])]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        newest = sorted(self._newest, key=lambda pair: pair[0])
        return {
            "dead_letters": self.total,
            "by_stage": dict(self.by_stage.most_common()),
            "counts": [
                {
                    "stage": reason.stage,
                    "reason": reason.pattern,
                    "example": reason.example,
                    "count": reason.count,
                }
                for reason in self.reasons()
            ],
            "newest": [letter for _, letter in newest],
            "not_listed": self.total - len(newest),
        }
