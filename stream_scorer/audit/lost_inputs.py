"""Finds inputs that were deleted before any scorer read them. Pure.

Retention and DeleteRecords remove inputs from the beginning of a partition. Two things show that a
removed input was never scored: the group's committed offset is before it, or there are outcomes of
earlier inputs and none of this one. The second still shows it after the scorers have gone on.

A removed txn marker or aborted record looks the same, since only its offset is known. So gaps are
ignored if they are no longer than the longest gap among the inputs that are left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.audit.completed_offsets import CompletedOffsets
from stream_scorer.audit.records.columns import Inputs


class LostInputs:
    """The removed offsets of each partition, and which of them have an outcome."""

    def __init__(self) -> None:
        self._low: dict[int, int] = {}
        self._start: dict[int, int] = {}
        self._unread: dict[int, int] = {}
        self._answered: dict[int, CompletedOffsets] = {}
        self._next_input: dict[int, int] = {}
        self._longest_gap: dict[int, int] = {}

    def begin_run(
        self,
        partition: int,
        low: int,
        *,
        audited: int | None,
        committed: int | None,
        is_resumed: bool = False,
    ) -> None:
        """Set what is known about a partition at the beginning of a run.

        Args:
            partition: the input partition.
            low: its first offset that still exists.
            audited: where the last run stopped; None if this is the first one.
            committed: the offset that the scorers' group has committed, if it has one.
            is_resumed: continue an interrupted run.
        """
        self._low[partition] = low
        self._unread[partition] = 0 if committed is None else max(0, low - committed)
        if is_resumed:
            return
        for known in (self._start, self._answered, self._next_input, self._longest_gap):
            known.pop(partition, None)
        if audited is not None:
            self._start[partition] = audited

    def see_inputs(self, inputs: Inputs) -> None:
        """Take the gaps between inputs of one partition into account."""
        partition, offsets = inputs.partition, inputs.offsets
        known = self._next_input.get(partition, int(offsets[0]))
        longest = int(np.diff(offsets, prepend=known - 1).max()) - 1
        self._longest_gap[partition] = max(longest, self._longest_gap.get(partition, 0))
        self._next_input[partition] = int(offsets[-1]) + 1

    def see_outcomes(self, partitions: NDArray[np.int64], offsets: NDArray[np.int64]) -> None:
        """Take outcomes of removed inputs into account."""
        for partition in np.unique(partitions).tolist():
            own = offsets[partitions == partition]
            own = own[(own >= 0) & (own < self._low.get(partition, 0))]
            if len(own):
                self._answered.setdefault(partition, CompletedOffsets()).mark_present(own)
                first = int(own.min())
                self._start[partition] = min(first, self._start.get(partition, first))

    def count(self, partition: int, judged_from: int) -> int:
        """Number of removed inputs without an outcome, an upper bound.

        Args:
            partition: the input partition.
            judged_from: outcomes of inputs before this offset may have expired.
        """
        low, ignored = self._low.get(partition, 0), self._longest_gap.get(partition, 0)
        gaps = [self._unread.get(partition, 0)]
        if (start := self._start.get(partition)) is not None:
            answered = self._answered.get(partition, CompletedOffsets())
            found = answered.gaps(max(start, judged_from), low)
            gaps = max(gaps, found, key=lambda some: sum(gap for gap in some if gap > ignored))
        return sum(gap for gap in gaps if gap > ignored)

    def as_state(self) -> dict[str, Any]:
        """JSON values for :meth:`from_state`."""
        return {
            "start": _texts(self._start),
            "answered": {str(p): known.as_state() for p, known in self._answered.items()},
            "next_input": _texts(self._next_input),
            "longest_gap": _texts(self._longest_gap),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> LostInputs:
        """Restore the result of :meth:`as_state`."""
        lost = cls()
        lost._start = _numbers(state["start"])
        lost._answered = {
            int(p): CompletedOffsets.from_state(known) for p, known in state["answered"].items()
        }
        lost._next_input = _numbers(state["next_input"])
        lost._longest_gap = _numbers(state["longest_gap"])
        return lost


def _texts(numbers: Mapping[int, int]) -> dict[str, int]:
    return {str(key): value for key, value in numbers.items()}


def _numbers(numbers: Mapping[str, int]) -> dict[int, int]:
    return {int(key): value for key, value in numbers.items()}
