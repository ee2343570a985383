"""Which dead letters a redrive sends, and the progress after that. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from stream_scorer.dead_letters.dead_letter import DeadLetter, DeadLetterFilter
from stream_scorer.dead_letters.redrive_progress import RedriveProgress
from stream_scorer.kafka.sizes import OVERHEAD_BYTES, headers_size


@dataclass(frozen=True, slots=True)
class Redriven:
    """What a redrive did, or what a dry run would do.

    Attributes:
        redriven: number of dead letters sent to the input.
        left: number of dead letters left out by the filter; a later redrive can send them.
        earlier: number of dead letters read that were redriven before.
        impossible: number of dead letters that are truncated, too large for the input or cannot be
            read; they are skipped permanently.
        too_old: number of dead letters skipped because it is unknown whether they were redriven
            before.
        by_stage: redriven dead letters by stage.
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
    """The content of one txn: dead letters of one partition, and its progress after them."""

    partition: int
    dead_letters: tuple[DeadLetter, ...]
    progress: RedriveProgress
    has_changes: bool


class Planner:
    """Decides about each dead letter, and keeps the progress of each partition."""

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

    def plan(self, dead_letters: list[DeadLetter]) -> RedrivePlan:
        """Plan the next txn from dead letters of one partition, in offset order."""
        partition = dead_letters[0].partition
        before = self._progress[partition]
        chosen, done = [], []
        for dead_letter in dead_letters:
            decision = self._decide(dead_letter, before)
            self.tally.counts[decision] += 1
            if decision == "redriven":
                chosen.append(dead_letter)
                self.tally.by_stage[dead_letter.stage] += 1
            if decision in ("left", "too_old"):
                self._first_left.setdefault(partition, dead_letter.offset)
            else:
                done.append(dead_letter.offset)
        after = before.after(done, dead_letters[-1].offset + 1, self._first_left.get(partition))
        self._progress[partition] = after
        return RedrivePlan(partition, tuple(chosen), after, has_changes=after != before)

    def _decide(self, dead_letter: DeadLetter, before: RedriveProgress) -> str:
        if before.has(dead_letter.offset):
            return "earlier"
        if dead_letter not in self._selection:
            return "left"
        size = (
            len(dead_letter.value or b"")
            + len(dead_letter.key or b"")
            + headers_size(dead_letter.headers)
        )
        if dead_letter.is_cut or dead_letter.fault or size > self._max_bytes - OVERHEAD_BYTES:
            return "impossible"
        if dead_letter.time < before.known_since and not self._again:
            return "too_old"
        return "redriven"
