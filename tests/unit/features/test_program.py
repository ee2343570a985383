"""Programs: what a file says, and that each mistake is named with its operation and line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from schemas.contracts import NUMBER_COLUMNS, TEXT_COLUMNS
from stream_scorer.errors import UsageError
from stream_scorer.features.builtin import IEEE_CIS, builtin_programs, load_builtin
from stream_scorer.features.operations.registry import OPERATIONS
from stream_scorer.features.program import (
    MAX_FEATURES,
    MAX_OPERATIONS,
    Program,
    ProgramError,
    UnknownOperationError,
    parse_program,
    read_program,
)
from tests.support.features.plain_features import EVERY_OPERATION, every_operation

HEAD = 'format = 1\nname = "mine/1"\ntitle = "Mine"\n'
COPY = '[[operation]]\nop = "copy"\nversion = 1\ngroup = "amount"\ncolumns = ["TransactionAmt"]\n'
HOUR = '[[operation]]\nop = "hour"\nversion = 1\ngroup = "time"\n'


def program(*operations: str) -> Program:
    return parse_program(HEAD + "".join(operations), "mine.toml")


def refused(*operations: str, head: str = HEAD) -> str:
    with pytest.raises(ProgramError) as error:
        parse_program(head + "".join(operations), "mine.toml")
    message = str(error.value)
    assert message.startswith("mine.toml")
    assert len(message) < 400
    assert "\n" not in message
    return message


def operation(op: str, columns: str, **fields: Any) -> str:
    lines = [f"{name} = {value!r}" for name, value in fields.items()]
    head = f'[[operation]]\nop = "{op}"\nversion = 1\ngroup = "mine"\n'
    return head + "\n".join([f"columns = {columns}", *lines, ""])


def test_ranges_are_expanded_in_the_order_of_the_schema() -> None:
    found = program(operation("copy", '["V1..V3", "card1..card3", "C14"]'))
    assert found.names == ("V1", "V2", "V3", "card1", "card2", "card3", "C14")
    assert found.columns == ("card1", "card2", "card3", "C14", "V1", "V2", "V3")


def test_range_may_have_both_kinds_where_the_operation_reads_both() -> None:
    (counted,) = program(operation("missing_count", '["TransactionAmt..DeviceInfo"]')).operations
    assert set(counted.columns) == {*NUMBER_COLUMNS, *TEXT_COLUMNS}


def test_names_can_be_given() -> None:
    found = program(operation("share", '["card1", "card2"]', names=["a", "b"]))
    assert found.names == ("a", "b")
    assert found.groups == {"a": "mine", "b": "mine"}


def test_semantics_are_names_and_versions_and_make_the_fingerprint() -> None:
    one = program(operation("copy", '["C1"]'), HOUR)
    other = program(COPY, HOUR + "names = ['h']\n")
    assert one.semantics == other.semantics == ("copy/1", "hour/1")
    assert one.fingerprint == other.fingerprint
    assert program(COPY).fingerprint != one.fingerprint


def test_group_can_be_left_out() -> None:
    whole = every_operation()
    left = whole.without(["shares", "days"])
    assert set(left.groups.values()) == set(whole.groups.values()) - {"shares", "days"}
    assert [n for n in whole.names if n in left.names] == list(left.names)
    with pytest.raises(ProgramError, match="has no group 'nothing'"):
        whole.without(["nothing"])
    with pytest.raises(ProgramError, match="no operations without"):
        program(COPY).without(["amount"])


def test_builtin_programs_are_named_as_their_files() -> None:
    assert IEEE_CIS in builtin_programs()
    for name, found in builtin_programs().items():
        file = name.replace("/", "-") + ".toml"
        folder = Path(__file__).parents[3] / "stream_scorer" / "features" / "programs"
        assert parse_program((folder / file).read_text("utf-8"), file) == found
        assert found.title
    with pytest.raises(ProgramError, match="no built-in program 'x/1'; there are"):
        load_builtin("x/1")


def test_ieee_cis_has_every_column_and_23_more() -> None:
    names = load_builtin(IEEE_CIS).names
    assert names[:431] == (*NUMBER_COLUMNS, *TEXT_COLUMNS)
    assert len(names) == len(set(names)) == 454


def test_error_is_a_mistake_of_the_user() -> None:
    assert issubclass(ProgramError, UsageError)


SECOND = f"{COPY}\n# a comment\n"  # the second operation begins in line 11
WRONG: dict[str, tuple[str, str]] = {
    "unknown operation": (
        operation("shares", '["card1"]'),
        "line 12, operation 2 (shares/1): op: unknown operation 'shares'; did you mean share?",
    ),
    "operation that resembles nothing": (
        operation("zzz", '["card1"]'),
        "line 12, operation 2 (zzz/1): op: unknown operation 'zzz'; the operations are cent_",
    ),
    "unknown version": (
        operation("share", '["card1"]').replace("version = 1", "version = 7"),
        "line 13, operation 2 (share/7): version: share has version 1, not 7",
    ),
    "no operation": ("[[operation]]\nversion = 1\n", "line 11, operation 2: op: is missing"),
    "no version": ('[[operation]]\nop = "copy"\n', "line 11, operation 2: version: is missing"),
    "no group": (
        '[[operation]]\nop = "copy"\nversion = 1\ncolumns = ["C1"]\n',
        "line 11, operation 2 (copy/1): group: is missing",
    ),
    "no columns": (
        '[[operation]]\nop = "copy"\nversion = 1\ngroup = "a"\n',
        "line 11, operation 2 (copy/1): columns: must be a list of 1 to 2048 texts, not NoneType",
    ),
    "unknown column": (
        operation("copy", '[\n  "C1",\n  "C15",\n]'),
        "line 17, operation 2 (copy/1): columns: 'C15' is not a column that features can use",
    ),
    "column with a similar name": (
        operation("copy", '["TransactionAmount"]'),
        "'TransactionAmount' is not a column that features can use; did you mean TransactionAmt?",
    ),
    "identifier as a column": (operation("copy", '["TransactionID"]'), "'TransactionID' is not"),
    "label as a column": (operation("copy", '["isFraud"]'), "'isFraud' is not a column"),
    "text where a number is needed": (
        operation("copy", '["card4"]'),
        "line 15, operation 2 (copy/1): columns: column card4 is text, not number",
    ),
    "number where a text is needed": (
        operation("code", '["card1"]', min_count=1),
        "columns: column card1 is number, not text",
    ),
    "text in a range of numbers": (
        operation("copy", '["card1..card5"]'),
        "columns: column card4 of the range card1..card5 is text, not number",
    ),
    "range that ends before it begins": (
        operation("copy", '["V9..V2"]'),
        "columns: V9 comes after V2 in the transaction's schema",
    ),
    "range without an end": (operation("copy", '["V9.."]'), "'' is not a column"),
    "column twice": (operation("copy", '["C2", "C1..C3"]'), "columns: column C2 occurs twice"),
    "three columns for two": (
        operation("difference", '["C1..C3"]'),
        "columns: 3 columns, where difference needs 2",
    ),
    "too many columns for a pattern": (
        operation("missing_pattern", '["V1..V129"]', min_count=1),
        "columns: 129 columns, where missing_pattern needs 1 to 128",
    ),
    "columns for the hour": (
        operation("hour", '["C1"]'),
        "line 15, operation 2 (hour/1): 'columns': is not a field of this operation",
    ),
    "feature of another operation": (
        operation("copy", '["TransactionAmt_cents"]'),
        "'TransactionAmt_cents' is not a column that features can use; did you mean",
    ),
    "name of a feature twice": (
        operation("share", '["C1"]', names=["TransactionAmt"]),
        "operation 2 (share/1): names: feature TransactionAmt is already one of operation 1",
    ),
    "too few names": (
        operation("share", '["C1", "C2"]', names=["one"]),
        "names: has 1 names for 2 features",
    ),
    "name with a space": (
        operation("share", '["C1"]', names=["a b"]),
        "names: 'a b' must begin with A to z",
    ),
    "unknown field": (
        operation("copy", '["C1"]', min_count=3),
        "line 16, operation 2 (copy/1): 'min_count': is not a field of this operation",
    ),
    "min_count missing": (operation("code", '["card4"]'), "min_count: is missing"),
    "min_count 0": (
        operation("code", '["card4"]', min_count=0),
        "line 16, operation 2 (code/1): min_count: must be a whole number from 1 to 1000000, not 0",
    ),
    "min_count as text": (operation("code", '["card4"]', min_count="1"), "whole number"),
    "separators that are not ASCII": (
        operation("text_part", '["card4"]', min_count=1, part="first", separators="é"),
        "separators: must be one or more different ASCII characters, not 'é'",
    ),
    "no separators": (
        operation("text_part", '["card4"]', min_count=1, part="first", separators=""),
        "separators: must be one or more",
    ),
    "unknown part": (
        operation("text_part", '["card4"]', min_count=1, part="middle", separators="."),
        "part: must be first or last, not 'middle'",
    ),
    "level twice": (operation("level_code", '["M1"]', levels=["T", "T"]), "'T' occurs twice"),
    "group with a space": (
        operation("copy", '["C1"]').replace('"mine"', '"my own"'),
        "line 14, operation 2 (copy/1): group: 'my own' must begin with",
    ),
    "columns that are numbers": (operation("copy", "[1, 2]"), "columns: contains 1"),
    "columns that are text": (operation("copy", '"C1"'), "columns: must be a list"),
}


@pytest.mark.parametrize("what", list(WRONG))
def test_mistake_is_named_with_operation_and_line(what: str) -> None:
    text, said = WRONG[what]
    assert said in refused(SECOND, text), refused(SECOND, text)


def test_unknown_operation_is_an_error_of_its_own() -> None:
    for text in (WRONG["unknown operation"][0], WRONG["unknown version"][0]):
        with pytest.raises(UnknownOperationError):
            program(text)
    with pytest.raises(ProgramError) as error:
        program(WRONG["unknown column"][0])
    assert type(error.value) is ProgramError


def test_operation_that_reads_another_operations_feature_is_refused() -> None:
    """Operations read columns of the transaction only, so there can be no circle."""
    cents = operation("cents", '["TransactionAmt"]')
    message = refused(cents, operation("copy", '["TransactionAmt_cents"]'))
    assert "it is a feature of operation 1, and operations read only columns" in message
    itself = operation("share", '["mine"]', names=["mine"])
    assert "'mine' is not a column that features can use" in refused(itself)


HEADS = {
    "not TOML": ("format = \n", r"mine.toml is not valid TOML: .*line 1"),
    "an unknown field": (HEAD + "more = 1\n", "mine.toml, line 4: 'more' is not a field"),
    "a later format": (HEAD.replace("1", "2", 1), "mine.toml, line 1: format: this code reads"),
    "no format": ('name = "mine/1"\ntitle = ""\n', "mine.toml: format: is missing"),
    "no name": ('format = 1\ntitle = ""\n', "mine.toml: name: is missing"),
    "a name without a number": (HEAD.replace("mine/1", "mine"), "line 2: name: 'mine' must be a"),
    "a name with a path": (HEAD.replace("mine/1", "../mine/1"), "line 2: name: "),
    "a long title": (HEAD.replace("Mine", "M" * 300), "line 3: title: is longer than 200"),
    "a number that is too long": ("format = " + "9" * 5000 + "\n", "mine.toml"),
}


@pytest.mark.parametrize("what", list(HEADS))
def test_mistake_in_the_head_is_named_with_its_line(what: str) -> None:
    head, said = HEADS[what]
    assert re.search(said, refused(COPY, head=head)), refused(COPY, head=head)


def test_program_without_operations_or_with_too_many_is_refused() -> None:
    need = f"a program needs 1 to {MAX_OPERATIONS} operations"
    assert need in refused()
    assert need in refused("operation = 3\n")
    many = [COPY.replace("columns", f'names = ["n{i}"]\ncolumns') for i in range(MAX_OPERATIONS)]
    assert len(program(*many).names) == MAX_OPERATIONS
    assert need in refused(*many, COPY)


def test_too_many_features_are_refused() -> None:
    columns = [*NUMBER_COLUMNS]
    per = len(columns)
    operations = [
        operation("copy", str(columns), names=[f"f{i}_{j}" for j in range(per)])
        for i in range(MAX_FEATURES // per + 1)
    ]
    assert f"more than {MAX_FEATURES} features" in refused(*operations)


def test_hostile_files_are_refused() -> None:
    for text in ("a = " + "[" * 100_000, "x" * 2_000_000, "\x00", "a = 1979-05-27T07:32:00Z\n"):
        with pytest.raises(ProgramError):
            parse_program(text, "mine.toml")
    control = operation("copy", '["\\u001b[31m"]')
    assert "\x1b" not in refused(control)


def test_lines_are_those_of_the_file_with_windows_line_ends_too() -> None:
    text = (HEAD + SECOND + WRONG["unknown column"][0]).replace("\n", "\r\n")
    with pytest.raises(ProgramError, match=r"mine.toml, line 17, operation 2"):
        parse_program(text, "mine.toml")


PLAIN_FAULTS: dict[str, Any] = {
    "a list": lambda plain: [plain],
    "no title": lambda plain: {k: v for k, v in plain.items() if k != "title"},
    "a field more": lambda plain: plain | {"more": 1},
    "a later format": lambda plain: plain | {"format": 2},
    "a format that is true": lambda plain: plain | {"format": True},
    "operations that are a dict": lambda plain: plain | {"operations": {}},
    "an operation that is a list": lambda plain: plain | {"operations": [[]]},
    "an operation with a number as a field": lambda plain: plain | {"operations": [{1: 2}]},
}


@pytest.mark.parametrize("what", list(PLAIN_FAULTS))
def test_plain_data_that_is_no_program_is_refused(what: str) -> None:
    with pytest.raises(ProgramError):
        read_program(PLAIN_FAULTS[what](every_operation().plain()))


def test_message_about_plain_data_names_the_operation() -> None:
    plain = every_operation().plain()
    plain["operations"][4]["columns"] = ["V999"]
    with pytest.raises(ProgramError, match=r"^operation 5 \(copy/1\): columns: 'V999' is not"):
        read_program(plain)


def test_every_operation_says_what_it_means() -> None:
    for kind in OPERATIONS.values():
        assert kind.__doc__
        assert len(kind.__doc__) > 40
        assert kind.VERSION == 1


def test_text_of_every_operation_is_valid() -> None:
    assert parse_program(EVERY_OPERATION).name == "every-operation/1"
