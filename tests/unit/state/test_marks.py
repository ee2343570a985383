"""The history in a mark: what is written is read, and nothing else is."""

from __future__ import annotations

import pytest

from stream_scorer.kafka.mark import format_mark, parse_mark
from stream_scorer.state.marks import format_sum, history_mark, read_history_mark

SPEC = "0123456789abcdef" * 4


def test_mark_is_read_back_from_the_text_beside_an_offset() -> None:
    mark = history_mark(SPEC, 3, 0xABC)
    text = format_mark({"t": "topic-id", **mark.fields()})
    assert text == "t=topic-id;era=3;sum=0000000000000abc;spec=0123456789abcdef"
    assert read_history_mark(parse_mark(text)) == mark


@pytest.mark.parametrize("check_sum", [0, 1, 2**63, 2**64 - 1])
def test_every_check_sum_has_sixteen_digits(check_sum: int) -> None:
    assert len(format_sum(check_sum)) == 16
    assert int(format_sum(check_sum), 16) == check_sum


@pytest.mark.parametrize(
    "changes",
    [
        {"sum": ""},
        {"sum": "abc"},
        {"sum": "ABCDEF0123456789"},
        {"era": ""},
        {"era": "-1"},
        {"era": "1.5"},
        {"era": "1" * 30},
        {"era": "\u0661"},
        {"spec": "0123"},
        {"spec": "../../etc/passwd"},
    ],
)
def test_mark_that_is_not_one_of_ours_is_none(changes: dict[str, str]) -> None:
    fields = history_mark(SPEC, 3, 0xABC).fields()
    assert read_history_mark(fields) is not None
    assert read_history_mark(fields | changes) is None


def test_mark_of_a_release_without_histories_is_none() -> None:
    assert read_history_mark(parse_mark("t=topic-id")) is None
    assert read_history_mark(parse_mark(None)) is None
