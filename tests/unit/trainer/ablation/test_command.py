"""``fraud-trainer ablate``, through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.ablation.kit import AMOUNT, COUNTS, PAIRS, TEXTS
from trainer.__main__ import main
from trainer.ablation.run import Ablation
from trainer.ablation.windows import SyntheticWindows

Printed = pytest.CaptureFixture[str]

HEAD = 'format = 1\nname = "small/1"\ntitle = ""\n\n'


@pytest.fixture
def argv(tmp_path: Path) -> list[str]:
    program, more = tmp_path / "small.toml", tmp_path / "more.toml"
    program.write_text(HEAD + AMOUNT + COUNTS + TEXTS)
    more.write_text(HEAD + PAIRS)
    return [
        "ablate", "--features", str(program), "--add", str(more), "--without", "texts",
        "--synthetic", "1200", "--seeds", "2", "--seed-from", "3", "--trees", "2", "--jobs", "1",
        "--output", str(tmp_path / "out.json"),
    ]  # fmt: skip


def test_groups_and_candidates_are_judged_and_kept(
    argv: list[str], tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*argv, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {row["group"] for row in report["rows"]} == {"amount", "counts", "pairs"}
    assert report["raw"]["features"] == 431
    assert report["plan"]["left_out"] == ["texts"]
    assert json.loads((tmp_path / "out.json").read_text()) == report

    def fail(*_: Any) -> Any:
        raise AssertionError("everything is in the output file")

    monkeypatch.setattr(SyntheticWindows, "load", fail)
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert out.startswith("program small/1 on 1,200 synthetic rows, data seeds 3 to 4\n")
    assert "\npairs + " in out
    assert main([*argv, "--groups", "pairs,counts", "--json"]) == 0
    kept = json.loads(capsys.readouterr().out)
    assert {row["group"] for row in kept["rows"]} == {"counts", "pairs"}


def test_interrupt_says_how_to_continue(
    argv: list[str], capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Ablation, "run", interrupt)
    assert main(argv) == 130
    error = capsys.readouterr().err
    assert "interrupted: 0 of 10 fits are finished; they are kept in" in error
    assert main(argv[:-2]) == 130
    assert "nothing is kept without --output" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--seeds", "0"], 2, "--seeds 0 must be from 1 to 1000"),
        (["--groups", "cards"], 1, "there is no group 'cards'; the groups are amount, counts"),
        (["--groups", "amount,,"], 2, "--groups has an empty name"),
        (["--add", "no.toml"], 1, "there is no built-in program and no file 'no.toml'"),
        (["--output", "/no/such/folder/out.json"], 1, "cannot write --output /no/such"),
        (["--leaves", "1"], 2, "--leaves 1 must be"),
    ],
)
def test_mistake_is_named_before_the_first_fit(
    argv: list[str],
    more: list[str],
    code: int,
    message: str,
    capsys: Printed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Ablation, "run", lambda *_: pytest.fail("a fit was started"))
    assert main([*argv, *more]) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_without_data_the_flags_are_named(capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAIN_TRANSACTIONS_URI", raising=False)
    assert main(["ablate"]) == 2
    assert "--transactions FILE or --synthetic N" in capsys.readouterr().err


def test_file_that_is_no_ablation_is_not_overwritten(
    argv: list[str], tmp_path: Path, capsys: Printed
) -> None:
    (tmp_path / "out.json").write_text("precious")
    assert main(argv) == 1
    assert "is not an ablation" in capsys.readouterr().err
    assert (tmp_path / "out.json").read_text() == "precious"
