"""Dead letters: filters, the progress of a redrive, and how they are shown."""

from __future__ import annotations

import json
import math
import random
import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.batch import build_batch
from schemas.rejections import CUT_HEADER, Stage
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import encode_transactions
from stream_scorer.cli.dlq import (
    _full_json,
    _print_list,
    _say_json,
    dump_lines,
    hex_lines,
    inspect_dead_letter,
    show_lines,
)
from stream_scorer.cli.parsing.dlq_parser import STAGES
from stream_scorer.dead_letters.counts import DeadLetterCounts
from stream_scorer.dead_letters.dead_letter import DeadLetter, DeadLetterFilter
from stream_scorer.dead_letters.inspection import Inspection, RecordFault, inspect_value
from stream_scorer.dead_letters.reasons import similar
from stream_scorer.dead_letters.redrive_progress import (
    METADATA_BYTES,
    RedriveProgress,
    parse_progress,
)
from stream_scorer.errors import FatalError, UsageError
from stream_scorer.runtime.settings import load_settings
from stream_scorer.settings import GroupSettings
from tests.support.factories import make_transaction


def make_dead_letter(
    value: bytes | None = b"{}", stage: str = "decode", reason: str = "not JSON"
) -> DeadLetter:
    errors = {
        "topic": "transactions",
        "partition": "3",
        "offset": "1207",
        "stage": stage,
        "exception.class.name": "DecodeError",
        "exception.message": reason,
    }
    return DeadLetter(3, 17, 1_000, errors, (), b"13926", value, is_cut=False)


def test_stages_of_the_command_line_are_those_of_the_scorer() -> None:
    assert tuple(Stage) == STAGES
    assert CUT_HEADER == "dlq.value.original.bytes"


@pytest.mark.parametrize(
    ("selection", "matches"),
    [
        (DeadLetterFilter(), True),
        (DeadLetterFilter(stage="decode"), True),
        (DeadLetterFilter(stage="schema"), False),
        (DeadLetterFilter(reason="JSON"), True),
        (DeadLetterFilter(stage="decode", reason="json"), True),
        (DeadLetterFilter(stage="decode", reason="missing"), False),
        (DeadLetterFilter(reason="decodeerr"), True),
        (DeadLetterFilter(since=1_000), True),
        (DeadLetterFilter(since=1_001), False),
        (DeadLetterFilter(until=1_001), True),
        (DeadLetterFilter(until=1_000), False),
        (DeadLetterFilter(partition=3), True),
        (DeadLetterFilter(partition=0), False),
    ],
)
def test_filter_requires_all_of_its_conditions(selection: DeadLetterFilter, matches: bool) -> None:
    assert (make_dead_letter() in selection) is matches


@pytest.mark.parametrize("text", ["", "x", "-1", "1" * 20, "1" * 5000])
def test_invalid_source_number_is_shown_as_none(text: str) -> None:
    dead_letter = make_dead_letter()
    dead_letter = replace(
        dead_letter, errors={**dead_letter.errors, "partition": text, "offset": "12"}
    )
    assert dead_letter.as_json()["input"]["partition"] is None
    assert dead_letter.as_json()["input"]["offset"] == 12


def test_progress_moves_past_everything_that_was_read() -> None:
    # offsets without a dead letter are not read
    progress = RedriveProgress().after([0, 1, 6], next_offset=7, first_left=None)
    assert progress == RedriveProgress(7)
    assert progress.has(6)
    assert not progress.has(7)


def test_progress_stays_at_the_first_one_left_and_stores_those_after_it() -> None:
    progress = RedriveProgress(2).after([2, 4, 9], next_offset=12, first_left=3)
    assert progress == RedriveProgress(3, frozenset({4, 9}))
    assert [o for o in range(12) if progress.has(o)] == [0, 1, 2, 4, 9]


def test_progress_advances_once_the_ones_left_are_done() -> None:
    progress = RedriveProgress(3, frozenset({4, 9}))
    assert progress.after([3, 5], next_offset=12, first_left=None) == RedriveProgress(12)


def test_progress_is_restored_from_its_metadata() -> None:
    rng = random.Random(1)
    beyond = frozenset(rng.sample(range(11, 9_000), 3_000))
    progress = RedriveProgress(10, beyond)
    text = progress.metadata()
    assert len(text) <= METADATA_BYTES
    assert parse_progress(10, text) == progress


