"""When so many records are bad that something is wrong upstream, the scorer stops.

A bad deploy of a producer must not drain the topic into the dead letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.rejections import Rejection
from stream_scorer.errors import FatalError


@dataclass(frozen=True, slots=True)
class RejectionPolicy:
    """``max_run`` rejections in a row, or more than ``max_share`` of the last ``window``."""

    max_run: int = 1_000
    max_share: float = 0.5
    window: int = 5_000


class RejectionGuard:
    """Counts rejections as batches come; stops the process before a batch is committed."""

    def __init__(self, policy: RejectionPolicy) -> None:
        self._policy = policy
        self._counts = (0, 0, 0)  # rejections in a row, records seen, rejections among them
        self._next = self._counts

    def check(self, size: int, rejections: Sequence[Rejection]) -> None:
        """Look at one batch of ``size`` records, which counts once it is accepted.

        Raises:
            FatalError: a limit is passed; nothing of this batch may be committed.
        """
        run, seen, bad = self._counts
        longest = run
        last = -1
        for index in sorted(r.index for r in rejections):
            run = run + 1 if index == last + 1 else 1
            longest, last = max(longest, run), index
        if not rejections or last != size - 1:
            run = 0
        if longest > self._policy.max_run:
            raise FatalError(
                f"more than {self._policy.max_run} records in a row were rejected"
                + self._advice(rejections)
            )
        seen, bad = seen + size, bad + len(rejections)
        if seen >= self._policy.window:
            if bad > seen * self._policy.max_share:
                raise FatalError(
                    f"{bad} of the last {seen} records were rejected, more than "
                    f"{self._policy.max_share:.0%}" + self._advice(rejections)
                )
            seen, bad = seen // 2, bad // 2  # older batches fade
        self._next = (run, seen, bad)

    def accept(self) -> None:
        """The batch looked at last was committed."""
        self._counts = self._next

    @staticmethod
    def _advice(rejections: Sequence[Rejection]) -> str:
        last = f" (the last: {rejections[-1].reason})" if rejections else ""
        return (
            f"{last}; nothing of the last batch was committed. Mend the producer, or raise "
            "REJECTION_MAX_RUN and REJECTION_MAX_SHARE to let these records go to the dead letters"
        )
