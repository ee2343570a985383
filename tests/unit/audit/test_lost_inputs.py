"""Inputs that were deleted before they were scored."""

from __future__ import annotations

import pytest

from stream_scorer.audit.committed import (
    CommittedMark,
    count_uncommitted,
    describe_problems,
    parse_mark,
)
from stream_scorer.audit.ledger import Clocks
from stream_scorer.audit.records.columns import OutcomeKind
from stream_scorer.audit.report import Report, conclude
from stream_scorer.audit.verdict import Fault, Verdict
from stream_scorer.kafka.spans import Span
from tests.support.audit.audit_kit import (
    HERE,
    MemoryTopics,
    Row,
    faults,
    judge,
    new_auditor,
    reloaded,
)


def removed(low: int, high: int = 10) -> MemoryTopics:
    """One partition whose inputs before ``low`` were removed."""
    return MemoryTopics({0: Span(low, high)}).with_inputs(range(low, high))


def lost(verdict: Verdict) -> int:
    assert sum(part.inputs_lost for part in verdict.partitions) == verdict.inputs_lost
    return verdict.inputs_lost


@pytest.mark.parametrize("stripe", [1, 1000])
def test_removed_inputs_with_outcomes_are_not_lost(stripe: int) -> None:
    topics = removed(5).write([(0, 0), (0, 1), (0, 3)]).write([(0, 2)], OutcomeKind.DEAD_LETTER)
    topics.write([(0, i) for i in range(4, 10)])
    verdict = judge(topics, stripe=stripe, committed={0: 10})
    assert (lost(verdict), faults(verdict)) == (0, {})


@pytest.mark.parametrize("stripe", [1, 1000])
def test_removed_inputs_without_outcomes_are_lost(stripe: int) -> None:
    topics = removed(6).write([(0, 0), (0, 1), (0, 3), *((0, i) for i in range(6, 10))])
    verdict = judge(topics, stripe=stripe, committed={0: 10})
    assert (lost(verdict), faults(verdict)) == (3, {})


def test_inputs_between_the_committed_offset_and_the_first_record_are_lost() -> None:
    assert lost(judge(removed(6), committed={0: 2})) == 4


def test_removed_inputs_from_before_the_first_outcome_are_not_known_to_be_lost() -> None:
    topics = removed(6).write([(0, i) for i in range(5, 10)])
    assert lost(judge(topics, committed={0: 10})) == 0


def test_removed_inputs_whose_outcomes_may_have_expired_are_not_known_to_be_lost() -> None:
    topics = removed(6).write([(0, 0), (0, 1)]).write([(0, 4)], OutcomeKind.DEAD_LETTER, at=3)
    topics.write([(0, i) for i in range(5, 10)])
    assert lost(judge(topics, committed={0: 10})) == 0


def test_gap_as_long_as_those_that_txn_markers_leave_is_not_lost() -> None:
    topics = MemoryTopics({0: Span(5, 12)}).with_inputs([5, 6, 8, 9, 11])
    topics.write([(0, i) for i in (0, 1, 3, 5, 6, 8, 9, 11)])  # 2 and 4 may have been markers
    assert lost(judge(topics, committed={0: 4})) == 0
    assert lost(judge(topics, committed={0: 3})) == 2


def test_removed_inputs_of_a_compacted_topic_are_not_lost() -> None:
    auditor = new_auditor()
    auditor._is_compacted = True
    topics = removed(6).write([(0, 0), *((0, i) for i in range(6, 10))])
    assert lost(judge(topics, auditor=auditor, committed={0: 10})) == 0


def test_continued_audit_reports_lost_inputs_once() -> None:
    topics = MemoryTopics({0: Span(0, 4)}).with_inputs(range(4)).write([(0, i) for i in range(4)])
    auditor = new_auditor(has_next_run=True)
    assert lost(judge(topics, auditor=auditor, committed={0: 4})) == 0
    topics.spans = {0: Span(7, 10)}
    topics.inputs_at = {0: dict.fromkeys(range(7, 10))}
    topics.write([(0, 4), (0, 7), (0, 8), (0, 9)])
    auditor = reloaded(auditor)
    verdict = judge(topics, auditor=auditor, committed={0: 10})
    assert (lost(verdict), verdict.totals["inputs_lost"]) == (2, 2)
    assert lost(judge(topics, auditor=reloaded(auditor), committed={0: 10})) == 0


def test_forged_outcome_of_a_distant_offset_takes_no_time() -> None:
    low = 2**50
    topics = MemoryTopics({0: Span(low, low + 2)}).with_inputs([low, low + 1])
    topics.write([(0, 0), (0, low), (0, low + 1)])
    assert lost(judge(topics, committed={0: low + 2})) == low - 1


# --- older outcomes


