"""``--force --reason TEXT``: overriding a check, which is recorded with who, when and why."""

from __future__ import annotations

import argparse

from stream_scorer.model.store.promotions import REASON_MAX_CHARACTERS, Override
from trainer.fitting.plan import WrongUsageError
from trainer.publishing.operator import operator_name
from trainer.settings import TrainerSettings


def add_force(
    parser: argparse.ArgumentParser, meaning: str, reason: str = "why, with --force"
) -> None:
    """Add ``--force`` and ``--reason``, with what each means."""
    parser.add_argument("--force", action="store_true", help=f"{meaning}; needs --reason")
    add_reason(parser, reason)


def add_reason(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add ``--reason``."""
    parser.add_argument("--reason", metavar="TEXT", help=f"{meaning}; recorded in the store")


def read_force(arguments: argparse.Namespace, settings: TrainerSettings) -> Override | None:
    """Who forces, and why; None without ``--force``.

    Raises:
        WrongUsageError: ``--force`` without ``--reason``, or the reverse.
    """
    if arguments.force:
        return read_reason(arguments, settings, "--force")
    if arguments.reason is not None:
        raise WrongUsageError("--reason needs --force: nothing is recorded without it")
    return None


def read_reason(arguments: argparse.Namespace, settings: TrainerSettings, command: str) -> Override:
    """Who does it, and why.

    Raises:
        WrongUsageError: there is no reason, or it is too long.
    """
    reason = (arguments.reason or "").strip()
    if not reason:
        raise WrongUsageError(
            f"{command} needs --reason TEXT: the store records who did it, when and why"
        )
    if len(reason) > REASON_MAX_CHARACTERS:
        raise WrongUsageError(
            f"--reason has {len(reason)} characters; the limit is {REASON_MAX_CHARACTERS}"
        )
    return Override(operator_name(settings.fraud_trainer_user), reason)
