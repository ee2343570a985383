"""Stops the scorer when too many records are rejected.

A bad deploy of a producer must not drain the topic into the dead letters, and neither must a
scorer in a restart loop. So the counts of rejections are saved before the dead letters they count
are committed, and the next process continues from them. All restarts together write no more dead
letters than a single process may.

Tombstones are dead letters too, but deletions upstream are no bad deployment. They are left out of
all counts: they neither continue a run of rejections nor end it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, Protocol

from schemas.rejections import Rejection
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.stream.rejections.reasons import ReasonCounts

_SUSPICIOUS: Final = 0.1
"""If a batch uses more than this part of the allowed share, the counts are saved before its commit.
Batches that stay below never get near a limit, and cost no call to the broker."""


@dataclass(frozen=True, slots=True)
class RejectionPolicy:
    """The limits on rejected records.

    Attributes:
        max_run: the most rejections in a row that are allowed.
        max_share: the largest share of recent records that may be rejected.
        window: at least this many records count as recent; the weight of older ones is halved.
        minimum: the share is checked only from this many records on; with fewer it means little.
    """

    max_run: int = 1_000
    max_share: float = 0.5
    window: int = 5_000
    minimum: int = 500


@dataclass(frozen=True, slots=True)
class RejectionTally:
    """The counts so far.

    Attributes:
        run: rejections in a row up to the last record.
        seen: recent records.
        bad: rejections among them.
        allowance: the number of further rejections that are allowed without being counted.
    """

    run: int = 0
    seen: int = 0
    bad: int = 0
    allowance: int = 0

    def worse(self, other: RejectionTally) -> RejectionTally:
        """The higher counts of the two, with the larger allowance."""
        heavier = self if self.bad >= other.bad else other
        return replace(
            heavier,
            run=max(self.run, other.run),
            allowance=max(self.allowance, other.allowance),
        )


class RejectionLedger(Protocol):
    """Stores tallies by input partition, so that they survive the process."""

    def read(self, partitions: Iterable[int]) -> Mapping[int, RejectionTally]:
        """The tallies of ``partitions``, for those that have one.

        Raises:
            RetryableError: they cannot be read now.
        """
        ...

    def write(self, partitions: Iterable[int], tally: RejectionTally) -> None:
        """Replace the tally of each of ``partitions``; on return it is stored durably.

        Raises:
            RetryableError: it cannot be written now.
        """
        ...


class RejectionGuard:
    """Counts the rejections of each batch, and stops the process before a commit exceeds a limit.

    With a ledger, the counts of the next process include every batch that had more than a tenth of
    the allowed share of rejections, no matter how often and where the process is killed. The
    ledger is read once for each assignment, and written only while many records are rejected.

    Args:
        policy: the limits.
        ledger: where to store the counts; None: they are lost with the process.
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
        self._known: frozenset[int] = (
            frozenset()
        )  # partitions whose stored tally is included in ours
        self._is_written = False  # the ledger holds a tally that matters
        self._tally = self._next = RejectionTally()
        self._reasons = self._next_reasons = _Reasons()

    def check(self, size: int, rejections: Sequence[Rejection]) -> None:
        """Check a batch of ``size`` records. It counts once :meth:`accept` is called.

        Raises:
            FatalError: a limit is exceeded; nothing of this batch may be committed.
            RetryableError: the stored counts cannot be read or written now.
        """
        self._read_ledger(is_urgent=bool(rejections))
        size, found = _without_tombstones(size, rejections)
        before = self._tally
        counted = found[before.allowance :]
        left = before.allowance - (len(found) - len(counted))
        runs = _runs(before.run, size, [index for index, _ in counted])
        after = RejectionTally(runs.at_end, before.seen + size, before.bad + len(counted), left)
        is_suspicious = self._is_suspicious(size, len(found))
        reasons = self._reasons.after([rejection for _, rejection in counted], runs)
        self._judge(runs.longest, after, reasons, len(found))
        if after.seen >= 2 * self._policy.window:  # halve the weight of older batches
            after = replace(after, seen=after.seen // 2, bad=after.bad // 2)
            reasons.recent.halve()
        self._next, self._next_reasons = after, reasons
        if is_suspicious or self._is_written:
            self._write(after)

    def accept(self) -> None:
        """The batch checked last was committed."""
        self._tally, self._reasons = self._next, self._next_reasons

    def _judge(self, longest: int, after: RejectionTally, reasons: _Reasons, in_batch: int) -> None:
        policy = self._policy
        if longest > policy.max_run:
            raise FatalError(
                f"{longest:,} records in a row were rejected, more than the limit of "
                f"{policy.max_run:,} (REJECTION_MAX_RUN)" + _advice(reasons.longest, in_batch)
            )
        if after.seen >= policy.minimum and after.bad > after.seen * policy.max_share:
            raise FatalError(
                f"{after.bad:,} of the last {after.seen:,} records were rejected, more than the "
                f"limit of {policy.max_share:.0%} (REJECTION_MAX_SHARE)"
                + _advice(reasons.recent, in_batch)
            )

    def _is_suspicious(self, size: int, rejections: int) -> bool:
        return rejections > size * self._policy.max_share * _SUSPICIOUS

    def _read_ledger(self, *, is_urgent: bool) -> None:
        """Include the tallies of the previous owners of our partitions."""
        assigned = self._assigned()
        new = assigned - self._known
        if self._ledger is not None and new:
            try:
                found = self._ledger.read(new)
            except RetryableError as error:
                if is_urgent:
                    raise RetryableError(
                        f"cannot read the stored counts of rejected records: {error}"
                    ) from error
                self._known &= assigned  # no rejections here: try again with the next batch
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
                raise RetryableError(
                    f"cannot store the counts of rejected records: {error}"
                ) from error
            self._is_written = (
                tally.run > 0 or tally.allowance > 0 or self._is_suspicious(tally.seen, tally.bad)
            )


@dataclass(slots=True)
class _Reasons:
    """The reasons behind the counts of a tally; those of an earlier process are not known.

    Attributes:
        run: of the run that the last record belongs to.
        recent: of the recent records.
        longest: of the longest run in the batch added last.
    """

    run: ReasonCounts = field(default_factory=ReasonCounts)
    recent: ReasonCounts = field(default_factory=ReasonCounts)
    longest: ReasonCounts = field(default_factory=ReasonCounts)

    def after(self, rejections: Sequence[Rejection], runs: _Runs) -> _Reasons:
        """The reasons after one more batch; ``runs`` are rows of ``rejections``."""
        if not rejections:
            return _Reasons(self.run if runs.at_end else ReasonCounts(), self.recent)
        recent = self.recent.copy()
        recent.add(rejections)
        return _Reasons(
            self._of(runs.last, rejections) if runs.at_end else ReasonCounts(),
            recent,
            self._of(runs.where_longest, rejections),
        )

    def _of(self, part: _Run, rejections: Sequence[Rejection]) -> ReasonCounts:
        found = self.run.copy() if part.is_continued else ReasonCounts()
        found.add(rejections[part.begin : part.end])
        return found


class _Run(NamedTuple):
    """Rows of the counted rejections of a batch that are one run."""

    begin: int = 0
    end: int = 0
    is_continued: bool = True  # it began in an earlier batch


class _Runs(NamedTuple):
    """The runs of rejections in a batch: lengths, and the rows of the longest and the last one."""

    at_end: int
    longest: int
    where_longest: _Run
    last: _Run


def _without_tombstones(
    size: int, rejections: Sequence[Rejection]
) -> tuple[int, list[tuple[int, Rejection]]]:
    """The batch as if it had no tombstones: its size, and the other rejections with their rows."""
    ordered = sorted(rejections, key=lambda r: r.index)
    found, tombstones = [], 0
    for rejection in ordered:
        if rejection.is_tombstone:
            tombstones += 1
        else:
            found.append((rejection.index - tombstones, rejection))
    return size - tombstones, found


def _runs(run: int, size: int, indices: Sequence[int]) -> _Runs:
    """The runs of rejections at ``indices`` of a batch, given the length of the run before it."""
    longest, last = run, -1
    part = where = _Run()
    for row, index in enumerate(indices):
        if index == last + 1:
            run, part = run + 1, part._replace(end=row + 1)
        else:
            run, part = 1, _Run(row, row + 1, is_continued=False)
        if run > longest:
            longest, where = run, part
        last = index
    return _Runs(run if last == size - 1 else 0, longest, where, part)


def _advice(reasons: ReasonCounts, in_batch: int) -> str:
    return (
        f". Commonest reasons: {reasons.describe()}. This batch was not committed, and a restarted "
        "scorer will stop here again. To see the earlier dead letters, run: stream-scorer dlq list "
        f"--since 1h. If the producer is at fault, fix it first. To let the {in_batch:,} rejected "
        f"records of this batch pass, run: stream-scorer dlq allow {in_batch} (a larger number "
        "also allows later ones), and restart; or raise REJECTION_MAX_RUN or REJECTION_MAX_SHARE "
        "permanently"
    )