def test_progress_without_gaps_needs_no_metadata() -> None:
    assert RedriveProgress(10).metadata() == ""
    assert parse_progress(10, None) == RedriveProgress(10)
    assert parse_progress(-1001, None) == RedriveProgress()


def test_regular_gaps_of_a_large_topic_fit() -> None:
    progress = RedriveProgress(0, frozenset(range(1, 500_000, 2)))
    assert parse_progress(0, progress.metadata()) == progress


def test_too_many_gaps_are_refused() -> None:
    rng = random.Random(1)
    with pytest.raises(UsageError, match="without a filter"):
        RedriveProgress(0, frozenset(rng.sample(range(1, 200_000), 100_000))).metadata()


@pytest.mark.parametrize("text", ["hello", "redriven:!!", "redriven:AAAA"])
def test_metadata_of_another_format_stops_the_redrive(text: str) -> None:
    with pytest.raises(FatalError):
        parse_progress(10, text)


def inspect(value: bytes | None) -> Inspection:
    return inspect_dead_letter(make_dead_letter(value), load_settings(GroupSettings))


def avro(**fields: Any) -> bytes:
    return encode_transactions(build_batch([make_transaction(7, amount=77.25, **fields)]))[0]


def test_wrong_type_in_json_is_shown_with_field_and_position() -> None:
    value = b'{"TransactionID": 7, "TransactionDT": 1, "TransactionAmt": "much"}'
    found = inspect(value)
    assert found.fields == {"TransactionID": 7, "TransactionDT": 1, "TransactionAmt": "much"}
    reason = "TransactionAmt must be a number, not a string"
    assert found.fault == RecordFault("validate", reason, "TransactionAmt", 41)


@pytest.mark.parametrize(
    ("value", "fields", "byte"),
    [
        (b'{"TransactionID": 7, "card4": "vi', {"TransactionID": 7}, 21),
        (b'{"TransactionID": 7} tail', {"TransactionID": 7}, 20),
        ('{"card4": "caf\u00e9", "addr1": }'.encode(), {"card4": "caf\u00e9"}, 19),
        (b'{"card4": "\xff", "addr1": }', {"card4": "\udcff"}, 15),
    ],
)
def test_invalid_json_is_read_up_to_the_failure(
    value: bytes, fields: dict[str, Any], byte: int
) -> None:
    found = inspect(value)
    assert found.fields == fields
    assert found.fault is not None
    assert found.fault.byte == byte


def test_truncated_avro_is_read_up_to_the_failure() -> None:
    value = avro()[:-20]
    found = inspect(value)
    assert found.format == "avro"
    assert found.fields["TransactionAmt"] == 77.25
    assert found.fault is not None
    assert found.fault.field == "id_22"
    assert found.fault.byte == len(value)


def test_infinite_amount_in_avro_is_marked_at_its_position() -> None:
    whole = avro()
    place = whole.index(struct.pack("<d", 77.25))
    infinite = whole.replace(struct.pack("<d", 77.25), struct.pack("<d", math.inf))
    fault = RecordFault("validate", "TransactionAmt is infinite", "TransactionAmt", place)
    assert inspect(infinite).fault == fault
    tail = inspect(whole + b"\x00").fault
    assert tail is not None
    assert tail.byte == len(whole)


def test_transaction_that_would_be_scored_now_is_shown_without_a_fault() -> None:
    value = b'{"TransactionID": 7, "TransactionDT": 1, "TransactionAmt": 9.5}'
    fields = {"TransactionID": 7, "TransactionDT": 1, "TransactionAmt": 9.5}
    assert inspect(value) == Inspection("json", fields, None)


@pytest.mark.parametrize("value", [None, b"", b"\x00\x00\x00\x00\x63rest", b"\xff\xfe"])
def test_unreadable_value_has_a_fault_and_no_fields(value: bytes | None) -> None:
    found = inspect(value)
    assert found.fields == {}
    assert found.fault is not None


@given(st.binary(max_size=200), st.sampled_from([b"", b"{", b'{"a":', b"\xc3\x01"]))
@settings(max_examples=200, deadline=None)
def test_any_bytes_can_be_shown_without_control_characters(rest: bytes, start: bytes) -> None:
    value = start + rest
    headers = [("h\x1b", rest), ("n", None)]
    dead_letter = replace(
        make_dead_letter(value, reason=repr(rest)), headers=tuple(headers), key=rest
    )
    found = inspect_value(value, (), LocalSchemas())
    assert all(line.isprintable() for line in show_lines("dlq", dead_letter, found))


