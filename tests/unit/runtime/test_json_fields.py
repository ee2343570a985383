"""Members of JSON that anyone may have written: types, bounds, and messages safe to print."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from stream_scorer.runtime.json_fields import JsonFields, format_time

WORD = re.compile(r"[a-z]+")


def test_members_come_back_with_their_types() -> None:
    fields = JsonFields(
        {
            "count": 3,
            "counts": [1, 2],
            "word": "abc",
            "kind": "b",
            "flag": False,
            "nothing": None,
            "note": "a\nb",
            "time": "2026-01-31T12:00:00Z",
            "inner": {"rows": [{"count": 5}]},
        }
    )
    assert fields.integer("count", 3, 3) == 3
    assert fields.integers("counts", 1, 2) == (1, 2)
    assert fields.text("word", WORD, "a word") == "abc"
    assert fields.choice("kind", ("a", "b")) == "b"
    assert fields.flag("flag") is False
    assert fields.is_null("nothing")
    assert not fields.is_null("absent")
    assert fields.note("note", 3) == r"a\x0ab"
    assert fields.time("time") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    (row,) = fields.inner("inner").rows("rows", 1)
    assert row.integer("count", 0, 9) == 5


CALLS: list[tuple[Callable[[JsonFields], object], str]] = [
    (lambda fields: fields.integer("x", 0, 5), "a whole number from 0 to 5"),
    (lambda fields: fields.integers("x", 0, 5), "a list of whole numbers"),
    (lambda fields: fields.text("x", WORD, "a word"), "a word"),
    (lambda fields: fields.choice("x", ("a", "b")), "a or b"),
    (lambda fields: fields.flag("x"), "true or false"),
    (lambda fields: fields.note("x", 2), "a text of at most 2 characters"),
    (lambda fields: fields.time("x"), "a time such as 2026-01-31T12:00:00Z"),
    (lambda fields: fields.inner("x"), "an object"),
    (lambda fields: fields.rows("x", 0), "a list of at most 0 objects"),
]


@pytest.mark.parametrize(("call", "wanted"), CALLS)
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-1, "-1"),
        (6.0, "6.0"),
        (None, "None"),
        ("ABC", "'ABC'"),
        ("\x1b[2J", r"'\x1b[2J'"),
        ("x" * 500 + "\n", "'" + "x" * 79 + "…"),
        ([{}, {}], "a list"),
        (b"bytes", "a bytes"),
    ],
)
def test_wrong_value_is_shown_with_what_it_should_be(
    call: Callable[[JsonFields], object], wanted: str, value: object, text: str
) -> None:
    expected = f"a.b[0].x is {text}, not {wanted}"
    if isinstance(value, list) and wanted == "a list of whole numbers":
        expected = "a.b[0].x[0] is a dict, not a whole number from 0 to 5"
    with pytest.raises(ValueError, match=re.escape(expected)):
        call(JsonFields({"x": value}, "a.b[0]."))


@pytest.mark.parametrize(("call", "wanted"), CALLS)
def test_missing_member_is_named(call: Callable[[JsonFields], Any], wanted: str) -> None:
    assert wanted
    with pytest.raises(ValueError, match=r"^a\.x is missing$"):
        call(JsonFields({"y": 1}, "a."))


@pytest.mark.parametrize("value", [True, 3.0, "3", 2**63])
def test_what_is_no_whole_number_within_bounds_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not a whole number from 0 to 9"):
        JsonFields({"x": value}).integer("x", 0, 9)


def test_written_times_are_in_utc_and_whole_seconds() -> None:
    time = datetime(2026, 1, 31, 13, 0, 0, 999_999, timezone(timedelta(hours=1)))
    assert format_time(time) == "2026-01-31T12:00:00Z"
    assert JsonFields({"x": format_time(time)}).time("x") == time.replace(microsecond=0)
