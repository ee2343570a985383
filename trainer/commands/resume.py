"""``fraud-trainer resume``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from stream_scorer.model.store.opening import open_store
from trainer.commands.console import DONE, FAILED, Subparsers, finish
from trainer.settings import TrainerSettings

if TYPE_CHECKING:
    from trainer.publishing.resume import Resumed


def add_resume(commands: Subparsers) -> None:
    """``fraud-trainer resume``."""
    finish(
        commands.add_parser(
            "resume",
            help="promote the version of a run that was interrupted before its promotion",
        ),
        _resume,
    )


def _resume(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from trainer.commands.tracking import track
    from trainer.publishing.resume import resume

    store = open_store(settings)
    resumed = resume(store, settings)
    pointer = store.current()
    outcome = None
    if pointer is not None:  # a run may also have been interrupted after its promotion
        outcome = track(settings.mlflow_tracking_uri, store, pointer.version)
    if arguments.json:
        tracked = None if outcome is None else not outcome.missed
        print(json.dumps({**asdict(resumed), "is_tracked": tracked}))
    else:
        print("\n".join(_describe(resumed)))
    return FAILED if resumed.not_promoted and resumed.promoted is None else DONE


def _describe(resumed: Resumed) -> Iterator[str]:
    for version in resumed.incomplete:
        yield (
            f"{version} is incomplete: its publisher was interrupted, or is still at work; scorers "
            "ignore it, and its number is not used again"
        )
    for version, why in resumed.not_promoted.items():
        yield (
            f"{version} was published to be promoted, and is not promoted: {why}; to serve it, run "
            f"fraud-trainer models promote {version}"
        )
    if resumed.promoted is not None:
        yield f"promoted {resumed.promoted}, whose run was interrupted before its promotion"
    elif not resumed.not_promoted:
        yield "no promotion to resume"