@pytest.mark.parametrize("stripe", [1, 2, 1000])
def test_outcome_that_is_older_than_its_input_is_not_counted_as_its_outcome(stripe: int) -> None:
    topics = MemoryTopics({0: Span(0, 2)}, input_times={0: 9000, 1: 9000}).with_inputs([0, 1])
    topics.write([Row((0, 0), time=100), Row((0, 1), time=7999)])
    assert faults(judge(topics, stripe=stripe)) == {Fault.MISSING: 2}
    topics.write([Row((0, 0), time=8000), Row((0, 1), time=9001)])
    verdict = judge(topics, stripe=1000)
    assert (faults(verdict), verdict.counts["older"]) == ({}, 2)


def test_times_that_prove_nothing_make_no_outcome_older() -> None:
    topics = MemoryTopics({0: Span(0, 2)}, input_times={0: 10**16, 1: -1}).with_inputs([0, 1])
    topics.write([Row((0, 0), time=9000), Row((0, 1), time=-1)])
    verdict = judge(topics, clocks=Clocks(0, latest=10_000))
    assert (faults(verdict), verdict.counts.get("older", 0)) == ({}, 0)


# --- the group's committed offsets


def test_nothing_is_uncommitted_where_more_was_committed_than_the_spans_hold() -> None:
    spans = {0: Span(0, 10), 1: Span(5, 20), 2: Span(3, 4)}
    assert count_uncommitted(spans, {0: 34, 1: 18}) == 0 + 2 + 1
    assert count_uncommitted(spans, {1: 2}) == 10 + 15 + 1
    assert count_uncommitted(spans, {}) is None


@pytest.mark.parametrize(
    ("metadata", "topic_id"),
    [(None, None), ("", None), ("t=abc", "abc"), ("era=3;t=a=;sum=1", "a="), ("junk;t", None)],
)
def test_mark_of_a_committed_offset_has_the_topic_id(
    metadata: str | None, topic_id: str | None
) -> None:
    mark = parse_mark(5, metadata)
    assert (mark.offset, mark.topic_id) == (5, topic_id)


def test_committed_offsets_beyond_the_end_or_of_another_topic_are_described() -> None:
    marks = {
        0: CommittedMark(10, {"t": "now"}),
        1: CommittedMark(11, {}),
        2: CommittedMark(1, {"t": "old"}),
    }
    ends = dict.fromkeys(range(3), 10)
    beyond, other = describe_problems("in", "scorers", marks, ends, "now")
    assert beyond.startswith("group scorers has committed offset 11 of in partition 1, which ends")
    assert "earlier topic in (id old; now now)" in other
    assert describe_problems("in", "scorers", {0: marks[0]}, ends, "now") == []
    assert describe_problems("in", "scorers", {2: marks[2]}, ends, "") == []


# --- what the report makes of them


def report_of(verdict: Verdict, **more: object) -> Report:
    return Report(verdict, HERE, False, 0, None, None, 1, None, False, 1.0, **more)  # type: ignore[arg-type]


def test_lost_inputs_are_not_verified_unless_they_are_allowed() -> None:
    topics = removed(6).write([(0, i) for i in range(6, 10)])
    verdict = judge(topics, committed={0: 2})
    report = report_of(verdict)
    assert (report.is_verified, verdict.is_clean) == (False, True)
    assert conclude(report) == (
        "NOT VERIFIED: up to 4 inputs were deleted before they were scored (once this is known: "
        "--allow-lost N)"
    )
    assert not report_of(verdict, allowed_lost=3).is_verified
    assert report_of(verdict, allowed_lost=4).is_verified


def test_problem_of_the_group_is_not_verified() -> None:
    topics = MemoryTopics().with_inputs([0]).write([(0, 0)])
    report = report_of(judge(topics), problems=("the offset is wrong", "and so is the topic"))
    assert not report.is_verified
    assert conclude(report) == "NOT VERIFIED: the offset is wrong; and so is the topic"


def test_continued_audit_without_new_inputs_is_verified_by_its_earlier_runs() -> None:
    topics = MemoryTopics().with_inputs([0]).write([(0, 0)])
    auditor = new_auditor(has_next_run=True)
    judge(topics, auditor=auditor, edges={0: 1, 1: 0})
    verdict = judge(topics, auditor=auditor, edges={0: 1, 1: 0})
    assert verdict.inputs == 0
    report = Report(verdict, HERE, True, 0, None, None, 1, "file", True, 1.0)
    assert report.is_verified
    assert conclude(report) == (
        "nothing new to judge: no new committed inputs since the last audit"
    )
    never = judge(MemoryTopics(), auditor=new_auditor(has_next_run=True))
    assert not Report(never, HERE, True, 0, None, None, 1, "file", True, 1.0).is_verified
