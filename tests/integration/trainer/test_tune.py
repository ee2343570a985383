"""``fraud-trainer tune`` on rows, through its command line."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from trainer.__main__ import main
from trainer.fitting.fit import fit_model

ROWS = ["--synthetic", "2000", "--trees", "12", "--folds", "2", "--threads", "1"]


def run(*words: str, code: int = 0) -> Any:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["tune", *ROWS, *words, "--json"]) == code
    return json.loads(printed.getvalue())


def precisions(result: Any) -> list[tuple[int, float]]:
    return sorted((trial["trial"], trial["average_precision"]) for trial in result["trials"])


def test_a_search_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    storage = ["--storage", str(tmp_path / "study.db")]
    whole = run("--trials", "4")
    first = run("--trials", "2", *storage)
    second = run("--trials", "2", *storage)
    assert precisions(first) == precisions(whole)[:2]
    assert precisions(second) == precisions(whole)
    assert second["flags"] == whole["flags"]


def test_other_rows_do_not_continue_a_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = ["--storage", str(tmp_path / "study.db")]
    run("--trials", "1", *storage)
    words = [*ROWS[2:], "--synthetic", "1900", "--trials", "1", *storage]
    assert main(["tune", *words]) == 1
    assert "has a study with another value of source" in capsys.readouterr().err


def test_the_front_has_times_and_a_page(tmp_path: Path) -> None:
    page = tmp_path / "front.html"
    result = run("--trials", "5", "--frontier", "-o", str(page), "--learner", "xgboost")
    assert result["page"] == str(page)
    assert result["learner"] == "xgboost"
    assert page.read_text().count("<circle") >= 2
    costs = [trial["microseconds"] for trial in result["front"]]
    assert costs == sorted(costs)
    assert all(cost > 0 for cost in costs)


def test_an_interruption_prints_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:  # the second trial: these rows are too few for a second window
            raise KeyboardInterrupt
        return fit_model(*arguments)

    monkeypatch.setattr("trainer.tuning.objective.fit_model", interrupted)
    result = run("--trials", "5", "--storage", str(tmp_path / "study.db"), code=130)
    assert result["interrupted"] is True
    assert [trial["trial"] for trial in result["trials"]] == [1]
    assert "evaluated in 1 of 2 test windows" in capsys.readouterr().err
