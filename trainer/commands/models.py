"""``fraud-trainer models``: the versions in the store."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from stream_scorer.model.store.opening import open_store
from trainer.commands.console import DONE, Subparsers, finish
from trainer.commands.track import add_track
from trainer.settings import TrainerSettings


def add_models(commands: Subparsers) -> None:
    """``fraud-trainer models`` and its actions."""
    models = commands.add_parser("models", help="manage the versions in the store")
    actions = models.add_subparsers(required=True, metavar="ACTION")
    finish(actions.add_parser("list", help="list all versions and their status"), _list)
    show = actions.add_parser("show", help="print a version's metadata")
    show.add_argument("version", metavar="vN")
    finish(show, _show)
    promote = actions.add_parser("promote", help="make the scorers serve a version")
    promote.add_argument("version", metavar="vN")
    promote.add_argument(
        "--force", action="store_true", help="promote even if a scorer rejected it; also accepts it"
    )
    finish(promote, _promote)
    accept = actions.add_parser("accept", help="lift a version's rejection")
    accept.add_argument("version", metavar="vN")
    finish(accept, _accept)
    finish(
        actions.add_parser("rollback", help="promote the previously promoted version"), _roll_back
    )
    add_track(actions)


def _list(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from trainer.commands.summary import describe_versions
    from trainer.publishing.versions import list_versions

    lines = list(list_versions(open_store(settings)))
    if arguments.json:
        print(json.dumps([asdict(line) for line in lines]))
    else:
        print("\n".join(describe_versions(lines)))
    return DONE


def _show(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from trainer.publishing.versions import fetch_metadata

    store = open_store(settings)
    metadata = fetch_metadata(store, arguments.version)
    rejection = store.rejected().get(arguments.version)
    if rejection is not None:
        metadata = {"rejected": rejection, **metadata}
    if not arguments.json:  # people do not need the long tables
        for name in ("golden", "plots", "reference"):
            metadata.pop(name, None)
        metadata.get("features", {}).pop("names", None)
    print(json.dumps(metadata, indent=None if arguments.json else 2))
    return DONE


def _promote(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from trainer.commands.tracking import align_alias
    from trainer.publishing.versions import promote_version

    store = open_store(settings)
    promote_version(store, settings, arguments.version, is_forced=arguments.force)
    align_alias(settings.mlflow_tracking_uri, store)
    _print_promoted(arguments, arguments.version)
    return DONE


def _accept(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from trainer.publishing.versions import accept_version

    was_rejected = accept_version(open_store(settings), arguments.version)
    if arguments.json:
        print(json.dumps({"accepted": arguments.version, "was_rejected": was_rejected}))
    else:
        before = "its rejection is lifted" if was_rejected else "it was not rejected"
        print(f"accepted {arguments.version} ({before}); no guard will judge it again")
    return DONE


def _roll_back(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from trainer.commands.tracking import align_alias
    from trainer.publishing.versions import roll_back

    store = open_store(settings)
    left, version = roll_back(store, settings)
    align_alias(settings.mlflow_tracking_uri, store)
    _print_promoted(arguments, version, f" (rolled back from {left})")
    return DONE


def _print_promoted(arguments: argparse.Namespace, version: str, more: str = "") -> None:
    print(json.dumps({"promoted": version}) if arguments.json else f"promoted {version}{more}")
