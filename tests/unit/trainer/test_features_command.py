"""``fraud-trainer features``: what the command prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.features.builtin import builtin_programs, load_builtin
from stream_scorer.features.program import parse_program
from stream_scorer.model.store.file_store import FileStore
from tests.support.factories import make_draft, publish
from trainer.__main__ import main
from trainer.commands.features import feature_plan
from trainer.commands.parser import build_parser
from trainer.commands.train_run import make_plan
from trainer.fitting.plan import DEFAULT_PROGRAM, FeaturePlan, WrongUsageError

Printed = pytest.CaptureFixture[str]

COPY = '[[operation]]\nop = "copy"\nversion = 1\ngroup = "g"\ncolumns = ["C1", "C2"]\n'
FILE = 'format = 1\nname = "mine/1"\ntitle = "A \\u001b[31mred\\u001b[0m title"\n\n' + COPY


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(FILE, encoding="utf-8")
    return str(path)


def run_json(printed: Printed, *argv: str) -> Any:
    assert main([*argv, "--json"]) == 0
    return json.loads(printed.readouterr().out)


def test_list_has_every_built_in_program(capsys: Printed) -> None:
    found = run_json(capsys, "features", "list")
    assert [facts["name"] for facts in found] == sorted(builtin_programs())
    assert main(["features", "list"]) == 0
    out = capsys.readouterr().out
    assert "raw/1: Every column, unchanged\n  431 features from 431 columns\n" in out


def test_show_of_a_group_has_its_features_in_words(capsys: Printed) -> None:
    assert main(["features", "show", "ieee-cis/1", "--group", "time"]) == 0
    out = capsys.readouterr().out
    assert out.endswith(
        "\ntime (2 features)\n  hour     hour/1     hour of the day\n"
        "  weekday  weekday/1  day of the week\n"
    )
    assert "card1" not in out


def test_show_of_a_published_version_reads_the_store(
    capsys: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_STORE_URI", tmp_path.as_uri())
    version = publish(FileStore(tmp_path))
    found = run_json(capsys, "features", "show", version)
    assert found["version"] == version
    assert [feature["name"] for feature in found["features"]] == list(make_draft().features.names)
    assert main(["features", "show", version, "--toml"]) == 0
    # Its vocabularies need fewer rows than those of the built-in program.
    assert parse_program(capsys.readouterr().out) == make_draft().features.program
    assert main(["features", "show", "v99"]) == 1
    assert "no version v99" in capsys.readouterr().err


def test_toml_of_a_built_in_program_is_a_file_to_start_from(capsys: Printed) -> None:
    assert main(["features", "show", "raw/1", "--toml"]) == 0
    assert parse_program(capsys.readouterr().out) == load_builtin("raw/1")
    assert main(["features", "show", "raw/1", "--toml", "--json"]) == 2


def test_check_confirms_a_valid_file(capsys: Printed, file: str) -> None:
    found = run_json(capsys, "features", "check", file)
    assert (found["features"], found["warnings"], found["fitted"]) == (2, [], {})
    assert main(["features", "check", file]) == 0
    out = capsys.readouterr().out
    assert out.startswith("mine.toml: program mine/1 is valid\n  features    2 in 1 group\n")
    assert "nothing is learned" in out


def test_check_warns_and_still_succeeds(capsys: Printed, file: str) -> None:
    Path(file).write_text(FILE + COPY + 'names = ["a", "b"]\n', encoding="utf-8")
    assert main(["features", "check", file]) == 0
    assert capsys.readouterr().out.count("warning: feature") == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"C2"', '"C99"', "line 9, operation 1 (copy/1): columns: 'C99' is not a column"),
        ('"copy"', '"copi"', "line 6, operation 1 (copi/1): op: unknown operation 'copi'; did you"),
        ("version = 1\n", "version = 2\n", "line 7, operation 1 (copy/2): version: copy has"),
        (
            '"C2"]',
            '"C2"]\nformula = "C1 + C2"',
            "line 10, operation 1 (copy/1): 'formula': is not a field",
        ),
        ("[[operation]]", "[[operation]", "is not valid TOML"),
        ('"g"', '"\\u001b[2J"', "'\\x1b[2J' must begin with A to z"),
    ],
)
def test_check_names_file_line_and_operation(
    capsys: Printed, file: str, old: str, new: str, message: str
) -> None:
    Path(file).write_text(FILE.replace(old, new), encoding="utf-8")
    assert main(["features", "check", file]) == 1
    error = capsys.readouterr().err
    assert file in error
    assert message in error
    assert error.count("\n") == 1


def test_title_cannot_control_the_terminal(capsys: Printed, file: str) -> None:
    for argv in (["show", file], ["show", file, "--toml"], ["check", file]):
        assert main(["features", *argv]) == 0
        assert "\x1b" not in capsys.readouterr().out


def test_operations_are_listed_as_text_and_as_data(capsys: Printed) -> None:
    found = run_json(capsys, "features", "operations")
    assert main(["features", "operations"]) == 0
    out = capsys.readouterr().out
    assert found[0]["op"] == "copy"
    assert "\nshare, version 1, learns from the training rows\n" in out


@pytest.mark.parametrize(
    ("flags", "plan"),
    [
        ([], FeaturePlan(DEFAULT_PROGRAM)),
        (["--features", "raw/1"], FeaturePlan("raw/1")),
        (
            ["--without", "a, b", "--without", "b,c"],
            FeaturePlan(DEFAULT_PROGRAM, ("a", "b", "c")),
        ),
    ],
)
def test_flags_of_train_become_the_plan(flags: list[str], plan: FeaturePlan) -> None:
    arguments = build_parser().parse_args(["train", "--synthetic", "100", *flags])
    assert make_plan(arguments).features == plan


def test_empty_group_name_is_refused() -> None:
    arguments = build_parser().parse_args(["train", "--without", "a,,b"])
    with pytest.raises(WrongUsageError, match="--without has an empty name in 'a,,b'"):
        feature_plan(arguments)
