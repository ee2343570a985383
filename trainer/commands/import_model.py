"""``fraud-trainer import``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from trainer.commands.console import DONE, FAILED, Subparsers, finish
from trainer.commands.data_flags import add_data_flags
from trainer.fitting.plan import Plan
from trainer.settings import TrainerSettings


def add_import(commands: Subparsers) -> None:
    """``fraud-trainer import``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "import", help="judge, publish and promote a model that was trained elsewhere"
    )
    plan = Plan()
    parser.add_argument(
        "file", metavar="FILE",
        help="LightGBM text model or XGBoost JSON model over columns of a transaction: a path, "
        "file:/// or s3://",
    )  # fmt: skip
    add_data_flags(parser)
    for flag, default, meaning in (
        ("--review-budget", plan.decisions.review_budget, "share of rows that people can review"),
        ("--block-precision", plan.decisions.block_precision, "minimum precision of blocked rows"),
    ):
        parser.add_argument(
            flag, type=float, default=default, metavar="X", help=f"{meaning} (default {default})"
        )
    parser.add_argument("--no-promote", action="store_true", help="publish without promoting")
    parser.add_argument(
        "--force", action="store_true", help="promote even if the gate refuses the model"
    )
    parser.add_argument(
        "--metrics-file", type=Path, metavar="FILE", help="write metrics as a Prometheus text file"
    )
    parser.set_defaults(seed=plan.model.seed)
    finish(parser, _import)


def _import(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from trainer.commands.import_run import import_model
    from trainer.commands.summary import describe_run

    result = import_model(arguments, settings)
    if arguments.json:
        print(json.dumps(result))
    else:
        print("\n".join(describe_run(result)))
    is_refused = not result["gate"]["passed"] and not arguments.force
    if is_refused:
        for reason in result["gate"]["refusals"]:
            print(f"fraud-trainer: not promoted: {reason}", file=sys.stderr)
    return FAILED if is_refused else DONE
