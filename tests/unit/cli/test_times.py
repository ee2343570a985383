"""Times on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from stream_scorer.cli.parsing.parser import build_parser
from stream_scorer.cli.times import format_time, parse_time

NOW = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 1_699_999_910_000),
        ("15m", 1_699_999_100_000),
        ("2h", 1_699_992_800_000),
        ("3d", 1_699_740_800_000),
        ("1w", 1_699_395_200_000),
        ("2023-11-14", 1_699_920_000_000),
        ("2023-11-14T22:13:20", 1_700_000_000_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000),
        ("2023-11-15T03:43:20+05:30", 1_700_000_000_000),
        ("1969-12-31", 0),
        ("999999999d", 0),
        ("999999999w", 0),
    ],
)
def test_time_is_iso_8601_or_an_age(text: str, expected: int) -> None:
    assert parse_time(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "15", "m", "-5m", "2023-13-01", "1.5h"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time: use 15m"):
        parse_time(text)


@pytest.mark.parametrize("command", [["verify"], ["dlq", "list"], ["dlq", "redrive"]])
@pytest.mark.parametrize("text", ["1w", "36h", "2026-01-31"])
def test_every_command_accepts_the_same_times(command: list[str], text: str) -> None:
    args = build_parser().parse_args([*command, "--since", text, "--until", text])
    assert args.since <= args.until


def test_time_is_shown_to_the_second_in_utc() -> None:
    assert format_time(1_700_000_000_999) == "2023-11-14T22:13:20Z"
    assert format_time(-1) == "no time"
