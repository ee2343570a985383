"""Dead letters: selection, progress of a redrive, and how they are shown."""

from __future__ import annotations

import random

import pytest

from schemas.rejections import CUT_HEADER, Stage
from stream_scorer.__main__ import STAGES
from stream_scorer.dead_letters import DeadLetter, Selection
from stream_scorer.dlq import decode_as_far_as_possible, hex_lines
from stream_scorer.errors import FatalError, UsageError
from stream_scorer.redrive_progress import METADATA_BYTES, RedriveProgress, parse_progress
from stream_scorer.runtime.settings import load_settings
from stream_scorer.settings import GroupSettings


def make_letter(
    value: bytes | None = b"{}", stage: str = "decode", reason: str = "not JSON"
) -> DeadLetter:
    errors = {
        "topic": "transactions",
        "partition": "3",
        "offset": "1207",
        "stage": stage,
        "exception.message": reason,
    }
    return DeadLetter(3, 17, 0, errors, (), b"13926", value, is_cut=False)


def test_words_of_the_command_line_are_those_of_the_scorer() -> None:
    assert tuple(Stage) == STAGES
    assert CUT_HEADER == "dlq.value.original.bytes"


@pytest.mark.parametrize(
    ("selection", "matches"),
    [
        (Selection(), True),
        (Selection(stage="decode"), True),
        (Selection(stage="schema"), False),
        (Selection(reason="JSON"), True),
        (Selection(stage="decode", reason="json"), True),
        (Selection(stage="decode", reason="missing"), False),
    ],
)
def test_selection_needs_all_that_it_names(selection: Selection, matches: bool) -> None:
    assert (make_letter() in selection) is matches


def test_progress_moves_past_everything_looked_at() -> None:
    # 7 is a txn marker: nobody reads it
    progress = RedriveProgress().after([0, 1, 6], next_offset=7, first_left=None)
    assert progress == RedriveProgress(7)
    assert progress.has(6)
    assert not progress.has(7)


def test_progress_stays_at_the_first_left_and_remembers_those_beyond() -> None:
    progress = RedriveProgress(2).after([2, 4, 9], next_offset=12, first_left=3)
    assert progress == RedriveProgress(3, frozenset({4, 9}))
    assert [o for o in range(12) if progress.has(o)] == [0, 1, 2, 4, 9]


def test_progress_catches_up_when_what_was_left_is_done() -> None:
    progress = RedriveProgress(3, frozenset({4, 9}))
    assert progress.after([3, 5], next_offset=12, first_left=None) == RedriveProgress(12)


def test_progress_survives_the_way_through_kafka() -> None:
    rng = random.Random(1)
    beyond = frozenset(rng.sample(range(11, 9_000), 3_000))
    progress = RedriveProgress(10, beyond)
    text = progress.metadata()
    assert len(text) <= METADATA_BYTES
    assert parse_progress(10, text) == progress


def test_progress_without_holes_needs_no_metadata() -> None:
    assert RedriveProgress(10).metadata() == ""
    assert parse_progress(10, None) == RedriveProgress(10)
    assert parse_progress(-1001, None) == RedriveProgress()


def test_regular_holes_of_a_large_topic_fit() -> None:
    progress = RedriveProgress(0, frozenset(range(1, 500_000, 2)))
    assert parse_progress(0, progress.metadata()) == progress


def test_too_many_holes_are_refused_before_anything_is_sent() -> None:
    rng = random.Random(1)
    with pytest.raises(UsageError, match="without a filter"):
        RedriveProgress(0, frozenset(rng.sample(range(1, 200_000), 100_000))).metadata()


@pytest.mark.parametrize("text", ["hello", "redriven:!!", "redriven:AAAA"])
def test_metadata_that_is_not_ours_stops_the_redrive(text: str) -> None:
    with pytest.raises(FatalError):
        parse_progress(10, text)


def test_broken_json_transaction_is_shown_with_its_fault() -> None:
    letter = make_letter(b'{"TransactionID": 7, "TransactionAmt": "much"}')
    decoded, fault = decode_as_far_as_possible(letter, load_settings(GroupSettings))
    assert decoded == {"TransactionID": 7, "TransactionAmt": "much"}
    assert fault is not None


def test_transaction_that_would_be_scored_now_is_shown_without_a_fault() -> None:
    letter = make_letter(b'{"TransactionID": 7, "TransactionDT": 1, "TransactionAmt": 9.5}')
    decoded, fault = decode_as_far_as_possible(letter, load_settings(GroupSettings))
    assert decoded == {"TransactionID": 7, "TransactionDT": 1, "TransactionAmt": 9.5}
    assert fault is None


@pytest.mark.parametrize("value", [None, b"", b"\x00\x00\x00\x00\x63rest", b"\xff\xfe"])
def test_unreadable_value_has_a_fault_and_no_transaction(value: bytes | None) -> None:
    decoded, fault = decode_as_far_as_possible(make_letter(value), load_settings(GroupSettings))
    assert decoded is None
    assert fault


def test_hex_lines_show_offset_bytes_and_text() -> None:
    lines = hex_lines(b"TransactionID\x00\x01\xff" + b"z")
    assert lines[0].split("  ")[1:] == [
        "0000",
        "54 72 61 6e 73 61 63 74 69 6f 6e 49 44 00 01 ff",
        "TransactionID...",
    ]
    assert lines[1].strip().startswith("0010  7a")
