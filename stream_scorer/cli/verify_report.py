"""Prints the report of an audit as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from stream_scorer.audit.records.columns import OutcomeKind
from stream_scorer.audit.report import NOT_FAULTS, Report, conclude
from stream_scorer.audit.verdict import Fault, Offender, Verdict
from stream_scorer.audit.versions import affected
from stream_scorer.cli.console import aligned, note, say
from stream_scorer.cli.times import format_time

_FAULT_TEXTS: Final = {
    Fault.MISSING: "has no outcome",
    Fault.DUPLICATE: "has this outcome in addition to an earlier one",
    Fault.OUT_OF_ORDER: "was scored after a later input of its partition",
    Fault.ORPHAN: "does not exist, but has this outcome",
    Fault.WRONG_PARTITION: "has its outcome in another partition",
    Fault.WRONG_KEY: "has a different key from this outcome",
    Fault.WRONG_TRANSACTION: "has a different transaction id or event time from this score",
    Fault.IMPLAUSIBLE: "has a score that is not a probability or contradicts its decision",
    Fault.UNREADABLE: "cannot be determined from this outcome",
    Fault.REDRIVEN_TWICE: "comes from a dead letter that was redriven before",
    Fault.MALFORMED: "has a score with bytes after its end",
    Fault.WRONG_VERSION: "has a score of a model version that cannot exist",
    Fault.OTHER_THRESHOLDS: "has a score with other thresholds than those of its model version",
    Fault.UNSCORABLE: "cannot be scored, but has this score",
    Fault.WRONG_REJECTION: "can be decoded, but this dead letter says that it cannot",
    Fault.WRONG_VALUE: "has a different value from this dead letter",
    Fault.UNEXPLAINED: "has a dead letter without a known stage or without a reason",
    Fault.NOT_REPRODUCED: "has a score that its model version does not give",
}

_NOT_FAULT_TEXTS: Final = {
    "expired": "outcomes of inputs that were removed by retention or are before the range",
    "older": "outcomes that are older than their input, so of an earlier topic: not counted as its "
    "outcome (if the producers' clocks are ahead of the scorers', use --clock-skew)",
    "compacted": "outcomes of inputs that compaction may have removed",
    "later": "outcomes of inputs after the judged range",
    "waiting": "outcomes of inputs that are not committed yet, kept for the next run",
    "not_judged": "inputs whose outcomes may have expired",
    "keys_not_compared": "outcomes that came too late to compare keys and transactions",
    "inputs_unread": "scores of inputs whose schema is unknown now: transactions not compared",
    "removed_early": "of the missing outcomes were probably deleted by hand: other outcomes of "
    "their partition were removed, and these are too recent for retention",
    "unaudited": "offsets that retention removed before this audit read them",
    "unplaced": "outcomes in wrong partitions, too many to keep: their inputs count as missing",
    "settled_late": "inputs that an earlier run reported missing have an outcome now",
}

_JUDGED: Final = (
    "older",
    "unplaced",
    "settled_late",
    "keys_not_compared",
    "inputs_unread",
    "removed_early",
)

_SHOWN_INTERVALS: Final = 5  # of each partition; the JSON has all of them


def print_report(report: Report, model: str | None = None) -> None:
    """Print counts, the first offenders and the conclusion."""
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
        say(f"  {_describe(offender, report.topics)}")
    for line in _notes(report):
        say(line)
    if model is not None:
        for line in _model_lines(verdict, model):
            say(line)
    say(f"digest {verdict.digest}, {report.seconds:.1f} s")
    say(conclude(report))
    if verdict.faults[Fault.MISSING] and report.uncommitted and not report.is_committed_only:
        note(
            f"the scorers have not committed up to {report.uncommitted:,} inputs yet: wait until "
            "they have, or use --committed to judge only committed inputs"
        )


def _notes(report: Report) -> Iterator[str]:
    verdict = report.verdict
    for name in NOT_FAULTS:
        if count := verdict.counts.get(name, 0):
            yield f"{count:,} {_NOT_FAULT_TEXTS[name]}" + (
                "" if name in _JUDGED else ": not judged"
            )
    if report.is_committed_only and report.uncommitted:
        group = report.identity.group
        yield f"up to {report.uncommitted:,} inputs not committed by the group {group}: not judged"
    if verdict.inputs_lost:
        where = ", ".join(
            f"partition {part.partition}: {part.inputs_lost:,}"
            for part in verdict.partitions
            if part.inputs_lost
        )
        yield f"up to {verdict.inputs_lost:,} inputs were deleted before they were scored ({where})"
    if compared := verdict.counts.get("transactions_compared", 0):
        yield f"{compared:,} scores compared with the transaction of their input"
    if report.recompute:
        yield f"{verdict.recomputed:,} scores recomputed (1 in {report.recompute:,})"
    for reason, number in sorted(verdict.unjudged.items(), key=lambda item: -item[1]):
        yield f"{number:,} scores not recomputed, so not judged: {reason}"
    for partition, reason in report.marks.unjudged.items():
        yield f"check sum of the history of partition {partition} not compared: {reason}"
    if verdict.times:
        first, last = verdict.times
        yield f"inputs from {format_time(first)} to {format_time(last)}"
    if report.state and report.is_continued:
        totals = verdict.totals
        faults = sum(totals.get(fault, 0) for fault in Fault)
        yield (
            f"including earlier runs: {totals.get('inputs', 0):,} inputs, "
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
            yield f"    and {len(intervals) - _SHOWN_INTERVALS} more (use --json to list all)"


def _interval(interval: Mapping[str, Any]) -> str:
    return (
        f"{interval['count']:,} in offsets {interval['first_offset']} to "
        f"{interval['last_offset']}, scored from {format_time(interval['first_time'])} to "
        f"{format_time(interval['last_time'])}"
    )


def _describe(offender: Offender, topics: Mapping[str, str]) -> str:
    source = offender.source
    where = f"{topics['input']} {source.partition}-{source.offset}" if source else "an input"
    text = f"{str(offender.fault).replace('_', ' ')}: {where} {_FAULT_TEXTS[offender.fault]}"
    if offender.outcome and offender.kind:
        topic = topics["scores" if offender.kind is OutcomeKind.SCORE else "dead_letters"]
        text += f": {topic} {offender.outcome.partition}-{offender.outcome.offset}"
    return f"{text} ({offender.detail})" if offender.detail else text
