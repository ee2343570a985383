"""``fraud-trainer train``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from trainer.commands.console import DONE, FAILED, REFUSED, Subparsers, finish
from trainer.commands.features import add_program_flags, feature_plan
from trainer.commands.flags.data import add_data_flags
from trainer.commands.flags.decisions import add_max_slowdown, add_threshold_flags
from trainer.commands.flags.forcing import add_force
from trainer.fitting.plan import LEARNERS, Plan
from trainer.settings import TrainerSettings

_SWITCHES: Final = (
    (
        "--no-refit",
        "serve the last fold's model, which has not seen the newest rows; saves a fit",
    ),
    (
        "--no-history-seed",
        "publish no card histories of the training rows (personal data); scorers begin without",
    ),
    ("--no-promote", "publish without promoting"),
    (
        "--refused-is-success",
        "exit code 0 also if the gate refuses the version (default: 1, or 4 with TRAINING_ID)",
    ),
)
_REASON: Final = (
    "why the model is trained, recorded with the version (TRAINING_REASON); with --force, why it "
    "is promoted all the same"
)


def add_train(commands: Subparsers) -> None:
    """``fraud-trainer train``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "train", help="train, publish and promote a model"
    )
    plan = Plan()
    add_data_flags(parser)
    add_program_flags(parser)
    for flag, default, meaning in (
        ("--seed", plan.model.seed, "random seed of the model and the synthetic data"),
        ("--trees", plan.model.trees, "maximum number of trees; early stopping may use fewer"),
        ("--leaves", plan.model.leaves, "maximum number of leaves per tree"),
        ("--learning-rate", plan.model.learning_rate, "a smaller rate needs more trees"),
        ("--min-rows-in-leaf", plan.model.min_rows_in_leaf, "minimum number of rows of a leaf"),
        ("--feature-share", plan.model.feature_share, "share of the features that a tree sees"),
        ("--row-share", plan.model.row_share, "share of the rows that a tree sees"),
        ("--l2", plan.model.l2, "how strongly a leaf with few rows is drawn to 0"),
        (
            "--validation-share",
            plan.split.validation_share,
            "share of each training window, its latest rows, for early stopping",
        ),
        ("--folds", plan.split.folds, "test windows, each with a model trained on earlier rows"),
        ("--gap-days", plan.split.gap_days, "days left out before each test window"),
    ):
        metavar = "N" if isinstance(default, int) else "X"
        parser.add_argument(
            flag, type=type(default), default=default, metavar=metavar,
            help=f"{meaning} (default {default})",
        )  # fmt: skip
    parser.add_argument(
        "--test-share", type=float, metavar="X",
        help="share of rows, the latest, in all test windows (default: 0.15 a fold, at most 0.45)",
    )  # fmt: skip
    for flag, meaning in _SWITCHES:
        parser.add_argument(flag, action="store_true", help=meaning)
    parser.add_argument(
        "--learner",
        choices=LEARNERS,
        default=plan.model.learner,
        help=f"library that builds the forest (default {plan.model.learner})",
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads (default: the container's CPUs)"
    )
    add_threshold_flags(parser)
    add_max_slowdown(parser)
    add_force(parser, "promote even if the gate refuses the model", _REASON)
    parser.add_argument(
        "--metrics-file", type=Path, metavar="FILE", help="write metrics as a Prometheus text file"
    )
    parser.add_argument(
        "--ablation", type=Path, metavar="FILE",
        help="keep the result of fraud-trainer ablate --output with the version, for its report",
    )  # fmt: skip
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write the version's evaluation report"
    )
    finish(parser, _train)


def _train(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from trainer.cpus import available_cpus, prepare_openmp

    prepare_openmp(arguments.threads or available_cpus())
    from trainer.commands.report import read_ablation_of, write_version_report
    from trainer.commands.summary import show_run
    from trainer.commands.train_run import train
    from trainer.programs.chosen import choose_program
    from trainer.publishing.request import request_facts

    facts: dict[str, Any] = {
        **request_facts(
            id=settings.training_id,
            reason=arguments.reason or settings.training_reason,
            trigger=settings.training_trigger,
            by=settings.training_by,
        )
    }
    if not arguments.force:
        arguments.reason = None  # it says why the model is trained, and overrides nothing
    if arguments.ablation is not None:
        plan = feature_plan(arguments)
        chosen = choose_program(plan.program, plan.without)
        facts["ablation"] = read_ablation_of(arguments.ablation, chosen)
    result = train(arguments, settings, facts=facts)
    if arguments.report is not None:
        write_version_report(settings, result["version"], arguments.report)
    code = show_run(result, arguments)
    if code == FAILED and arguments.refused_is_success:
        return DONE
    return REFUSED if code == FAILED and settings.training_id else code