@given(st.lists(st.integers(0, 400), max_size=4), st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_damaged_avro_can_be_shown(places: list[int], byte: int) -> None:
    value = bytearray(avro())
    for place in places:
        value[place] = byte
    found = inspect_value(bytes(value), (), LocalSchemas())
    assert all(
        line.isprintable() for line in show_lines("dlq", make_dead_letter(bytes(value)), found)
    )


@pytest.mark.parametrize("text", ["\x1b[2J", "\r", "\x9b31m", "\u202e", "\n", "\x07", "\x7f"])
def test_control_characters_are_escaped_everywhere(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dead_letter = replace(
        make_dead_letter(json.dumps({"card4": text}).encode(), stage=text, reason=text),
        headers=((text, text.encode()),),
        key=text.encode(),
    )
    found = inspect_dead_letter(dead_letter, load_settings(GroupSettings))
    assert found.fields == {"card4": text}
    lines = show_lines("dlq", dead_letter, found)
    assert not any(text in line for line in lines)
    counts = DeadLetterCounts(5)
    counts.add(dead_letter)
    _print_list(counts)
    _say_json(_full_json(dead_letter, found))
    printed = capsys.readouterr().out
    assert all(line.isprintable() for line in printed.splitlines())
    assert json.loads(printed.splitlines()[-1])["stage"] == text


def test_hex_lines_show_offset_bytes_and_text() -> None:
    lines = hex_lines(b"TransactionID\x00\x01\xff" + b"z")
    assert lines[0].split("  ")[1:] == [
        "0000",
        "54 72 61 6e 73 61 63 74 69 6f 6e 49 44 00 01 ff",
        "TransactionID...",
    ]
    assert lines[1].strip().startswith("0010  7a")


@pytest.mark.parametrize("fault", [0, 17, 255, 256, 300, 999])
def test_hex_dump_marks_the_fault_at_any_position(fault: int) -> None:
    marked = [line for line in dump_lines(bytes(1000), fault) if "<--" in line]
    (line,) = marked
    assert line.startswith(f"  {fault // 16 * 16:04x}")
    assert line.endswith(f"<-- byte {fault}")


def test_fault_at_the_end_is_marked_at_the_end() -> None:
    assert dump_lines(bytes(300), 300)[-1] == "  012c  the value ends  <-- byte 300"


# --- list


@pytest.mark.parametrize(
    ("one", "other", "is_similar"),
    [
        ("the body ends at byte 17", "the body ends at byte 4,021", True),
        ("starts with the bytes 93 07 20 61", "starts with the bytes 00 ff", True),
        ("card1 is infinite", "card2 is infinite", False),
        ("fingerprint 00d1a2b3c4d5e6f7 unknown", "fingerprint 1111111111111111 unknown", True),
        ("unknown value 'a'", "unknown value 'bc'", True),
        ("id_01 must be a number", "id_02 must be a number", False),
        ("-1.5e3 is too small", "7 is too small", True),
    ],
)  # fmt: skip
def test_reasons_that_differ_only_in_values_are_similar(
    one: str, other: str, is_similar: bool
) -> None:
    assert (similar(one) == similar(other)) is is_similar


def test_counts_by_stage_and_similar_reasons_and_keeps_the_newest() -> None:
    counts = DeadLetterCounts(limit=3)
    for i in range(10):
        dead_letter = make_dead_letter(
            stage="decode" if i % 2 else "schema", reason=f"ends at byte {i}"
        )
        counts.add(replace(dead_letter, time=(i * 7) % 10, offset=i))
    assert counts.by_stage == {"decode": 5, "schema": 5}
    as_json = counts.as_json()
    assert {(c["stage"], c["reason"], c["count"]) for c in as_json["counts"]} == {
        ("decode", "ends at byte #", 5),
        ("schema", "ends at byte #", 5),
    }
    assert [row.time for row in counts.newest()] == [7, 8, 9]
    assert as_json["not_listed"] == 7


def test_unlimited_different_reasons_take_bounded_memory() -> None:
    counts = DeadLetterCounts(limit=1)
    for i in range(6_000):
        counts.add(make_dead_letter(reason=f"x{i:x}y"))
    assert len(counts.reasons()) == 5_001
    assert counts.total == 6_000
