"""When so many records are bad that something is wrong upstream, the scorer stops.

A bad deploy of a producer must not drain the topic into the dead letters. Nor may a scorer that
is restarted again and again: its counts are written down before the dead letters they count are
committed, and the next process goes on from them. So the restarts together dead-letter no more
than one process may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from schemas.rejections import Rejection
from stream_scorer.dead_letters.reasons import similar
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.runtime.text import printable

_SUSPICIOUS: Final = 0.1
"""A batch with a larger part of the allowed share than this is written down before it is committed.
What stays below in every batch never comes near a limit, and costs no call to the broker."""

_REASONS_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class RejectionPolicy:
    """``max_run`` rejections in a row, or more than ``max_share`` of the recent records.

    Attributes:
        max_run: the longest run that is let through.
        max_share: the largest share that is let through.
        window: records that are remembered, at least; older ones fade.
        minimum: from so many records on the share is judged: fewer say too little.
    """

    max_run: int = 1_000
    max_share: float = 0.5
    window: int = 5_000
    minimum: int = 500


@dataclass(frozen=True, slots=True)
class RejectionTally:
    """What was counted so far.

    Attributes:
        run: rejections in a row up to the last record.
        seen: recent records.
        bad: rejections among them.
        allowance: the next rejections, so many, are let through uncounted.
    """

    run: int = 0
    seen: int = 0
    bad: int = 0
    allowance: int = 0

    def worse(self, other: RejectionTally) -> RejectionTally:
        """The worse of two in each respect, with the larger allowance."""
        heavier = self if self.bad >= other.bad else other
        return replace(
            heavier,
            run=max(self.run, other.run),
            allowance=max(self.allowance, other.allowance),
        )


class RejectionLedger(Protocol):
    """Keeps tallies, by input partition, beyond the process."""

    def read(self, partitions: Iterable[int]) -> Mapping[int, RejectionTally]:
        """The tallies of those of ``partitions`` that have one.

        Raises:
            RetryableError: it cannot be read now.
        """
        ...

    def write(self, partitions: Iterable[int], tally: RejectionTally) -> None:
        """Replace the tally of each of ``partitions``; it is there to stay on return.

        Raises:
            RetryableError: it cannot be written now.
        """
        ...


class RejectionGuard:
    """Counts rejections as batches come; stops the process before a batch is committed.

    Guaranteed with a ledger: however often and wherever the process is killed, the counts of the
    next one include every batch that had more than a tenth of the allowed share of rejections.
    The ledger is read once for each assignment, and written only while there is trouble.

    Args:
        policy: the limits.
        ledger: None: the counts end with the process.
        assigned: the input partitions owned now.
    """

    def __init__(
        self,
        policy: RejectionPolicy,
        ledger: RejectionLedger | None = None,
        assigned: Callable[[], frozenset[int]] = frozenset,
    ) -> None:
        self._policy = policy
        self._ledger = ledger
        self._assigned = assigned
        self._known: frozenset[int] = frozenset()  # partitions whose tally we go on from
        self._is_written = False  # the ledger holds a tally that is not harmless
        self._tally = self._next = RejectionTally()
        self._reasons: dict[str, str] = {}  # similar ones → the first

    def check(self, size: int, rejections: Sequence[Rejection]) -> None:
        """Look at one batch of ``size`` records, which counts once it is accepted.

        Raises:
            FatalError: a limit is passed; nothing of this batch may be committed.
        """
        self._recall(is_urgent=bool(rejections))
        before = self._tally
        counted = sorted(r.index for r in rejections)[before.allowance :]
        left = before.allowance - (len(rejections) - len(counted))
        run, longest = _runs(before.run, size, counted)
        after = RejectionTally(run, before.seen + size, before.bad + len(counted), left)
        is_suspicious = self._is_suspicious(size, len(rejections))
        self._remember(rejections, is_suspicious)
        self._judge(longest, after)
        if after.seen >= 2 * self._policy.window:  # older batches fade
            after = replace(after, seen=after.seen // 2, bad=after.bad // 2)
        self._next = after
        if is_suspicious or self._is_written:
            self._write(after)

    def accept(self) -> None:
        """The batch looked at last was committed."""
        self._tally = self._next

    def _judge(self, longest: int, after: RejectionTally) -> None:
        policy = self._policy
        if longest > policy.max_run:
            raise FatalError(
                f"{longest:,} records in a row were rejected, more than the {policy.max_run:,} of "
                f"REJECTION_MAX_RUN" + self._advice()
            )
        if after.seen >= policy.minimum and after.bad > after.seen * policy.max_share:
            raise FatalError(
                f"{after.bad:,} of the last {after.seen:,} records were rejected, more than the "
                f"{policy.max_share:.0%} of REJECTION_MAX_SHARE" + self._advice()
            )

    def _is_suspicious(self, size: int, rejections: int) -> bool:
        return rejections > size * self._policy.max_share * _SUSPICIOUS

    def _recall(self, *, is_urgent: bool) -> None:
        """Go on from the tallies of whoever had our partitions before us."""
        assigned = self._assigned()
        new = assigned - self._known
        if self._ledger is not None and new:
            try:
                found = self._ledger.read(new)
            except RetryableError as error:
                if is_urgent:
                    raise FatalError(
                        f"cannot tell how many were rejected before: {error}"
                    ) from error
                self._known &= assigned  # good records can go on: asked again with the next batch
                return
            for tally in found.values():
                self._tally = self._tally.worse(tally)
                self._is_written = True
        self._known = assigned

    def _write(self, tally: RejectionTally) -> None:
        if self._ledger is not None:
            try:
                self._ledger.write(self._assigned(), tally)
            except RetryableError as error:
                raise FatalError(f"cannot write down how many were rejected: {error}") from error
            self._is_written = (
                tally.run > 0 or tally.allowance > 0 or self._is_suspicious(tally.seen, tally.bad)
            )

    def _remember(self, rejections: Sequence[Rejection], is_suspicious: bool) -> None:
        if not is_suspicious:
            self._reasons.clear()
        for rejection in rejections:
            if len(self._reasons) >= _REASONS_NAMED:
                return
            reason = f"{rejection.stage.value}: {rejection.reason}"
            self._reasons.setdefault(similar(reason), reason)

    def _advice(self) -> str:
        first = "; ".join(map(printable, self._reasons.values()))
        return (
            f". First reasons: {first}. Nothing of the last batch was committed, and a restart "
            "stops here again. Look at the dead letters before it with: stream-scorer dlq list "
            "--since 1h. If the producer is at fault, mend it first. To go on, let the next N "
            "through with: stream-scorer dlq allow N, and start again; or raise "
            "REJECTION_MAX_RUN or REJECTION_MAX_SHARE for good"
        )


def _runs(run: int, size: int, indices: Sequence[int]) -> tuple[int, int]:
    """The run at the end of a batch and the longest on the way, from the run before it."""
    longest, last = run, -1
    for index in indices:
        run = run + 1 if index == last + 1 else 1
        longest, last = max(longest, run), index
    return (run if last == size - 1 else 0), longest
