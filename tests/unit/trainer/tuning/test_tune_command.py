"""``fraud-trainer tune``: its flags, and what it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.trainer.tuning_kit import figures_of, open_study
from trainer.commands.features import feature_plan
from trainer.commands.parser import build_parser
from trainer.commands.tune_run import describe_search, make_plan, study_facts, summarise
from trainer.fitting.plan import FeaturePlan, ModelPlan, WrongUsageError
from trainer.programs.chosen import choose_program


def arguments(*words: str) -> Any:
    return build_parser().parse_args(["tune", "--synthetic", "9", *words])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--trials", "0"), "--trials 0 must be from 1"),
        (("--folds", "11"), "--folds 11 must be from 1 to 10"),
        (("--minutes", "0"), "--minutes 0.0 must be more than 0"),
        (("--minutes", "nan"), "--minutes nan must be more than 0"),
        (("--minutes=-3",), "--minutes -3.0 must be more than 0"),
        (("--trees", "0"), "--trees 0 must be"),
        (("--output", "x.html"), "--output is for the page of --frontier"),
    ],
)
def test_a_wrong_flag_is_named(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(WrongUsageError, match=message):
        make_plan(arguments(*words))


def test_flags_limit_the_default_plan() -> None:
    given = arguments("--trees", "50", "--seed", "3", "--learner", "xgboost", "--threads", "2")
    assert make_plan(given).model == ModelPlan(trees=50, seed=3, learner="xgboost", threads=2)


def result_of(trials: int, folder: Path, *more: str, frontier: bool) -> dict[str, Any]:
    study = open_study(frontier=frontier)
    for _ in range(trials):
        trial = study.ask()
        study.finish(trial, figures_of(trial))
    words = ["--frontier", "-o", str(folder / "front.html")] if frontier else []
    found = summarise(study, "synthetic:9:7", 500, arguments(*words, *more))
    return found | {"interrupted": False}


def test_a_search_ends_with_flags_to_train_with(tmp_path: Path) -> None:
    result = result_of(20, tmp_path, frontier=False)
    *_, last = describe_search(result)
    words = last.split()
    assert words[:2] == ["fraud-trainer", "train"]
    build_parser().parse_args([*words[1:], "--synthetic", "9"])
    table = [line for line in describe_search(result) if line.endswith("default plan")]
    assert len(table) == 1
    best = max(trial["average_precision"] for trial in result["trials"])
    assert result["best"]["average_precision"] == best > result["default"]["average_precision"]
    assert any("above the default plan" in line for line in describe_search(result))


def test_flags_to_train_with_have_the_features_of_the_search(tmp_path: Path) -> None:
    more = ("--features", "raw/1", "--without", "texts", "--without", "numbers")
    result = result_of(2, tmp_path, *more, frontier=True)
    for flags in (result["flags"], result["fastest_flags"]):
        found = build_parser().parse_args(["train", "--synthetic", "9", *flags.split()])
        assert feature_plan(found) == FeaturePlan("raw/1", ("texts", "numbers"))
    assert (tmp_path / "front.html").read_text().count("--features raw/1") == 2


@pytest.mark.parametrize("labels", [(0, 1, 0), (1, 0, 0)])
def test_study_of_other_labels_is_another_study(labels: tuple[int, ...]) -> None:
    def facts_of(labels: tuple[int, ...]) -> dict[str, Any]:
        facts = {"source": "x.csv", "sha256": {"transactions": "ab"}}
        plan, program = make_plan(arguments()), choose_program("raw/1").program
        return study_facts(facts, np.array(labels, np.int8), plan, program, 3)

    assert facts_of((0, 0, 1)) == facts_of((0, 0, 1))
    assert facts_of((0, 0, 1)) != facts_of(labels)


def test_the_default_plan_may_be_the_best(tmp_path: Path) -> None:
    lines = list(describe_search(result_of(1, tmp_path, frontier=False)))
    assert "no trial is better than the default plan" in lines


def test_the_front_is_printed_and_drawn(tmp_path: Path) -> None:
    result = result_of(25, tmp_path, frontier=True)
    lines = list(describe_search(result))
    assert len(result["front"]) > 1
    assert sum("on the front" in line for line in lines) == len(result["front"])
    assert (tmp_path / "front.html").read_text().startswith("<!doctype html>")
    commands = [line for line in lines if line.startswith("  fraud-trainer train --learner")]
    assert len(commands) == 2
    fastest, best = result["fastest"], result["best"]
    assert fastest["microseconds"] <= best["microseconds"]
    assert fastest["average_precision"] >= best["average_precision"] - 0.02
    assert "the standard error of these figures is about 0.020 (500 frauds)" in lines


def test_an_interrupted_search_says_how_to_go_on(tmp_path: Path) -> None:
    result = result_of(2, tmp_path, frontier=False) | {"interrupted": True, "storage": "s.db"}
    assert list(describe_search(result))[-1].endswith("--storage s.db goes on")


@pytest.mark.parametrize("frontier", [True, False])
def test_the_table_has_the_time_of_scoring_only_where_it_is_measured(
    tmp_path: Path, frontier: bool
) -> None:
    shown = list(describe_search(result_of(3, tmp_path, frontier=frontier)))
    head = next(line for line in shown if line.startswith(" trial"))
    assert ("µs a row" in head) is frontier
    row = next(line for line in shown if "default plan" in line)
    assert row.split()[0] == "1", "trials count from 1"
