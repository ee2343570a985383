"""The command line of ``fraud-trainer``."""

from __future__ import annotations

import argparse

from stream_scorer.runtime.settings import describe_settings
from stream_scorer.runtime.version import add_version
from trainer.commands.ablate import add_ablate
from trainer.commands.features import add_features
from trainer.commands.history import add_history
from trainer.commands.import_model import add_import
from trainer.commands.models import add_models
from trainer.commands.report import add_report
from trainer.commands.resume import add_resume
from trainer.commands.synth import add_synth
from trainer.commands.train import add_train
from trainer.commands.tune import add_tune
from trainer.settings import TrainerSettings


def build_parser() -> argparse.ArgumentParser:
    """The parser; a command's function is in ``run``."""
    parser = argparse.ArgumentParser(
        prog="fraud-trainer",
        description="Train fraud models, publish them, and manage the published versions.",
        epilog=describe_settings(TrainerSettings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        add_train,
        add_tune,
        add_import,
        add_resume,
        add_features,
        add_ablate,
        add_history,
        add_synth,
        add_models,
        add_report,
    ):
        add(commands)
    return parser
