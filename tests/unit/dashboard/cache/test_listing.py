"""Filters and orders of the list: the table, the plans of its queries, and their parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard.cache import reading
from dashboard.cache.flag import Position
from dashboard.cache.flag_table import Counts, FlagWriter
from dashboard.cache.parsing import parse_selection, parse_sort
from dashboard.cache.reading import Listing, Sort, count_flags, read_page, read_position
from dashboard.cache.selection import Selection
from dashboard.cache.times import parse_time
from tests.support.listing.varied_flags import FLAGS, HOUR, NOW, OPTIONS

SELECTIONS = st.builds(
    Selection, **{name: st.none() | st.sampled_from(values) for name, values in OPTIONS.items()}
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    writer = FlagWriter(tmp_path_factory.mktemp("db") / "flags.sqlite3", keep=1000)
    writer.save(FLAGS, {}, Counts())
    yield writer.path
    writer.close()


def order_of(sort: Sort) -> dict[str, Any]:
    """The arguments of ``sorted`` for an order."""
    if sort is Sort.EXPECTED_LOSS:
        return {"key": lambda flag: flag.position, "reverse": True}
    return {"key": lambda flag: flag.key, "reverse": sort is Sort.NEWEST}


@pytest.mark.parametrize("few", [1, 1000])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(selection=SELECTIONS, sort=st.sampled_from(list(Sort)))
def test_every_plan_finds_what_the_selection_matches_in_the_order_asked_for(
    monkeypatch: pytest.MonkeyPatch, path: Path, few: int, selection: Selection, sort: Sort
) -> None:
    monkeypatch.setattr(reading, "_FEW", few)
    expected = sorted((f for f in FLAGS if selection.matches(f, NOW)), **order_of(sort))
    listing = Listing(selection, NOW, sort)
    found = read_page(path, listing, None, 100)
    assert [row.id for row in found] == [flag.id for flag in expected]
    assert count_flags(path, listing) == len(expected)


@pytest.mark.parametrize("sort", list(Sort))
def test_pages_neither_skip_nor_repeat_rows(path: Path, sort: Sort) -> None:
    listing = Listing(Selection(), NOW, sort)
    seen: list[str] = []
    after: Position | None = None
    while page := read_page(path, listing, after, 7):
        seen += [row.id for row in page]
        after = page[-1].position
    assert seen == [flag.id for flag in sorted(FLAGS, **order_of(sort))]


@pytest.mark.parametrize("sort", list(Sort))
def test_gap_between_two_rows_is_counted(path: Path, sort: Sort) -> None:
    listing = Listing(Selection(product="W"), NOW, sort)
    rows = read_page(path, listing, None, 100)
    first, last = (read_position(path, rows[i].id) for i in (2, 9))
    assert count_flags(path, listing, after=first, before=last) == 6
    assert count_flags(path, listing, after=last) == len(rows) - 10
    assert count_flags(path, listing, after=last, before=first) == 0


def test_every_filter_is_in_the_query_string_and_read_from_it() -> None:
    given = Selection(
        0.5, 1.0, -3.0, 20.5, "W&C", 13926.0, 315.0, "a b@c", "é", "BLOCK", "v1", "C13", "open",
        "24h", "2026-11-23", 7, "q=1",
    )  # fmt: skip
    assert None not in [getattr(given, name) for name in Selection.__dataclass_fields__]
    query = dict(pair.split("=", 1) for pair in given.query().split("&"))
    assert query["card1"] == "13926"
    assert parse_selection(dict(parse_qsl(given.query()))) == (given, [])
    assert parse_selection({}) == (Selection(), [])
    assert parse_sort({"sort": "expected_loss"}) == (Sort.EXPECTED_LOSS, [])


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("min_score", "nan", "must be a number from 0 to 1, not 'nan'"),
        ("max_score", "1.1", "must be a number from 0 to 1, not '1.1'"),
        ("min_amount", "inf", "must be a number, not 'inf'"),
        ("status", "closed", "must be open, claimed, mine, snoozed or decided, not 'closed'"),
        ("decision", "block", "must be REVIEW, BLOCK or SAMPLE, not 'block'"),
        ("since", "yesterday", "must be a span before now such as 15m"),
        ("until", "2026-02-31", "must be a span before now such as 15m"),
        ("transaction_id", "9" * 5000, "must be a whole number below 2^63"),
        ("email", "x" * 201, "must be text of at most 200 characters"),
        ("device", "a\0b", "must be text of at most 200 characters"),
    ],
)
def test_parameter_that_is_not_valid_is_named_with_the_way_out(
    name: str, text: str, reason: str
) -> None:
    selection, faults = parse_selection({name: text})
    assert selection == Selection()
    assert [fault["field"] for fault in faults] == [name]
    assert faults[0]["reason"].startswith(reason)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("90s", NOW - 90_000),
        ("2w", NOW - 14 * 24 * HOUR),
        ("2026-11-18", 1_794_960_000_000),
        ("2026-11-18T11:06:40Z", NOW),
        ("2026-11-18 11:06", NOW - 40_000),
        ("2026-11-18T25:00", None),
        ("24", 24),
        ("1.5h", None),
        ("", None),
    ],
)
def test_times_are_spans_or_utc_or_milliseconds(text: str, expected: int | None) -> None:
    assert parse_time(text, NOW) == expected


def test_case_that_is_not_open_is_not_in_a_selection_of_open_ones() -> None:
    flag = FLAGS[1]
    for status in ("open", "claimed", "snoozed", "decided"):
        selection = replace(Selection(), status=status)
        assert selection.matches(flag, NOW, status)
        assert selection.matches(flag, NOW) == (status == "open")
