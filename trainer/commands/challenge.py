"""``fraud-trainer models challenge``: a version scores in shadow beside the champion."""

from __future__ import annotations

import argparse
import json

from stream_scorer.model.store.opening import open_store
from trainer.commands.console import DONE, Subparsers, finish
from trainer.fitting.plan import WrongUsageError
from trainer.settings import TrainerSettings


def add_challenge(actions: Subparsers) -> None:
    """``fraud-trainer models challenge``."""
    challenge = actions.add_parser(
        "challenge", help="let a version score in shadow beside the promoted one"
    )
    challenge.add_argument("version", metavar="vN", nargs="?", help="a version in the store")
    challenge.add_argument("--none", action="store_true", help="end the shadow scoring")
    finish(challenge, _challenge)


def _challenge(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from stream_scorer.model.versions.challenging import challenge_version, end_challenge

    if (arguments.version is None) != arguments.none:
        raise WrongUsageError("give either a version such as v8, or --none")
    store = open_store(settings)
    if arguments.version is None:
        done = end_challenge(store)
    else:
        done = challenge_version(store, settings, arguments.version)
    if arguments.json:
        print(json.dumps(done._asdict()))
    elif done.challenger is None:
        was = "no version did" if done.previous is None else f"{done.previous} did"
        print(f"no version scores in shadow now ({was} before)")
    else:
        print(
            f"{done.challenger} scores in shadow beside {done.champion}; compare the two with "
            f"fraud-trainer models compare {done.champion} {done.challenger}"
        )
    return DONE
