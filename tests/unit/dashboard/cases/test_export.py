"""Exports: the list with its filters, safe for spreadsheets, and in the audit log."""

from __future__ import annotations

import csv
import io
import json

import pytest

from dashboard.cases.log import Channel
from dashboard.web.cases.export import format_cell
from tests.support.desk.desk_kit import MemoryLog
from tests.support.waiting import wait_until
from tests.unit.dashboard.cases.conftest import Dashboard, StartDashboard

FORMULAS = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1"]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_has_the_filtered_list_with_its_cases(desk: Dashboard) -> None:
    note = {"label": "FRAUD", "note": '=HYPERLINK("http://evil")\nsecond line, with a comma'}
    desk.call("ana", "POST", "/flags/0-3/decision", note)
    answer = desk.call("ana", "GET", "/export.csv?min_amount=20&sort=expected_loss")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith('attachment; filename="flagged-')
    found = rows(answer.text)
    assert [row["id"] for row in found] == ["0-3", "0-2", "0-1"]
    assert (found[0]["status"], found[0]["label"], found[0]["decided_by"]) == (
        "decided", "FRAUD", "ana",
    )  # fmt: skip
    assert found[0]["note"] == "'" + note["note"]
    assert (found[1]["amount"], found[1]["label"]) == ("30.0", "")
    assert found[1]["scored_at"].endswith("+00:00")


@pytest.mark.parametrize("text", FORMULAS)
def test_cell_that_looks_like_a_formula_is_text(text: str) -> None:
    assert format_cell("product", text) == f"'{text}"


def test_numbers_and_impossible_times_are_written_as_they_are() -> None:
    assert format_cell("amount", -5.0) == "-5.0"  # a number is one, whatever its sign
    assert format_cell("scored_at", 2**60) == str(2**60)
    assert format_cell("product", None) == ""


def test_json_lines_have_the_same_rows_in_full(desk: Dashboard) -> None:
    answer = desk.call("lea", "GET", "/export.jsonl?product=W")
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert [flag["id"] for flag in found] == ["0-3", "0-2", "0-1", "0-0"]
    assert found[0]["case"]["status"] == "open"
    assert len(found[0]["reasons"]) == 5
    assert desk.call("lea", "GET", "/export.jsonl?product=none").text == ""


def test_export_is_in_the_audit_log_before_its_first_row(desk: Dashboard, log: MemoryLog) -> None:
    desk.call("ana", "GET", "/export.csv?product=W&min_score=0.5")
    wait_until(lambda: log.records(Channel.AUDIT), what="the event")
    wait_until(lambda: desk.call("lea", "GET", "/audit").json()["items"], what="the list")
    (event,) = desk.call("lea", "GET", "/audit?kind=export").json()["items"]
    assert (event["by"], event["role"]) == ("ana", "analyst")
    assert event["details"] == {"format": "csv", "query": "min_score=0.5&product=W"}


def test_faults_are_refused_before_anything_is_sent(desk: Dashboard, log: MemoryLog) -> None:
    assert desk.call("ana", "GET", "/export.csv?limit=5").status_code == 400
    assert desk.call("ana", "GET", "/export.csv?min_score=2").status_code == 422
    assert log.records(Channel.AUDIT) == []


def test_exports_can_be_switched_off(start: StartDashboard, log: MemoryLog) -> None:
    dashboard = start(export_enabled=False)
    for name in ("export.csv", "export.jsonl"):
        answer = dashboard.call("lea", "GET", f"/{name}")
        assert (answer.status_code, answer.json()["type"]) == (403, "export-disabled")
        assert "EXPORT_ENABLED=false" in answer.json()["detail"]
    assert log.records(Channel.AUDIT) == []
