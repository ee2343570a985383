"""What ``stream-scorer verify`` says: for people, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.audit_state import Identity
from stream_scorer.audit_versions import affected
from stream_scorer.console import aligned, note, say
from stream_scorer.findings import Fault, Kind, Offender, Verdict
from stream_scorer.times import format_time

_FAULT_WORDS: Final = {
    Fault.MISSING: "has no outcome",
    Fault.DUPLICATE: "has this outcome beside an earlier one",
    Fault.OUT_OF_ORDER: "was scored after a later input of its partition",
    Fault.ORPHAN: "never was, but has this outcome",
    Fault.WRONG_PARTITION: "has its outcome in another partition",
    Fault.WRONG_KEY: "has another key than this outcome",
    Fault.WRONG_TRANSACTION: "is another transaction than this score is of",
    Fault.IMPLAUSIBLE: "has a score that is no probability, or at odds with its decision",
    Fault.UNREADABLE: "cannot be told from this outcome",
    Fault.REDRIVEN_TWICE: "was made of a dead letter that was redriven before",
}
_ASIDE: Final = {
    "expired": "outcomes of inputs that retention has removed, or before the range",
    "compacted": "outcomes of inputs that compaction may have removed",
    "later": "outcomes of inputs beyond those that were judged",
    "waiting": "outcomes of inputs that are not committed yet, kept for the next run",
    "not_judged": "inputs whose outcomes may have expired",
    "keys_not_compared": "outcomes that came too late to compare keys and transactions",
    "inputs_unread": "scores of inputs that cannot be decoded now: transactions not compared",
    "removed_early": "of the missing outcomes may have been deleted by somebody: others of their "
    "partition are gone, and they are younger than what retention removes",
    "unaudited": "offsets that retention removed before this audit came to them",
    "unplaced": "outcomes in wrong partitions, too many to keep: their inputs count as missing",
    "settled_late": "inputs that an earlier run found missing have an outcome now",
}
"""What is counted and is no fault; the names are those of :mod:`stream_scorer.audit_tally`."""

_JUDGED: Final = (
    "unplaced",
    "settled_late",
    "keys_not_compared",
    "inputs_unread",
    "removed_early",
)
_SHOWN_INTERVALS: Final = 5  # of each partition, for a person; all are in the JSON


@dataclass(frozen=True, slots=True)
class Report:
    """The result of an audit.

    Attributes:
        verdict: what was found.
        identity: of cluster, topics and group.
        is_committed_only: only inputs that the group has committed were judged.
        uncommitted: inputs at the end that the group has not committed yet; None if it never
            committed.
        since: where the range begins, epoch milliseconds, if that was asked for.
        until: where it ends, likewise.
        sample: the transaction of one input in so many was compared; none with 0.
        state: the state's file; None without.
        is_continued: the audit went on from an earlier one.
        seconds: how long it took.
    """

    verdict: Verdict
    identity: Identity
    is_committed_only: bool
    uncommitted: int | None
    since: int | None
    until: int | None
    sample: int
    state: str | None
    is_continued: bool
    seconds: float

    @property
    def is_verified(self) -> bool:
        """Whether each input has exactly one outcome, with nothing else wrong.

        Not so when there are inputs and none of them could be judged.
        """
        return self.verdict.is_clean and (self.verdict.judged > 0 or not self.verdict.inputs)

    @property
    def topics(self) -> Mapping[str, str]:
        """The topics' names: input, scores, dead_letters."""
        return {role: name for role, (name, _) in self.identity.topics.items()}

    @property
    def first_time(self) -> int | None:
        """Of the inputs read, epoch milliseconds; None without inputs."""
        return self.verdict.times[0] if self.verdict.times else None

    @property
    def last_time(self) -> int | None:
        """Likewise."""
        return self.verdict.times[1] if self.verdict.times else None

    def as_json(self, model: str | None = None) -> dict[str, Any]:
        """For machines; ``verified`` says it all. With what ``model`` scored, if one is named."""
        verdict, counts = self.verdict, self.verdict.counts
        said: dict[str, Any] = {
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
            "expired_inputs": verdict.expired,
            "later_inputs": verdict.later,
            **{name: counts.get(name, 0) for name in _ASIDE if name not in ("expired", "later")},
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
            said["state"] = {
                "file": self.state,
                "continued": self.is_continued,
                "totals": dict(verdict.totals),
            }
        if model is not None:
            said["model"] = {
                "version": model,
                "ranges": affected(verdict.intervals, model),
            }
        return said


def _partition(part: Any) -> dict[str, Any]:
    return {
        "partition": part.partition,
        "first_offset": part.first,
        "last_offset": part.last,
        "inputs": part.inputs,
        "scores": part.scores,
        "dead_letters": part.dead_letters,
        "missing": part.missing,
        "not_judged": part.not_judged,
        "next_offset": part.next_input,
    }


def print_report(report: Report, model: str | None = None) -> None:
    """The report for a person: counts, the first offenders, the verdict."""
    verdict = report.verdict
    rows = [
        ["inputs", f"{verdict.inputs:,}", report.topics["input"]],
        ["  redriven", f"{verdict.counts.get('redriven', 0):,}", ""],
        ["scores", f"{verdict.scores:,}", report.topics["scores"]],
        *([f"  by {version}", f"{n:,}", ""] for version, n in verdict.versions.items()),
        ["dead letters", f"{verdict.dead_letters:,}", report.topics["dead_letters"]],
        *([str(f).replace("_", " "), f"{n:,}", ""] for f, n in verdict.faults.items()),
    ]
    for line in aligned(rows, right=(1,)):
        say(line)
    for offender in verdict.offenders:
        say(f"  {_words(offender, report.topics)}")
    for line in _asides(report):
        say(line)
    if model is not None:
        for line in _model_lines(verdict, model):
            say(line)
    say(f"digest {verdict.digest}, {report.seconds:.1f} s")
    say(conclude(report))
    if verdict.faults[Fault.MISSING] and report.uncommitted and not report.is_committed_only:
        note(
            f"up to {report.uncommitted:,} inputs are not committed by the scorers yet: wait for "
            "them, or judge only what is committed with --committed"
        )


def _asides(report: Report) -> Iterator[str]:
    verdict = report.verdict
    for name, what in _ASIDE.items():
        if count := verdict.counts.get(name, 0):
            yield f"{count:,} {what}" + ("" if name in _JUDGED else ": not judged")
    if report.is_committed_only and report.uncommitted:
        group = report.identity.group
        yield f"up to {report.uncommitted:,} inputs not committed by the group {group}: not judged"
    if compared := verdict.counts.get("transactions_compared", 0):
        yield f"{compared:,} scores compared with the transaction of their input"
    if verdict.times:
        first, last = verdict.times
        yield f"inputs from {format_time(first)} to {format_time(last)}"
    if report.state and report.is_continued:
        totals = verdict.totals
        faults = sum(totals.get(fault, 0) for fault in Fault)
        yield (
            f"with the runs before: {totals.get('inputs', 0):,} inputs, "
            f"{totals.get('scores', 0):,} scores, {totals.get('dead_letters', 0):,} dead letters, "
            f"{faults:,} faults"
        )


def _model_lines(verdict: Verdict, model: str) -> Iterator[str]:
    ranges = affected(verdict.intervals, model)
    total = sum(part["count"] for part in ranges)
    yield f"{model} scored {total:,} inputs" + (":" if ranges else "")
    for part in ranges:
        yield f"  partition {part['partition']}: {_interval(part)}"
        intervals = part["intervals"] if len(part["intervals"]) > 1 else []
        for interval in intervals[:_SHOWN_INTERVALS]:
            yield f"    {_interval(interval)}"
        if len(intervals) > _SHOWN_INTERVALS:
            yield f"    and {len(intervals) - _SHOWN_INTERVALS} more, see --json"


def _interval(interval: Mapping[str, Any]) -> str:
    return (
        f"{interval['count']:,} of offsets {interval['first_offset']} to "
        f"{interval['last_offset']}, scored from {format_time(interval['first_time'])} to "
        f"{format_time(interval['last_time'])}"
    )


def conclude(report: Report) -> str:
    """What was proved, in a sentence that claims no more."""
    verdict = report.verdict
    if not verdict.is_clean:
        return "NOT VERIFIED"
    which = _judged_inputs(report)
    if not verdict.inputs:
        return f"nothing to judge: no {which.format('inputs')}"
    if not verdict.judged:
        return f"NOT VERIFIED: none of {verdict.inputs:,} inputs could be judged"
    which = which.format("input")
    if left := verdict.counts.get("not_judged", 0):
        return (
            f"verified: every {which} that could be judged has exactly one outcome; {left:,} of "
            f"{verdict.inputs:,} could not"
        )
    if verdict.counts.get("unaudited", 0):
        return f"verified: every {which} that could be judged has exactly one outcome"
    return f"verified: every {which} has exactly one outcome"


def _judged_inputs(report: Report) -> str:
    """Which inputs were to be judged, with a place for the noun."""
    return (
        ("new " if report.is_continued else "")
        + ("committed " if report.is_committed_only else "")
        + "{}"
        + (" of the range" if report.since is not None or report.until is not None else "")
    )


def _words(offender: Offender, topics: Mapping[str, str]) -> str:
    source = offender.source
    where = f"{topics['input']} {source.partition}-{source.offset}" if source else "an input"
    text = f"{str(offender.fault).replace('_', ' ')}: {where} {_FAULT_WORDS[offender.fault]}"
    if offender.outcome and offender.kind:
        topic = topics["scores" if offender.kind is Kind.SCORE else "dead_letters"]
        text += f": {topic} {offender.outcome.partition}-{offender.outcome.offset}"
    return text
