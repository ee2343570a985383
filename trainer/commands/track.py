"""``fraud-trainer models track``."""

from __future__ import annotations

import argparse
import json

from stream_scorer.model.store.opening import open_store
from trainer.commands.console import DONE, FAILED, Subparsers, finish
from trainer.fitting.plan import WrongUsageError
from trainer.settings import TrainerSettings


def add_track(actions: Subparsers) -> None:
    """``fraud-trainer models track``."""
    track = actions.add_parser("track", help="track a published version in MLflow afterwards")
    track.add_argument("version", metavar="vN", help="a version in the store")
    finish(track, _track)


def _track(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from stream_scorer.model.versions.listing import require_version
    from trainer.commands.tracking import track

    if not settings.mlflow_tracking_uri:
        raise WrongUsageError("MLFLOW_TRACKING_URI is not set: set it to the MLflow server's URL")
    store = open_store(settings)
    require_version(store, arguments.version)
    outcome = track(settings.mlflow_tracking_uri, store, arguments.version)
    is_done = outcome is not None and not outcome.missed
    if arguments.json:
        print(
            json.dumps(
                {
                    "tracked": arguments.version if is_done else None,
                    "was_registered": outcome is not None and outcome.was_registered,
                    "missed": {} if outcome is None else dict(outcome.missed),
                }
            )
        )
    elif outcome is not None and is_done:
        known = "was registered already" if outcome.was_registered else "is tracked in MLflow"
        print(f"{arguments.version} {known}")
    return DONE if is_done else FAILED
