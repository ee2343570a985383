"""The query string of the threshold page, and the wording of its numbers."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from dashboard.web.problems import Problem
from dashboard.web.threshold.query import Question, parse_question
from dashboard.web.threshold.texts import (
    MEASURES,
    build_cell,
    format_change,
    format_rate,
    format_share,
    format_threshold,
)
from stream_scorer.quality.sources import LabelSource

BY_KEY = {measure.key: measure for measure in MEASURES}


def test_question_is_its_own_query_string() -> None:
    asked = Question(30, LabelSource.REVIEWED, "v7", 0, 0.6237, 2.5)
    assert parse_question(dict(parse_qsl(asked.query()))) == asked
    assert parse_question({}) == Question()
    assert parse_question({"window": "", "threshold": " ", "labels": ""}) == Question()
    assert parse_question({"window": "14", "maturity": "30d"}) == Question(14, maturity=30)
    assert "threshold" not in asked.query(threshold=None)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("window", "0d", "must be 1d to 365d"),
        ("window", "7w", "must be 1d to 365d"),
        ("maturity", "-1", "must be 0d to 365d"),
        ("labels", "all", "must be one of matured, reviewed, sampled"),
        ("threshold", "nan", "must be a number from 0 to 1"),
        ("threshold", "1.01", "must be a number from 0 to 1"),
        ("minutes", "inf", "must be a number from 0 to 600"),
        ("model", "v" * 201, "must have at most 200 characters"),
    ],
)
def test_invalid_parameter_is_named_with_its_value(name: str, value: str, reason: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_question({name: value, "window": "7d"} | {name: value})
    assert caught.value.status == 422
    assert caught.value.errors == [{"field": name, "reason": f"{reason}, not {value[:40]!r}"}]


def test_numbers_have_the_digits_that_count() -> None:
    rates = (0, 0.412, 9.996, 35.25, 99.95, 1240.4, 2.5, None)
    assert [format_rate(rate) for rate in rates] == [
        "0", "0.41", "10.00", "35.3", "100.0", "1,240", "2.50", "—",
    ]  # fmt: skip
    assert [format_share(share) for share in (0.4125, 0, 1, None)] == [
        "41.3 %",
        "0.0 %",
        "100.0 %",
        "—",
    ]
    assert format_threshold(0.7, 0.6237) == "0.7000"
    assert format_threshold(0.6237, 0.6237) == "0.6237"
    assert format_threshold(0.7, 0.5) == "0.700"


def test_cells_say_what_is_known() -> None:
    known = {"value": 0.5, "low": 0.38, "high": 0.62, "n": 1003, "few": False}
    at = {
        "alerts_per_day": 90.0,
        "caught_per_day": 12.0,
        "missed_per_day": None,
        "precision": known,
        "recall": known | {"value": None, "n": 12, "few": True},
        "legitimate_per_day": known | {"value": None, "low": None, "high": None},
    }
    cells = {key: build_cell(BY_KEY[key], at, 4.0, ["caught_per_day"]) for key in BY_KEY}
    assert (cells["precision"].main, cells["precision"].interval) == ("50.0 %", "38.0–62.0 %")  # noqa: RUF001
    assert (cells["precision"].n, cells["precision"].is_few) == ("n = 1,003", False)
    assert (cells["recall"].main, cells["recall"].interval) == ("38.0–62.0 %", "")  # noqa: RUF001
    assert cells["recall"].is_few
    assert cells["legitimate_per_day"].main == "Not estimable"
    assert cells["missed_per_day"].main == "Not estimable"
    assert cells["caught_per_day"].main == "≥ 12.0"
    assert cells["hours"].main == "6.00"


@pytest.mark.parametrize(
    ("key", "before", "after", "text"),
    [
        ("alerts_per_day", 1240.0, 890.0, "−28 %"),  # noqa: RUF001
        ("alerts_per_day", 100.0, 103.14, "+3.1 %"),
        ("alerts_per_day", 100.0, 100.0, "0 %"),
        ("alerts_per_day", 0.0, 5.0, "—"),
        ("alerts_per_day", 0.0, 0.0, "0 %"),
        ("missed_per_day", None, 5.0, "—"),
        ("precision", 0.41, 0.52, "+11.0 points"),
        ("precision", 0.5, 0.49999, "0.0 points"),
        ("precision", 0.5, None, "—"),
    ],
)
def test_change_is_in_percent_and_of_shares_in_points(
    key: str, before: float | None, after: float | None, text: str
) -> None:
    def at(value: float | None) -> dict[str, object]:
        return {key: {"value": value} if key == "precision" else value}

    assert format_change(BY_KEY[key], at(before), at(after), 4.0) == text


def test_hours_follow_the_alerts_and_the_minutes() -> None:
    live, proposed = {"alerts_per_day": 600.0}, {"alerts_per_day": 300.0}
    assert build_cell(BY_KEY["hours"], live, 6.0, ()).main == "60.0"
    assert format_change(BY_KEY["hours"], live, proposed, 6.0) == "−50 %"  # noqa: RUF001
