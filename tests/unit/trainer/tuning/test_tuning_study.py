"""The study: seeded, resumable, and kept in a file that is checked."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest

from stream_scorer.errors import FatalError, UsageError
from tests.support.trainer.tuning_kit import FACTS, figures_of, open_study
from trainer.fitting.plan import ModelPlan, Plan
from trainer.tuning.space import own_parameters, train_flags
from trainer.tuning.study import Study


def go_on(study: Study, trials: int) -> list[ModelPlan]:
    """Run trials to their end; the plans that were tried."""
    plans = []
    for _ in range(trials):
        trial = study.ask()
        study.finish(trial, figures_of(trial))
        plans.append(trial.plan)
    return plans


@pytest.mark.parametrize("frontier", [False, True])
def test_the_default_plan_is_the_first_trial(frontier: bool) -> None:
    study = open_study(frontier=frontier)
    (plan,) = go_on(study, 1)
    assert plan == ModelPlan(trees=100)
    assert study.default is not None
    assert study.default.plan == plan


def test_the_seed_decides_what_is_tried() -> None:
    first, again, other = (go_on(open_study(seed=seed), 12) for seed in (7, 7, 8))
    assert first == again
    assert len(set(first)) == 12
    assert first[1:] != other[1:]


@pytest.mark.parametrize("frontier", [False, True])
def test_a_study_that_goes_on_tries_what_it_would_have_tried(
    tmp_path: Path, frontier: bool
) -> None:
    whole = go_on(open_study(frontier=frontier), 10)
    file = tmp_path / "a study?.db"
    parts = [
        *go_on(open_study(file, frontier=frontier), 2),
        *go_on(open_study(file, frontier=frontier), 8),
    ]
    assert parts == whole
    again = open_study(file, frontier=frontier)
    assert [trial.plan for trial in again.trials] == whole
    assert again.finished == 10


def test_an_interrupted_trial_is_tried_again(tmp_path: Path) -> None:
    whole = go_on(open_study(), 4)
    file = tmp_path / "study.db"
    study = open_study(file)
    study.discard(study.ask())  # the default plan
    assert go_on(study, 2) == whole[:2]
    study.discard(study.ask())
    study.ask()  # the process is killed here
    study = open_study(file)
    assert study.finished == 2
    assert go_on(study, 2) == whole[2:]


def test_the_sampler_learns_from_the_trials() -> None:
    plans = go_on(open_study(), 40)
    early = [abs(plan.leaves - 40) for plan in plans[1:9]]
    late = [abs(plan.leaves - 40) for plan in plans[-15:]]
    assert sum(late) / len(late) < sum(early) / len(early) / 2


def test_plans_are_valid_and_their_numbers_short() -> None:
    for frontier in (False, True):
        for plan in go_on(open_study(frontier=frontier), 20):
            Plan(model=plan).check()
            assert (plan.trees == 100) or frontier
            for value in (plan.learning_rate, plan.l2, plan.feature_share, plan.row_share):
                assert len(f"{value:g}") <= 7


def test_a_trial_below_the_median_of_first_windows_is_unpromising() -> None:
    study = open_study()
    default = study.ask()
    assert not study.is_unpromising(default, 0.01, None)  # never pruned
    study.finish(default, figures_of(default))
    for first_fold in (0.4, 0.5, 0.6, 0.7):
        trial = study.ask()
        study.is_unpromising(trial, first_fold, None)
        study.finish(trial, figures_of(trial))
    low, high = study.ask(), study.ask()
    assert study.is_unpromising(low, 0.3, None)
    assert not study.is_unpromising(high, 0.65, None)
    study.prune(low)
    assert study.finished == 6
    assert len(study.trials) == 5


def test_on_the_front_a_trial_is_unpromising_if_another_is_better_and_as_fast() -> None:
    study = open_study(frontier=True)
    default = study.ask()
    study.finish(default, figures_of(default))
    precision, cost = figures_of(default).first_fold, figures_of(default).microseconds
    assert cost is not None
    trial = study.ask()
    assert study.is_unpromising(trial, precision - 0.03, cost + 7.0, 0.02)
    assert not study.is_unpromising(trial, precision - 0.03, cost - 0.5, 0.02)
    assert not study.is_unpromising(trial, precision - 0.01, cost + 7.0, 0.02)


def test_a_study_of_other_rows_or_flags_is_not_continued(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    go_on(open_study(file), 1)
    for facts, frontier, trees, name in (
        (FACTS | {"digest": "cd"}, False, 100, "digest"),
        (FACTS | {"folds": 2}, False, 100, "folds"),
        (FACTS, True, 100, "frontier"),
        (FACTS, False, 50, "trees"),
    ):
        why = rf"study\.db has a study with another value of {name} "
        with pytest.raises(UsageError, match=why):
            Study(file, facts, ModelPlan(trees=trees), frontier=frontier)


def test_a_file_that_is_no_study_is_named(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database" * 100)
    with pytest.raises(UsageError, match=r"notes\.txt: .*file is not a database"):
        open_study(text)
    with pytest.raises(UsageError, match=r"cannot use the study in .*nowhere.*unable to open"):
        open_study(tmp_path / "nowhere" / "study.db")


def test_a_study_of_another_tool_is_not_continued(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    go_on(open_study(file), 1)
    with sqlite3.connect(file) as database:
        database.execute("DELETE FROM study_user_attributes")
    database.close()
    with pytest.raises(UsageError, match="another value of source"):
        open_study(file)


def test_reference_time_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    study = open_study(file)
    assert study.reference_microseconds is None
    study.reference_microseconds = 12.5
    assert open_study(file).reference_microseconds == 12.5


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(FatalError, match="tune needs the package optuna"):
        open_study()


def test_flags_give_the_train_command_the_same_plan() -> None:
    from trainer.commands.parser import build_parser
    from trainer.commands.train_run import make_plan

    plan = go_on(open_study(frontier=True), 3)[-1]
    words = ["train", "--synthetic", "9", "--threads", "1", *train_flags(plan).split()]
    assert make_plan(build_parser().parse_args(words)).model == plan


def test_own_parameters_are_moved_into_the_ranges() -> None:
    own = own_parameters(ModelPlan(leaves=9999, row_share=0.1), with_trees=True)
    assert own["leaves"] == 255
    assert own["row_share"] == 0.5
    assert own["trees"] == ModelPlan().trees
