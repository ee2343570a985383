"""DVC's definition of the pipeline agrees with the commands that it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from trainer.commands.parser import build_parser
from trainer.commands.train_run import make_plan

ROOT = Path(__file__).parents[3]


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "trainer/dvc" / name).read_text("utf-8"))
    return found


def flags(values: dict[str, Any]) -> list[str]:
    """As DVC writes a mapping into a command."""
    words = [(f"--{name}",) if value is True else (f"--{name}", str(value))
             for name, value in values.items() if value is not False]  # fmt: skip
    return [word for pair in words for word in pair]


@pytest.mark.parametrize("command", ["train", "synth"])
def test_parameters_are_flags_with_the_values_of_the_command(command: str) -> None:
    params = load("params.yaml")[command]
    fixed = ["synth", "x"] if command == "synth" else ["train", "--transactions", "x"]
    ours = vars(build_parser().parse_args([*fixed, *flags(params)]))
    theirs = vars(build_parser().parse_args(fixed))
    differing = {name for name in ours if ours[name] != theirs[name]}
    # Without limits, the review budget of the command is chosen when the plan is made.
    assert differing == {"train": {"no_promote", "review_budget"}, "synth": {"rows"}}[command]
    if command == "train":
        plans = [make_plan(build_parser().parse_args(args)) for args in (
            [*fixed, *flags(params)], fixed)]  # fmt: skip
        assert plans[0] == plans[1]


def test_stages_depend_on_files_that_exist() -> None:
    stages = load("dvc.yaml")["stages"]
    code = [path for stage in stages.values() for path in stage["deps"] if "$" not in path]
    assert code
    assert [path for path in code if not (ROOT / path).exists()] == []


def test_data_of_the_training_is_what_the_stage_before_writes() -> None:
    assert load("dvc.yaml")["stages"]["synth"]["outs"] == list(load("params.yaml")["data"].values())
