"""Counts dead letters by stage and by similar reasons, and keeps the newest."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.dead_letters.dead_letter import DeadLetter
from stream_scorer.dead_letters.reasons import similar

_MOST_REASONS: Final = 5_000
"""Limit for different reasons, as they can quote parts of a record; the rest is counted as one."""

_OTHERS: Final = "(other reasons)"


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """The number of dead letters with similar reasons.

    Attributes:
        stage: the stage at which the records failed.
        pattern: the reason, with the parts that differ replaced by placeholders.
        example: the first of these reasons in full.
        count: number of dead letters.
    """

    stage: str
    pattern: str
    example: str
    count: int


@dataclass(frozen=True, slots=True, order=True)
class DeadLetterRow:
    """A dead letter in a list, without its payload; sorted by time."""

    time: int
    partition: int
    offset: int
    place: str
    source: str
    stage: str
    reason: str


class DeadLetterCounts:
    """Counts all dead letters and keeps the ``limit`` newest."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.by_stage: Counter[str] = Counter()
        self._by_reason: Counter[tuple[str, str]] = Counter()
        self._examples: dict[tuple[str, str], str] = {}
        self._newest: list[tuple[DeadLetterRow, dict[str, Any]]] = []

    @property
    def total(self) -> int:
        """Number of dead letters that were added."""
        return self.by_stage.total()

    def add(self, dead_letter: DeadLetter) -> None:
        """Count one dead letter."""
        self.by_stage[dead_letter.stage] += 1
        kind = (dead_letter.stage, similar(dead_letter.reason))
        if kind not in self._examples and len(self._examples) >= _MOST_REASONS:
            kind = (dead_letter.stage, _OTHERS)
        self._by_reason[kind] += 1
        self._examples.setdefault(kind, dead_letter.reason)
        row = DeadLetterRow(
            dead_letter.time,
            dead_letter.partition,
            dead_letter.offset,
            dead_letter.place,
            dead_letter.source,
            dead_letter.stage,
            dead_letter.reason,
        )
        push = heapq.heappush if len(self._newest) < self.limit else heapq.heappushpop
        push(self._newest, (row, dead_letter.as_json()))

    def reasons(self) -> list[ReasonCount]:
        """The reasons, the most frequent first."""
        return [
            ReasonCount(stage, pattern, self._examples[stage, pattern], count)
            for (stage, pattern), count in self._by_reason.most_common()
        ]

    def newest(self) -> list[DeadLetterRow]:
        """The newest dead letters, in order of time."""
        return [row for row, _ in sorted(self._newest, key=lambda pair: pair[0])]

    def as_json(self) -> dict[str, Any]:
        """The counts as JSON."""
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
            "newest": [dead_letter for _, dead_letter in newest],
            "not_listed": self.total - len(newest),
        }
