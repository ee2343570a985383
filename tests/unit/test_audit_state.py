"""The state of an audit on file, and what is said of an audit."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from stream_scorer.audit import Audit
from stream_scorer.audit_progress import log_lines
from stream_scorer.audit_report import Report, print_report
from stream_scorer.audit_state import Identity, load_audit, save_audit
from stream_scorer.errors import UsageError
from stream_scorer.findings import Kind, Span
from stream_scorer.times import format_time, parse_time
from tests.audit_kit import MemoryTopics, Row, judge

HERE = Identity(
    "cluster-1",
    {"input": ("in", "id-1"), "scores": ("out", "id-2"), "dead_letters": ("dlq", "id-3")},
)


def audited() -> tuple[Audit, MemoryTopics]:
    topics = MemoryTopics().with_inputs(range(8)).write([(0, i) for i in range(7)] + [(1, 3)])
    topics.write([(0, 1), (0, 99)], Kind.DEAD_LETTER).write([(0, 7)], partition=1)
    audit = Audit(is_carrying=True)
    judge(topics, audit=audit, edges={0: 5, 1: 2})
    return audit, topics


def test_audit_on_file_goes_on_as_one_in_memory_does(tmp_path: Path) -> None:
    audit, topics = audited()
    topics.write([Row((0, 7), version="v2")])
    save_audit(tmp_path / "state", HERE, audit)
    loaded = load_audit(tmp_path / "state", HERE, 20)
    assert loaded is not None
    assert judge(topics, audit=loaded) == judge(topics, audit=audit)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_there_is_no_audit_without_a_file(tmp_path: Path) -> None:
    assert load_audit(tmp_path / "state", HERE, 20) is None


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Identity("cluster-2", HERE.topics), "is of cluster cluster-1"),
        (Identity("cluster-1", {**HERE.topics, "input": ("else", "id-1")}), "not of else"),
        (Identity("cluster-1", {**HERE.topics, "scores": ("out", "id-9")}), "out was made anew"),
    ],
)
def test_state_of_other_topics_is_refused(tmp_path: Path, other: Identity, message: str) -> None:
    save_audit(tmp_path / "state", HERE, audited()[0])
    with pytest.raises(UsageError, match=message):
        load_audit(tmp_path / "state", other, 20)


def changed(raw: bytes) -> bytes:
    whole = orjson.loads(raw)
    whole["audit"]["ledgers"]["0"]["head"] += 1
    return orjson.dumps(whole)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (changed, "checksum"),
        (lambda raw: raw[:-10], "no state of an audit"),
        (lambda _: b"", "no state of an audit"),
        (lambda _: b"[]", "no state of an audit"),
        (lambda raw: raw.replace(b'"format":1', b'"format":2'), "format 2"),
    ],
)
def test_damaged_state_is_refused(tmp_path: Path, damage: Any, message: str) -> None:
    path = tmp_path / "state"
    save_audit(path, HERE, audited()[0])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UsageError, match=message):
        load_audit(path, HERE, 20)


def test_state_that_cannot_be_written_or_read_is_a_clear_message(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        save_audit(tmp_path / "nowhere" / "state", HERE, Audit())
    with pytest.raises(UsageError, match="cannot be read"):
        load_audit(tmp_path, HERE, 20)


def report_of(topics: MemoryTopics, **more: Any) -> Report:
    given: dict[str, Any] = {
        "uncommitted": 0, "since": None, "until": None, "state": None, "is_continued": False,
    }  # fmt: skip
    return Report(judge(topics), HERE, "scorers", seconds=1.0, **{**given, **more})


def test_report_names_the_range_of_a_model_for_people_and_machines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    topics = MemoryTopics().with_inputs(range(4))
    topics.write([Row((0, i), version=f"v{i // 2}") for i in range(4)])
    report = report_of(topics)
    said = orjson.loads(orjson.dumps(report.as_json("v1")))
    assert said["model_versions"] == {"v0": 2, "v1": 2}
    (found,) = said["model"]["ranges"]
    assert (found["partition"], found["first_offset"], found["last_offset"]) == (0, 2, 3)
    print_report(report, "v1")
    lines = capsys.readouterr().out.splitlines()
    assert "v1 scored 2 inputs:" in lines
    assert any(line.startswith("  partition 0: 2 of offsets 2 to 3") for line in lines)
    assert lines[-1] == "verified: every input has exactly one outcome"


def test_report_does_not_claim_what_was_not_judged(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(report_of(MemoryTopics().with_inputs(range(4)).write([(0, 2), (0, 3)], at=2)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "verified: every input that could be judged has exactly one outcome"
    assert "2 inputs whose outcomes may have expired: not judged" in lines


def test_report_names_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    topics = MemoryTopics({0: Span(0, 2)}).with_inputs([0, 1]).write([(0, 0), (0, 0), Row(None)])
    topics.write([(0, 9)], Kind.DEAD_LETTER)
    print_report(report_of(topics, uncommitted=5))
    said = capsys.readouterr()
    assert "  missing: in 0-1 has no outcome" in said.out
    assert "  duplicate: in 0-0 has this outcome beside an earlier one: out 0-1" in said.out
    assert "  orphan: in 0-9 never was, but has this outcome: dlq 0-0" in said.out
    assert said.out.splitlines()[-1] == "NOT VERIFIED"
    assert "up to 5 inputs are not committed" in said.err


def test_progress_is_told_now_and_then_with_share_and_rate() -> None:
    ticks = iter([0.0, 4.0, 11.0, 12.0, 22.0])
    lines: list[str] = []
    show = log_lines(lambda: next(ticks), lines.append)
    for done in (100, 1100, 1200, 2200):
        show(done, 2200)
    assert lines == [
        "verify: 50 % of 2,200 offsets read, 100/s",
        "verify: 100 % of 2,200 offsets read, 100/s",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00+05:30", "2026-01-31T06:30:00Z"),
        ("36h", "2026-01-30T12:00:00Z"),
        ("2d", "2026-01-30T00:00:00Z"),
    ],
)
def test_times_are_read(text: str, expected: str) -> None:
    assert format_time(parse_time(text, datetime(2026, 2, 1, tzinfo=UTC))) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "36", "-3h", "2026-13-01"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - several messages of the standard library
        parse_time(text)
