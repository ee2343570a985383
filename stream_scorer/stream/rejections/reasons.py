"""Counts rejections by similar reasons, for the message of a scorer that stops. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from schemas.rejections import Rejection
from stream_scorer.dead_letters.reasons import similar
from stream_scorer.runtime.text import printable

_REASONS_NAMED: Final = 3
_REASON_CHARS: Final = 200
_MOST_PATTERNS: Final = 200
"""Reasons can quote parts of a record; what does not fit is counted as other reasons."""


@dataclass(slots=True)
class ReasonCounts:
    """The number of rejections by similar reasons, each with its first example."""

    counts: Counter[str] = field(default_factory=Counter)
    _examples: dict[str, str] = field(default_factory=dict)
    _others: int = 0

    def add(self, rejections: Iterable[Rejection]) -> None:
        """Count rejections."""
        for (stage, reason), number in Counter((r.stage, r.reason) for r in rejections).items():
            text = f"{stage.value}: {reason}"
            pattern = similar(text)
            if pattern in self.counts or len(self.counts) < _MOST_PATTERNS:
                self.counts[pattern] += number
                self._examples.setdefault(pattern, text)
            else:
                self._others += number

    def halve(self) -> None:
        """Halve the weight of what was counted so far."""
        self.counts = Counter({p: n // 2 for p, n in self.counts.items() if n > 1})
        self._examples = {p: self._examples[p] for p in self.counts}
        self._others //= 2

    def copy(self) -> ReasonCounts:
        """A copy that can be added to."""
        return ReasonCounts(self.counts.copy(), self._examples.copy(), self._others)

    def describe(self) -> str:
        """The commonest reasons with their numbers, safe for a terminal; empty without any."""
        common = self.counts.most_common(_REASONS_NAMED)
        parts = [
            f"{printable(self._examples[pattern][:_REASON_CHARS])} ({count:,} times)"
            for pattern, count in common
        ]
        left = self.counts.total() + self._others - sum(count for _, count in common)
        return "; ".join([*parts, *([f"other reasons ({left:,} times)"] if left else [])])
