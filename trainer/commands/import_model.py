"""``fraud-trainer import``."""

from __future__ import annotations

import argparse
from pathlib import Path

from trainer.commands.console import Subparsers, finish
from trainer.commands.flags.data import add_data_flags
from trainer.commands.flags.decisions import add_max_slowdown, add_threshold_flags
from trainer.commands.flags.forcing import add_force
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
    add_threshold_flags(parser)
    add_max_slowdown(parser)
    parser.add_argument("--no-promote", action="store_true", help="publish without promoting")
    add_force(parser, "promote even if the gate refuses the model")
    parser.add_argument(
        "--metrics-file", type=Path, metavar="FILE", help="write metrics as a Prometheus text file"
    )
    parser.set_defaults(seed=plan.model.seed)
    finish(parser, _import)


def _import(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from trainer.commands.import_run import import_model
    from trainer.commands.summary import show_run

    result = import_model(arguments, settings)
    return show_run(result, arguments)
