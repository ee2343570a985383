"""What all commands share: exit codes, and how a command joins the parser."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final

from trainer.settings import TrainerSettings

DONE: Final = 0
FAILED: Final = 1
WRONG_USAGE: Final = 2
REFUSED: Final = 4
"""The gate refused the version of a training with TRAINING_ID, so that whoever runs it neither
repeats it nor takes it for a failure. Other trainings end with 1, and with --refused-is-success all
end with 0."""
INTERRUPTED: Final = 130

Command = Callable[[argparse.Namespace, TrainerSettings], int]
Subparsers = Any  # argparse has no public name for what add_subparsers returns


def finish(parser: argparse.ArgumentParser, command: Command) -> None:
    """Add ``--json`` and say which function runs the command."""
    parser.add_argument("--json", action="store_true", help="print one JSON value instead")
    parser.set_defaults(run=command)
