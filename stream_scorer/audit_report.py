"""What ``stream-scorer verify`` says: for people, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.console import aligned, note, say
from stream_scorer.findings import Fault, Kind, Offender, Verdict

_FAULT_WORDS: Final = {
    Fault.MISSING: "has no outcome",
    Fault.DUPLICATE: "has this outcome beside an earlier one",
    Fault.OUT_OF_ORDER: "was scored after a later input of its partition",
    Fault.ORPHAN: "never was, but has this outcome",
    Fault.WRONG_PARTITION: "has its outcome in another partition",
    Fault.WRONG_KEY: "has another key than this outcome",
    Fault.UNREADABLE: "cannot be told from this outcome",
}


@dataclass(frozen=True, slots=True)
class Report:
    """The result of an audit.

    Attributes:
        verdict: what was found.
        topics: the topics' names: input, scores, dead_letters.
        uncommitted: inputs at the end that the group has not committed yet; None if it was not
            asked for, or never committed.
        first_time: of the inputs read, epoch milliseconds; None without inputs.
        last_time: likewise.
        seconds: how long it took.
    """

    verdict: Verdict
    topics: Mapping[str, str]
    uncommitted: int | None
    first_time: int | None
    last_time: int | None
    seconds: float

    @property
    def is_verified(self) -> bool:
        """Whether each input has exactly one outcome, with nothing else wrong."""
        return self.verdict.is_clean

    def as_json(self) -> dict[str, Any]:
        """For machines; ``verified`` says it all."""
        verdict = self.verdict
        return {
            "verified": self.is_verified,
            "topics": dict(self.topics),
            "inputs": verdict.inputs,
            "scores": verdict.scores,
            "dead_letters": verdict.dead_letters,
            "faults": {str(fault): count for fault, count in verdict.faults.items()},
            "offenders": [offender.as_json() for offender in verdict.offenders],
            "expired_inputs": verdict.expired,
            "later_inputs": verdict.later,
            "not_judged": sum(part.not_judged for part in verdict.partitions),
            "uncommitted_inputs": self.uncommitted,
            "first_input_time": self.first_time,
            "last_input_time": self.last_time,
            "partitions": [
                {
                    "partition": part.partition,
                    "first_offset": part.first,
                    "last_offset": part.last,
                    "inputs": part.inputs,
                    "scores": part.scores,
                    "dead_letters": part.dead_letters,
                    "missing": part.missing,
                    "not_judged": part.not_judged,
                }
                for part in verdict.partitions
            ],
            "digest": verdict.digest,
            "seconds": round(self.seconds, 3),
        }


def print_report(report: Report) -> None:
    """The report for a person: counts, the first offenders, the verdict."""
    verdict = report.verdict
    rows = [
        ["inputs", f"{verdict.inputs:,}", report.topics["input"]],
        ["scores", f"{verdict.scores:,}", report.topics["scores"]],
        ["dead letters", f"{verdict.dead_letters:,}", report.topics["dead_letters"]],
        *([str(f).replace("_", " "), f"{n:,}", ""] for f, n in verdict.faults.items()),
    ]
    for line in aligned(rows, right=(1,)):
        say(line)
    for offender in verdict.offenders:
        say(f"  {_words(offender, report.topics)}")
    for count, what in (
        (verdict.expired, "outcomes of inputs that retention has removed"),
        (verdict.later, "outcomes of inputs beyond those that were judged"),
        (sum(p.not_judged for p in verdict.partitions), "inputs whose outcomes have expired"),
    ):
        if count:
            say(f"{count:,} {what}: not judged")
    say(f"digest {verdict.digest}, {report.seconds:.1f} s")
    say("verified: every input has exactly one outcome" if report.is_verified else "NOT VERIFIED")
    if verdict.faults[Fault.MISSING] and report.uncommitted:
        note(
            f"up to {report.uncommitted:,} inputs are not committed by the scorers yet: wait for "
            "them, or judge only what is committed with --committed"
        )


def _words(offender: Offender, topics: Mapping[str, str]) -> str:
    source = offender.source
    where = f"{topics['input']} {source.partition}-{source.offset}" if source else "an input"
    text = f"{str(offender.fault).replace('_', ' ')}: {where} {_FAULT_WORDS[offender.fault]}"
    if offender.outcome and offender.kind:
        topic = topics["scores" if offender.kind is Kind.SCORE else "dead_letters"]
        text += f": {topic} {offender.outcome.partition}-{offender.outcome.offset}"
    return text
