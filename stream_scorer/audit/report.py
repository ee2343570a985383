"""The result of an audit, its conclusion and its JSON form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from stream_scorer.audit.recompute.marks import MarkCheck
from stream_scorer.audit.state_file import AuditIdentity
from stream_scorer.audit.verdict import Fault, PartitionRange, Verdict
from stream_scorer.audit.versions import affected

NOT_FAULTS: Final = (
    "expired",
    "older",
    "compacted",
    "later",
    "waiting",
    "not_judged",
    "keys_not_compared",
    "inputs_unread",
    "removed_early",
    "unaudited",
    "unplaced",
    "settled_late",
)
"""Counters that are not faults, by their names in :mod:`stream_scorer.audit.tally`."""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of an audit.

    Attributes:
        verdict: faults and counters.
        identity: ids of cluster, topics and group.
        is_committed_only: only inputs that the group has committed were judged.
        uncommitted: inputs at the end that the group has not committed yet; None if it never
            committed.
        since: beginning of the requested range, epoch milliseconds; None if there is none.
        until: end of the requested range, epoch milliseconds; None if there is none.
        sample: the transaction of one input in ``sample`` was compared; 0: none was.
        state: path of the state file; None without one.
        is_continued: the audit continued from an earlier one.
        seconds: duration of the audit.
        problems: faults that no single input has, a sentence each.
        allowed_lost: number of lost inputs that are known and therefore no fault.
        outside: number of offsets before or after the requested range of times.
        recompute: one score in ``recompute`` was to be computed again; 0: none was.
        marks: what came of comparing the check sums of card histories.
    """

    verdict: Verdict
    identity: AuditIdentity
    is_committed_only: bool
    uncommitted: int | None
    since: int | None
    until: int | None
    sample: int
    state: str | None
    is_continued: bool
    seconds: float
    problems: tuple[str, ...] = ()
    allowed_lost: int = 0
    outside: int = 0
    recompute: int = 0
    marks: MarkCheck = field(default_factory=MarkCheck)

    @property
    def is_verified(self) -> bool:
        """Whether each input has exactly one outcome and there is no other fault.

        False if nothing was judged, or none of the scores that were to be recomputed. An audit
        that continues from a state file and finds no new input is verified by what its earlier
        runs judged.
        """
        is_judged = self.verdict.judged > 0 or self.has_nothing_new
        return self.is_clean and is_judged and not self.has_recomputed_none

    @property
    def is_clean(self) -> bool:
        """Whether no fault was found, which is less than verified."""
        return self.verdict.is_clean and not self.problems and not self.has_lost

    @property
    def has_lost(self) -> bool:
        """Whether more inputs were deleted before they were scored than is allowed."""
        return self.verdict.inputs_lost > self.allowed_lost

    @property
    def has_recomputed_none(self) -> bool:
        """Whether scores were to be computed again, and not one could be."""
        verdict = self.verdict
        return self.recompute > 0 and not verdict.recomputed and verdict.not_recomputed > 0

    @property
    def has_nothing_new(self) -> bool:
        """Whether earlier runs with the state file judged inputs and there are none since."""
        verdict = self.verdict
        is_nothing = not verdict.inputs and not verdict.counts.get("unaudited", 0)
        return self.is_continued and is_nothing and verdict.judged_ever > 0

    @property
    def topics(self) -> Mapping[str, str]:
        """The topic names of the roles ``input``, ``scores`` and ``dead_letters``."""
        return {role: name for role, (name, _) in self.identity.topics.items()}

    @property
    def first_time(self) -> int | None:
        """First timestamp of the inputs read, epoch milliseconds; None if no input was read."""
        return self.verdict.times[0] if self.verdict.times else None

    @property
    def last_time(self) -> int | None:
        """Last timestamp of the inputs read, epoch milliseconds; None if no input was read."""
        return self.verdict.times[1] if self.verdict.times else None

    def as_json(self, model: str | None = None) -> dict[str, Any]:
        """The report as JSON; ``verified`` is the result. Lists what ``model`` scored, if given."""
        verdict, counts = self.verdict, self.verdict.counts
        report: dict[str, Any] = {
            "verified": self.is_verified,
            "conclusion": conclude(self),
            "topics": dict(self.topics),
            "topic_ids": {role: known for role, (_, known) in self.identity.topics.items()},
            "cluster_id": self.identity.cluster,
            "group": self.identity.group,
            "inputs": verdict.inputs,
            "judged": verdict.judged,
            "scores": verdict.scores,
            "dead_letters": verdict.dead_letters,
            "redriven": counts.get("redriven", 0),
            "transactions_compared": counts.get("transactions_compared", 0),
            "sample": self.sample,
            "model_versions": dict(verdict.versions),
            "faults": {str(fault): count for fault, count in verdict.faults.items()},
            "offenders": [offender.as_json() for offender in verdict.offenders],
            "problems": list(self.problems),
            "inputs_lost": verdict.inputs_lost,
            "allowed_lost": self.allowed_lost,
            "expired_inputs": verdict.expired,
            "later_inputs": verdict.later,
            **{
                name: counts.get(name, 0) for name in NOT_FAULTS if name not in ("expired", "later")
            },
            "recompute": self._recompute_json(),
            "committed_only": self.is_committed_only,
            "uncommitted_inputs": self.uncommitted,
            "since": self.since,
            "until": self.until,
            "first_input_time": self.first_time,
            "last_input_time": self.last_time,
            "partitions": [_partition(part) for part in verdict.partitions],
            "digest": verdict.digest,
            "seconds": round(self.seconds, 3),
        }
        if self.state:
            report["state"] = {
                "file": self.state,
                "continued": self.is_continued,
                "totals": dict(verdict.totals),
            }
        if model is not None:
            report["model"] = {
                "version": model,
                "ranges": affected(verdict.intervals, model),
            }
        return report

    def _recompute_json(self) -> dict[str, Any] | None:
        verdict, marks = self.verdict, self.marks
        if not self.recompute:
            return None
        return {
            "one_in": self.recompute,
            "compared": verdict.recomputed,
            "not_reproduced": verdict.faults[Fault.NOT_REPRODUCED],
            "not_judged": verdict.not_recomputed,
            "reasons": dict(verdict.unjudged),
            "marks_compared": marks.compared,
            "marks_not_judged": {str(p): reason for p, reason in marks.unjudged.items()},
        }


