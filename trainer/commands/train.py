"""``fraud-trainer train``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from trainer.commands.console import DONE, FAILED, Subparsers, finish
from trainer.fitting.plan import Plan
from trainer.settings import TrainerSettings


def add_train(commands: Subparsers) -> None:
    """``fraud-trainer train``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "train", help="train, publish and promote a model"
    )
    plan = Plan()
    given = parser.add_mutually_exclusive_group()
    given.add_argument(
        "--transactions", metavar="CSV", help="transactions CSV: a path, file:/// or s3://"
    )
    given.add_argument("--synthetic", type=int, metavar="N", help="train on N synthetic rows")
    parser.add_argument("--identity", metavar="CSV", help="identity CSV for these transactions")
    for flag, default, meaning in (
        ("--seed", plan.model.seed, "random seed of the model and the synthetic data"),
        ("--trees", plan.model.trees, "maximum number of trees; early stopping may use fewer"),
        ("--leaves", plan.model.leaves, "maximum number of leaves per tree"),
        ("--learning-rate", plan.model.learning_rate, "a smaller rate needs more trees"),
        ("--review-budget", plan.decisions.review_budget, "share of rows that people can review"),
        ("--block-precision", plan.decisions.block_precision, "minimum precision of blocked rows"),
        (
            "--validation-share",
            plan.split.validation_share,
            "share of rows for early stopping and thresholds",
        ),
        ("--test-share", plan.split.test_share, "share of rows, the latest, for reported metrics"),
        ("--gap-days", plan.split.gap_days, "days left out between the parts"),
    ):
        metavar = "N" if isinstance(default, int) else "X"
        parser.add_argument(
            flag, type=type(default), default=default, metavar=metavar,
            help=f"{meaning} (default {default})",
        )  # fmt: skip
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads (default: the container's CPUs)"
    )
    parser.add_argument("--no-promote", action="store_true", help="publish without promoting")
    parser.add_argument(
        "--force", action="store_true", help="promote even if the gate refuses the model"
    )
    parser.add_argument(
        "--metrics-file", type=Path, metavar="FILE", help="write metrics as a Prometheus text file"
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write the version's evaluation report"
    )
    finish(parser, _train)


def _train(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from trainer.cpus import available_cpus

    # OpenMP reads this when it is loaded. Without it, OpenMP uses every processor of the machine.
    os.environ.setdefault("OMP_NUM_THREADS", str(arguments.threads or available_cpus()))
    from trainer.commands.report import write_version_report
    from trainer.commands.summary import describe_run
    from trainer.commands.train_run import train

    result = train(arguments, settings)
    if arguments.report is not None:
        write_version_report(settings, result["version"], arguments.report)
    if arguments.json:
        print(json.dumps(result))
    else:
        print("\n".join(describe_run(result)))
    is_refused = not result["gate"]["passed"] and not arguments.force
    if is_refused:
        for reason in result["gate"]["refusals"]:
            print(f"fraud-trainer: not promoted: {reason}", file=sys.stderr)
    return FAILED if is_refused else DONE
