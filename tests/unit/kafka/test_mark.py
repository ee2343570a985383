"""The mark beside a committed offset."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.kafka.mark import TOPIC_ID, format_mark, parse_mark

KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
VALUES = st.text(st.characters(blacklist_characters=";"), min_size=1)


@given(st.dictionaries(KEYS, VALUES))
def test_every_mark_is_read_as_it_was_written(fields: dict[str, str]) -> None:
    assert parse_mark(format_mark(fields)) == fields


def test_topic_id_is_written_under_its_short_key() -> None:
    assert format_mark({TOPIC_ID: "qUWldajtSuazlFH4XZ81+w"}) == "t=qUWldajtSuazlFH4XZ81+w"


def test_unknown_keys_are_kept_and_do_not_hide_the_known_one() -> None:
    assert parse_mark("era=7;t=abc;sum=1f")[TOPIC_ID] == "abc"


@pytest.mark.parametrize("text", [None, "", "rejections:1,2,3,4", ";;", "=x", "a free text", "T=1"])
def test_text_that_is_no_mark_has_no_fields(text: str | None) -> None:
    assert parse_mark(text) == {}


def test_empty_value_is_left_out() -> None:
    assert format_mark({TOPIC_ID: ""}) == ""


@pytest.mark.parametrize("fields", [{"t": "a;b"}, {"": "a"}, {"T": "a"}, {"a=b": "c"}])
def test_field_that_could_not_be_read_back_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not a field of a mark"):
        format_mark(fields)