def _partition(part: PartitionRange) -> dict[str, Any]:
    return {
        "partition": part.partition,
        "first_offset": part.first,
        "last_offset": part.last,
        "inputs": part.inputs,
        "scores": part.scores,
        "dead_letters": part.dead_letters,
        "missing": part.missing,
        "not_judged": part.not_judged,
        "inputs_lost": part.inputs_lost,
        "next_offset": part.next_input,
    }


def conclude(report: Report) -> str:
    """What was proved, in one sentence that claims no more than that."""
    verdict = report.verdict
    if not report.is_clean:
        return "; ".join(_refusal(report))
    which = _judged_inputs(report)
    if report.has_nothing_new:
        return f"nothing new to judge: no {which.format('inputs')} since the last audit"
    if not verdict.inputs:
        hint = (
            f"; {report.outside:,} offsets are outside the range: check --since and --until, and "
            "that the producers set record times in milliseconds"
            if report.outside
            else ""
        )
        return f"NOT VERIFIED: nothing to judge: no {which.format('inputs')}{hint}"
    if not verdict.judged:
        return f"NOT VERIFIED: none of {verdict.inputs:,} inputs could be judged"
    if report.has_recomputed_none:
        reason = max(verdict.unjudged, key=verdict.unjudged.__getitem__)
        return (
            f"NOT VERIFIED: none of {verdict.not_recomputed:,} scores could be recomputed: {reason}"
        )
    return _claim(report, which.format("input")) + _recomputed(report)


def _claim(report: Report, which: str) -> str:
    """What was proved of the inputs that were judged."""
    verdict = report.verdict
    if left := verdict.counts.get("not_judged", 0):
        return (
            f"verified: every {which} that could be judged has exactly one outcome; {left:,} of "
            f"{verdict.inputs:,} could not"
        )
    if verdict.counts.get("unaudited", 0):
        return f"verified: every {which} that could be judged has exactly one outcome"
    return f"verified: every {which} has exactly one outcome"


def _recomputed(report: Report) -> str:
    """What was proved of the scores that were recomputed."""
    verdict = report.verdict
    if not report.recompute:
        return ""
    one_in = f"1 in {report.recompute:,}"
    if not verdict.recomputed:
        return f"; no score was recomputed: none of the scores is among {one_in}"
    left = f"; {verdict.not_recomputed:,} more could not be" if verdict.not_recomputed else ""
    which = "score was" if verdict.recomputed == 1 else "scores were"
    return f"; {verdict.recomputed:,} {which} recomputed with equal bits ({one_in}){left}"


def _refusal(report: Report) -> Iterator[str]:
    verdict = report.verdict
    reasons = list(report.problems)
    if report.has_lost:
        reasons.append(
            f"up to {verdict.inputs_lost:,} inputs were deleted before they were scored"
            + (f", {report.allowed_lost:,} are allowed" if report.allowed_lost else "")
            + (" (once this is known: --allow-lost N)")
        )
    yield "NOT VERIFIED" + (": " if reasons else "") + (reasons[0] if reasons else "")
    yield from reasons[1:]


def _judged_inputs(report: Report) -> str:
    """A phrase for the inputs that were to be judged, with a placeholder for the noun."""
    return (
        ("new " if report.is_continued else "")
        + ("committed " if report.is_committed_only else "")
        + "{}"
        + (" of the range" if report.since is not None or report.until is not None else "")
    )
