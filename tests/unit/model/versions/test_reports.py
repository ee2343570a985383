"""What metadata says of the report is checked: anyone may have written it."""

from __future__ import annotations

from typing import Any

import pytest

from stream_scorer.model.versions.reports import describe_report, find_report

GOOD = describe_report(b"page", "v3").as_json()


def test_facts_of_a_report_go_through_metadata() -> None:
    facts = describe_report(b"page", "v3")
    assert find_report({"files": {"report.html": facts.as_json()}}) == facts
    assert (facts.version, facts.size, len(facts.sha256)) == ("v3", 4, 64)


@pytest.mark.parametrize(
    "entry",
    [
        None, "x", [], {}, GOOD | {"version": "../v1"}, GOOD | {"version": 3},
        GOOD | {"version": "v1\n"}, GOOD | {"sha256": "A" * 64}, GOOD | {"sha256": "a" * 63},
        GOOD | {"sha256": None}, GOOD | {"bytes": -1}, GOOD | {"bytes": True},
        GOOD | {"bytes": "4"},
    ],
)  # fmt: skip
def test_entry_that_is_not_one_of_ours_names_no_report(entry: Any) -> None:
    assert find_report({"files": {"report.html": entry}}) is None


@pytest.mark.parametrize("metadata", [{}, {"files": None}, {"files": []}, {"files": {}}])
def test_metadata_of_earlier_releases_names_no_report(metadata: dict[str, Any]) -> None:
    assert find_report(metadata) is None
