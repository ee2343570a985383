"""Which dead letters a redrive sends, and the progress that makes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from stream_scorer.dead_letters.dead_letter import DeadLetter, DeadLetterFilter
from stream_scorer.dead_letters.redrive_progress import RedriveProgress
from stream_scorer.kafka.sizes import OVERHEAD_BYTES, headers_size


@dataclass(frozen=True, slots=True)
class Redriven:
    """What a redrive did, or with a dry run would do.

    Attributes:
        redriven: dead letters sent to the input.
        left: dead letters the selection left out; a later redrive can take them.
        earlier: had been redriven before, among those that were looked at.
        impossible: cut or too large for the input; passed over for good.
        too_old: left, as nobody can tell whether they were redriven before.
        by_stage: the redriven ones by stage.
    """

    redriven: int
    left: int
    earlier: int
    impossible: int
    too_old: int
    by_stage: Mapping[str, int]


@dataclass(slots=True)
class _Tally:
    counts: Counter[str] = field(default_factory=Counter)
    by_stage: Counter[str] = field(default_factory=Counter)

    def result(self) -> Redriven:
        counts = self.counts
        return Redriven(
            counts["redriven"],
            counts["left"],
            counts["earlier"],
            counts["impossible"],
            counts["too_old"],
            dict(self.by_stage),
        )


@dataclass(frozen=True, slots=True)
class RedrivePlan:
    """One txn: letters of one partition, and its progress then."""

    partition: int
    letters: tuple[DeadLetter, ...]
    progress: RedriveProgress
    has_news: bool


class Planner:
    """Decides for each dead letter, and keeps each partition's progress."""

    def __init__(
        self,
        selection: DeadLetterFilter,
        progress: Mapping[int, RedriveProgress],
        max_bytes: int,
        *,
        again: bool = False,
    ) -> None:
        self._selection = selection
        self._progress = dict(progress)
        self._first_left: dict[int, int] = {}
        self._max_bytes = max_bytes
        self._again = again
        self.tally = _Tally()

    def plan(self, letters: list[DeadLetter]) -> RedrivePlan:
        """What goes into the next txn: letters of one partition, in its order."""
        partition = letters[0].partition
        before = self._progress[partition]
        chosen, passed = [], []
        for letter in letters:
            verdict = self._decide(letter, before)
            self.tally.counts[verdict] += 1
            if verdict == "redriven":
                chosen.append(letter)
                self.tally.by_stage[letter.stage] += 1
            if verdict in ("left", "too_old"):
                self._first_left.setdefault(partition, letter.offset)
            else:
                passed.append(letter.offset)
        after = before.after(passed, letters[-1].offset + 1, self._first_left.get(partition))
        self._progress[partition] = after
        return RedrivePlan(partition, tuple(chosen), after, has_news=after != before)

    def _decide(self, letter: DeadLetter, before: RedriveProgress) -> str:
        if before.has(letter.offset):
            return "earlier"
        if letter not in self._selection:
            return "left"
        size = len(letter.value or b"") + len(letter.key or b"") + headers_size(letter.headers)
        if letter.is_cut or size > self._max_bytes - OVERHEAD_BYTES:
            return "impossible"
        if letter.time < before.known_since and not self._again:
            return "too_old"
        return "redriven"
