"""The report of an audit, as text and as JSON, and its progress lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest

from stream_scorer.audit.recompute.marks import MarkCheck
from stream_scorer.audit.records.columns import Content, OutcomeKind
from stream_scorer.audit.report import Report, conclude
from stream_scorer.cli.progress import log_lines
from stream_scorer.cli.verify_report import print_report
from stream_scorer.kafka.spans import Span
from tests.support.audit.audit_kit import HERE, MemoryTopics, Row, judge
from tests.support.audit.forged_topics import Topics, edit_score
from tests.support.audit.recompute_kit import Fixed, rescore, topics
from tests.support.factories import make_bundle


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


def recomputed(of: Topics) -> Report:
    return Report(of.judge(), HERE, False, 0, None, None, 1, None, False, 1.0, recompute=1)


def test_report_of_recomputed_scores_says_how_many_were_equal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = recomputed(topics())
    assert report.is_verified
    number = report.verdict.scores
    print_report(report)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == (
        f"verified: every input has exactly one outcome; {number} scores were recomputed with "
        "equal bits (1 in 1)"
    )
    assert f"{number} scores recomputed (1 in 1)" in lines
    assert report.as_json()["recompute"] == {
        "one_in": 1, "compared": number, "not_reproduced": 0, "not_judged": 0, "reasons": {},
        "marks_compared": 0, "marks_not_judged": {},
    }  # fmt: skip
    assert report_of(MemoryTopics()).as_json()["recompute"] is None


def test_report_of_a_score_that_was_not_reproduced_has_both_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    of = topics()
    of.scores(1)[2] = edit_score(of.scores(1)[2], score=0.25)
    report = recomputed(of)
    assert not report.is_verified
    print_report(report)
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.startswith("  not reproduced: in 1-")]
    assert "has a score that its model version does not give: out 1-2 (score 0.25, rec" in line
    assert lines[-1] == "NOT VERIFIED"
    assert report.as_json()["recompute"]["not_reproduced"] == 1


def test_report_does_not_claim_that_scores_which_were_not_judged_are_good(
    capsys: pytest.CaptureFixture[str],
) -> None:
    of = topics()
    rows = rescore(of, make_bundle("v8"), from_offset=20)
    report = recomputed(of)
    assert report.is_verified
    print_report(report)
    lines = capsys.readouterr().out.splitlines()
    reason = "version v8 is not in the store memory://"
    assert f"{rows} scores not recomputed, so not judged: {reason}" in lines
    assert lines[-1].endswith(f"recomputed with equal bits (1 in 1); {rows} more could not be")
    assert report.as_json()["recompute"]["reasons"] == {reason: rows}
    report = recomputed(topics(bundles=Fixed({})))
    assert report.verdict.is_clean
    assert not report.is_verified
    number = report.verdict.scores
    assert conclude(report) == (
        f"NOT VERIFIED: none of {number} scores could be recomputed: version v3 is not there"
    )


def test_report_says_that_no_score_was_chosen() -> None:
    report = replace(recomputed(topics(recompute=10**6)), recompute=10**6)
    assert report.is_verified
    assert conclude(report).endswith(
        "; no score was recomputed: none of the scores is among 1 in 1,000,000"
    )


def test_check_sum_that_differs_is_a_problem() -> None:
    report = recomputed(topics())
    marks = MarkCheck(1, ("the history of partition 0 differs",), {2: "another era"})
    report = replace(report, problems=marks.problems, marks=marks)
    assert not report.is_verified
    assert conclude(report) == "NOT VERIFIED: the history of partition 0 differs"
    assert report.as_json()["recompute"]["marks_not_judged"] == {"2": "another era"}


def test_progress_lines_show_share_and_rate() -> None:
    ticks = iter([0.0, 4.0, 11.0, 12.0, 22.0])
    lines: list[str] = []
    show = log_lines("verify", lambda: next(ticks), lines.append)
    for done in (100, 1100, 1200, 2200):
        show(done, 2200)
    assert lines == [
        "verify: 50 % of 2,200 offsets read, 100/s, about 11 s left",
        "verify: 100 % of 2,200 offsets read, 100/s",
    ]
