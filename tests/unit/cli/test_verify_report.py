"""The report of an audit, as text and as JSON, and its progress lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from stream_scorer.audit.records.columns import Content, OutcomeKind
from stream_scorer.audit.report import Report, conclude
from stream_scorer.cli.verify_progress import log_lines
from stream_scorer.cli.verify_report import print_report
from stream_scorer.kafka.spans import Span
from tests.support.audit.audit_kit import HERE, MemoryTopics, Row, judge


def report_of(
    topics: MemoryTopics, *, edges: Mapping[int, int] | None = None, **more: Any
) -> Report:
    given: dict[str, Any] = {
        "is_committed_only": False, "uncommitted": 0, "since": None, "until": None, "sample": 1,
        "state": None, "is_continued": False,
    }  # fmt: skip
    return Report(judge(topics, edges=edges), HERE, seconds=1.0, **{**given, **more})


def test_report_lists_the_range_of_a_model_as_text_and_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    topics = MemoryTopics().with_inputs(range(4))
    topics.write([Row((0, i), version=f"v{i // 2}") for i in range(4)])
    report = report_of(topics)
    as_json = orjson.loads(orjson.dumps(report.as_json("v1")))
    assert as_json["model_versions"] == {"v0": 2, "v1": 2}
    (found,) = as_json["model"]["ranges"]
    assert (found["partition"], found["first_offset"], found["last_offset"]) == (0, 2, 3)
    print_report(report, "v1")
    lines = capsys.readouterr().out.splitlines()
    assert "v1 scored 2 inputs:" in lines
    assert any(line.startswith("  partition 0: 2 in offsets 2 to 3") for line in lines)
    assert lines[-1] == "verified: every input has exactly one outcome"


def test_report_does_not_claim_more_than_was_judged(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(report_of(MemoryTopics().with_inputs(range(4)).write([(0, 2), (0, 3)], at=2)))
    lines = capsys.readouterr().out.splitlines()
    claim = "verified: every input that could be judged has exactly one outcome; 2 of 4 could not"
    assert lines[-1] == claim
    assert "2 inputs whose outcomes may have expired: not judged" in lines


def test_report_states_that_only_committed_inputs_were_judged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    topics = MemoryTopics().with_inputs(range(4)).write([(0, 0), (0, 1)])
    report = report_of(topics, edges={0: 2, 1: 0}, is_committed_only=True, uncommitted=2)
    assert report.is_verified
    print_report(report)
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[-1] == "verified: every committed input has exactly one outcome"
    assert "up to 2 inputs not committed by the group scorers: not judged" in lines
    assert printed.err == ""
    assert (report.as_json()["committed_only"], report.as_json()["uncommitted_inputs"]) == (True, 2)


def test_report_without_inputs_claims_nothing() -> None:
    report = report_of(MemoryTopics(), uncommitted=None)
    assert not report.is_verified
    assert conclude(report) == "NOT VERIFIED: nothing to judge: no inputs"


@pytest.mark.parametrize(
    ("given", "claim"),
    [
        ({}, "every input"),
        ({"since": 1}, "every input of the range"),
        ({"until": 9, "is_committed_only": True}, "every committed input of the range"),
        ({"is_committed_only": True, "is_continued": True}, "every new committed input"),
    ],
)
def test_report_states_which_inputs_were_judged(given: dict[str, Any], claim: str) -> None:
    topics = MemoryTopics().with_inputs([0])
    nothing = claim.removeprefix("every ").replace("input", "inputs")
    claimed = conclude(report_of(MemoryTopics(), **given))
    assert claimed == f"NOT VERIFIED: nothing to judge: no {nothing}"
    report = report_of(topics.write([(0, 0)]), **given)
    assert conclude(report) == f"verified: {claim} has exactly one outcome"


def test_audit_that_could_judge_none_of_its_inputs_is_not_verified() -> None:
    topics = MemoryTopics().with_inputs(range(4)).write([(0, 9)], at=7)
    report = report_of(topics, edges={0: 4, 1: 0})
    assert report.verdict.is_clean
    assert not report.is_verified
    assert conclude(report) == "NOT VERIFIED: none of 4 inputs could be judged"
    assert report.as_json()["conclusion"] == conclude(report)


def test_report_states_what_was_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    topics = (
        MemoryTopics(contents={1: Content.UNKNOWN})
        .with_inputs(range(3))
        .write([(0, 0), (0, 1), (0, 2)])
    )
    print_report(report_of(topics))
    lines = capsys.readouterr().out.splitlines()
    assert "1 scores of inputs whose schema is unknown now: transactions not compared" in lines
    assert "2 scores compared with the transaction of their input" in lines


def test_report_lists_the_faults(capsys: pytest.CaptureFixture[str]) -> None:
    topics = MemoryTopics({0: Span(0, 2)}).with_inputs([0, 1]).write([(0, 0), (0, 0), Row(None)])
    topics.write([(0, 9)], OutcomeKind.DEAD_LETTER)
    print_report(report_of(topics, uncommitted=5))
    printed = capsys.readouterr()
    assert "  missing: in 0-1 has no outcome" in printed.out
    assert (
        "  duplicate: in 0-0 has this outcome in addition to an earlier one: out 0-1" in printed.out
    )
    assert "  orphan: in 0-9 does not exist, but has this outcome: dlq 0-0" in printed.out
    assert printed.out.splitlines()[-1] == "NOT VERIFIED"
    assert "the scorers have not committed up to 5 inputs yet" in printed.err


def test_progress_lines_show_share_and_rate() -> None:
    ticks = iter([0.0, 4.0, 11.0, 12.0, 22.0])
    lines: list[str] = []
    show = log_lines(lambda: next(ticks), lines.append)
    for done in (100, 1100, 1200, 2200):
        show(done, 2200)
    assert lines == [
        "verify: 50 % of 2,200 offsets read, 100/s",
        "verify: 100 % of 2,200 offsets read, 100/s",
    ]
