"""``fraud-trainer tune``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from trainer.commands.console import DONE, INTERRUPTED, Subparsers, finish
from trainer.commands.features import add_program_flags
from trainer.commands.flags.data import add_data_flags
from trainer.fitting.plan import LEARNERS, Plan
from trainer.settings import TrainerSettings


def add_tune(commands: Subparsers) -> None:
    """``fraud-trainer tune``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "tune", help="search for better parameters of the forest"
    )
    plan = Plan()
    add_data_flags(parser)
    add_program_flags(parser)
    for flag, default, meaning in (
        ("--trials", 40, "number of trials of this call"),
        ("--folds", 3, "windows in time on which each trial is judged"),
        ("--seed", plan.model.seed, "random seed of the search, the model and synthetic data"),
        ("--trees", plan.model.trees, "maximum number of trees"),
    ):
        parser.add_argument(
            flag, type=int, default=default, metavar="N", help=f"{meaning} (default {default})"
        )
    parser.add_argument(
        "--minutes", type=float, metavar="M", help="stop after M minutes (default: no limit)"
    )
    parser.add_argument(
        "--frontier",
        action="store_true",
        help="search for the front of average precision against the time of scoring, and draw it",
    )
    parser.add_argument(
        "--storage", type=Path, metavar="FILE", help="keep the trials in FILE; a later call goes on"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE",
        help="page of the front (default frontier.html)",
    )  # fmt: skip
    parser.add_argument(
        "--learner", choices=LEARNERS, default=plan.model.learner,
        help=f"library that builds the forest (default {plan.model.learner})",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads (default: the container's CPUs)"
    )
    finish(parser, _tune)


def _tune(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from trainer.cpus import available_cpus, prepare_openmp

    prepare_openmp(arguments.threads or available_cpus())
    from trainer.commands.tune_run import describe_search, tune

    result = tune(arguments, settings)
    if arguments.json:
        print(json.dumps(result))
    else:
        print("\n".join(describe_search(result)))
    return INTERRUPTED if result["interrupted"] else DONE
