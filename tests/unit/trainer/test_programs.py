"""Feature programs for people: chosen, described, written as a file, checked for oddities."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.contracts import NUMBER_COLUMNS, TEXT_COLUMNS
from stream_scorer.features.builtin import builtin_programs, load_builtin
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.history.kinds import KINDS
from stream_scorer.features.operations.registry import OPERATIONS
from stream_scorer.features.program import Program, ProgramError, parse_program, read_program
from tests.support.factories import make_batch
from tests.support.training.history_kit import CARD, CLIENT, MAIL, make_history_program
from trainer.fitting.plan import DEFAULT_PROGRAM
from trainer.programs.chosen import choose_program
from trainer.programs.described import (
    count_fitted,
    describe_features,
    describe_kinds,
    describe_operations,
    describe_program,
)
from trainer.programs.oddities import find_oddities
from trainer.programs.text import list_operations, show_program
from trainer.programs.toml import program_text, ranges

HEAD = 'format = 1\nname = "mine/1"\ntitle = "Mine"\n'
AMOUNT = '[[operation]]\nop = "copy"\nversion = 1\ngroup = "amount"\ncolumns = ["TransactionAmt"]\n'
SHARES = (
    '[[operation]]\nop = "share"\nversion = 1\ngroup = "shares"\ncolumns = ["card1", "card4"]\n'
)


def written(folder: Path, text: str = HEAD + AMOUNT + SHARES) -> str:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_default_program_is_built_in() -> None:
    chosen = choose_program(DEFAULT_PROGRAM)
    assert chosen.program == load_builtin(DEFAULT_PROGRAM)
    assert chosen.facts() == {
        "program": DEFAULT_PROGRAM, "file": None, "sha256": None, "left_out": [],
    }  # fmt: skip


def test_program_of_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    file = written(tmp_path)
    chosen = choose_program(file, ["shares", "shares"])
    assert chosen.program.names == ("TransactionAmt",)
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    assert chosen.facts() == {
        "program": "mine/1", "file": file, "sha256": digest, "left_out": ["shares"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "without", "message"),
    [
        ("nothing/9", [], r"no built-in program and no file 'nothing/9'; .*ieee-cis/1, raw/1"),
        ("a\0b", [], "cannot read the program"),
        (".", [], r"cannot read the program \.: Is a directory"),
        ("ieee-cis/1", ["cards"], "has no group 'cards'; it has .*'card'"),
        ("raw/1", ["numbers", "texts"], "has no operations without"),
    ],
)
def test_unusable_choice_is_refused(name: str, without: list[str], message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        choose_program(name, without)


def test_file_that_is_not_text_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b'format = 1\nname = "\xff/1"\n')
    with pytest.raises(ProgramError, match=r"mine.toml, line 2: byte 0xff is not valid UTF-8"):
        choose_program(str(path))
    with path.open("wb") as stream:
        stream.truncate(4_000_001)
    with pytest.raises(ProgramError, match="larger than 4000000 bytes"):
        choose_program(str(path))


def test_raw_program_has_every_column_once_and_nothing_else() -> None:
    raw = load_builtin("raw/1")
    assert sorted(raw.names) == sorted((*NUMBER_COLUMNS, *TEXT_COLUMNS))
    assert set(raw.semantics) == {"copy/1", "code/1"}
    assert all(operation.names == operation.columns for operation in raw.operations)


@pytest.mark.parametrize("name", sorted(builtin_programs()))
def test_program_as_a_file_is_the_same_program(name: str) -> None:
    program = load_builtin(name)
    text = program_text(program)
    assert parse_program(text) == program
    assert all(len(line) <= 100 for line in text.splitlines())


def test_text_of_a_program_has_no_character_that_a_terminal_obeys() -> None:
    hostile = 'a\x1b[2Jb\u202e"\\\x7f\U000e0001'
    plain = load_builtin("raw/1").plain() | {"title": hostile}
    levels = {
        "op": "level_code",
        "version": 1,
        "group": "g",
        "columns": ["M1"],
        "levels": [hostile],
    }
    plain["operations"] = [levels]
    program = read_program(plain)
    text = program_text(program)
    assert text.replace("\n", "").isprintable()
    assert parse_program(text) == program
    lines = list(show_program(describe_program(program), describe_features(program), None))
    assert all(line.isprintable() for line in lines)
    assert "\\x1b[2J" in lines[0]


@pytest.mark.parametrize("name", sorted(builtin_programs()))
def test_training_rows_do_not_see_later_rows(name: str) -> None:
    program = load_builtin(name).with_min_count(3)
    batch = make_batch(240, 5)
    _, whole = FeatureSet.fit_transform(batch, program)
    for rows in (1, 80, 239):
        _, first = FeatureSet.fit_transform(batch.take(slice(0, rows)), program)
        assert np.array_equal(first.view(np.uint64), whole[:rows].view(np.uint64))
    # The rows do repeat values, so that a table over all of them would have been seen.
    served = FeatureSet.fit(batch, program).transform(batch)
    assert not np.array_equal(served, whole, equal_nan=True)


def test_program_with_history_as_a_file_is_the_same_program() -> None:
    program = make_history_program(CLIENT, MAIL, CARD)
    text = program_text(program)
    assert parse_program(text) == program
    assert text.count("[[history]]") == 3
    assert all(len(line) <= 100 for line in text.splitlines())
    wide = parse_program(
        text.replace('columns = ["C13", "V45"]', 'columns = ["C1..C14", "V1..V99"]')
    )
    assert '"C1..C14", "V1..V99"' in program_text(wide)
    assert parse_program(program_text(wide)) == wide


def test_key_spaces_are_described_with_the_bytes_of_a_key() -> None:
    program = make_history_program()
    assert program.history is not None
    history = describe_program(program)["history"]
    assert history["fingerprint"] == program.history.fingerprint
    client, mail = history["spaces"]
    assert client["key"] == ["card1", "addr1"]
    assert (client["start_day"], mail["start_day"]) == ("D1", None)
    assert client["bytes_a_key"] == 8 * program.history.spaces[0].width
    assert client["features"] + mail["features"] == list(program.history.names)
    assert history["features"] == len(program.history.names)
    assert describe_program(load_builtin("raw/1"))["history"] is None
    (first, *_) = describe_features(program, "mail")
    assert first == {
        "name": "mail_count", "group": "mail", "operation": "history/1",
        "text": "earlier transactions, up to 64 (mail history)",
    }  # fmt: skip
    assert [f["name"] for f in describe_features(program)] == list(program.names)
    lines = "\n".join(show_program(describe_program(program), describe_features(program), None))
    assert "client: key card1 and addr1 and day - D1; 9 features, " in lines
    assert f"{client['bytes_a_key']} bytes a key, kept 180 days" in lines


def test_every_kind_of_history_feature_is_explained() -> None:
    kinds = describe_kinds()
    assert [facts["kind"] for facts in kinds] == list(KINDS)
    lines = list(list_operations(describe_operations(), kinds))
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines)
    assert all(f"\n  {name} " in text for name in KINDS)
    assert "count_in          remembered transactions in the last … [seconds]" in text
    # The example in the text is a program's part.
    start = lines.index("    [[history]]")
    end = next(i for i in range(start, len(lines)) if lines[i].startswith("  space "))
    example = "\n".join(line.strip() for line in lines[start:end])
    assert parse_program(HEAD + AMOUNT + example).history is not None


@pytest.mark.parametrize(
    ("spaces", "message"),
    [
        ((CLIENT, MAIL, CARD), None),
        ((CARD, CARD.replace('"card"', '"other"')), "key space other has the same key as card"),
        ((MAIL.replace("ttl_days = 90", "ttl_days = 1").replace("86400", "86401"),),
         "mail has a feature over 86401s, and forgets an unused key sooner: ttl_days = 1"),
        ((MAIL.replace("amount_in", "decayed_amount"),),
         "key space mail remembers 4 transactions a key, and no feature reads them: ring = 0"),
    ],
)  # fmt: skip
def test_history_that_is_probably_not_meant_is_warned_about(
    spaces: tuple[str, ...], message: str | None
) -> None:
    found = list(find_oddities(make_history_program(*spaces)))
    assert len(found) == (message is not None)
    assert message is None or message in found[0]


def test_only_runs_of_the_schema_become_ranges() -> None:
    assert ranges(["C1", "C2", "C3"]) == ["C1..C3"]
    assert ranges(["C1", "C2", "V1", "C3"]) == ["C1", "C2", "V1", "C3"]
    assert ranges(["V2", "V1", "C12", "C13", "C14", "D1"]) == ["V2", "V1", "C12..D1"]


def test_description_counts_what_the_program_reads_and_computes(tmp_path: Path) -> None:
    program = choose_program(written(tmp_path)).program
    facts = describe_program(program)
    assert facts["features"] == 3
    assert facts["columns"] == {
        "number": 2, "text": 1, "names": ["TransactionAmt", "card1", "card4"],
    }  # fmt: skip
    assert facts["groups"] == {"amount": 1, "shares": 2}
    assert count_fitted(program) == {"share/1": 2}
    (first, second) = describe_features(program, "shares")
    assert first["text"] == "share of transactions with the same attribute of the card (card1)"
    assert (second["name"], second["operation"]) == ("card4_share", "share/1")
    with pytest.raises(ProgramError, match=r"mine/1 has no group 'x'; it has amount, shares"):
        describe_features(program, "x")


def test_every_operation_is_explained() -> None:
    described = {(facts["op"], facts["version"]): facts for facts in describe_operations()}
    assert described.keys() == OPERATIONS.keys()
    assert all(len(facts["meaning"]) > 20 for facts in described.values())
    assert all(facts["fields_meaning"] for facts in described.values() if facts["fields"])
    lines = list(list_operations(describe_operations()))
    assert max(map(len, lines)) <= 100
    assert all(f"{op}, version {n}" in "\n".join(lines) for op, n in OPERATIONS)


@pytest.mark.parametrize("facts", describe_operations(), ids=lambda facts: str(facts["op"]))
def test_operation_can_be_written_from_its_description_alone(facts: dict[str, Any]) -> None:
    of_kind = {"number": NUMBER_COLUMNS, "text": TEXT_COLUMNS}
    plain: dict[str, Any] = {"op": facts["op"], "version": facts["version"], "group": "g"}
    if n := facts["columns"]["least"]:
        plain["columns"] = list(of_kind[facts["columns"]["kinds"][0]][:n])
    samples = {"whole number": 20, "text": "first", "list of texts": ["a"]}
    plain |= {field["name"]: samples[field["type"]] for field in facts["fields"]}
    if "separators" in plain:
        plain["separators"] = "."
    program = read_program({"format": 1, "name": "a/1", "title": "", "operations": [plain]})
    assert program.operations[0].semantics == f"{facts['op']}/{facts['version']}"
    # A required field that the description left out would have been missing.
    assert program.operations[0].plain().keys() - {"names"} == plain.keys()


def oddities(operations: str) -> list[str]:
    return list(find_oddities(parse_program(HEAD + operations)))


def test_column_that_is_copied_twice_is_odd() -> None:
    again = AMOUNT.replace('["TransactionAmt"]', '["C1", "TransactionAmt"]')
    found = oddities(AMOUNT + again + 'names = ["C1", "amount"]\n')
    same = "has the same values as TransactionAmt: both are copy of TransactionAmt"
    assert found == [f"feature amount of operation 2 (copy/1) {same}"]


def test_other_columns_and_other_fields_are_not_odd() -> None:
    part = '[[operation]]\nop = "text_part"\nversion = 1\ngroup = "g"\nmin_count = 5\n'
    part += 'columns = ["P_emaildomain"]\nseparators = "."\n'
    both = part + 'part = "first"\n' + part + 'part = "last"\n'
    pair = '[[operation]]\nop = "difference"\nversion = 1\ngroup = "g"\ncolumns = '
    assert (
        oddities(AMOUNT + SHARES + both + pair + '["D1", "D2"]\n' + pair + '["D2", "D1"]\n') == []
    )


def test_feature_with_the_name_of_another_column_is_odd() -> None:
    (found,) = oddities(SHARES.replace('["card1", "card4"]', '["card1"]\nnames = ["card2"]'))
    assert "feature card2 of operation 1 (share/1) has the name of a column" in found


def test_built_in_programs_have_no_oddities() -> None:
    for program in builtin_programs().values():
        assert list(find_oddities(program)) == []


def test_same_operation_in_another_group_is_odd() -> None:
    program = load_builtin("raw/1")
    renamed = replace(
        program.operations[1], group="g", names=tuple(f"x_{n}" for n in program.operations[1].names)
    )
    twice = Program("a/1", "", (*program.operations, renamed))
    assert len(list(find_oddities(twice))) == len(TEXT_COLUMNS)
