"""``fraud-trainer models``: the versions in the store."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from stream_scorer.model.store.opening import open_store
from stream_scorer.model.store.promotions import Promotion, last_promotion
from stream_scorer.runtime.text import printable, printable_json
from trainer.challenger.challenge import add_challenge, run_challenge
from trainer.challenger.compare import (
    CODES,
    add_compare,
    add_window,
    refuse_unless_better,
    run_compare,
)
from trainer.commands.console import DONE, Subparsers, finish
from trainer.commands.flags.forcing import add_force, add_reason, read_force, read_reason
from trainer.commands.track import add_track
from trainer.fitting.plan import WrongUsageError
from trainer.settings import TrainerSettings


def add_models(commands: Subparsers) -> None:
    """``fraud-trainer models`` and its actions."""
    models = commands.add_parser("models", help="manage the versions in the store")
    actions = models.add_subparsers(required=True, metavar="ACTION")
    finish(actions.add_parser("list", help="list all versions and their status"), _list)
    show = actions.add_parser("show", help="print a version's metadata")
    show.add_argument("version", metavar="vN", help="a version in the store")
    finish(show, _show)
    promote = actions.add_parser("promote", help="make the scorers serve a version")
    promote.add_argument("version", metavar="vN", help="a version in the store")
    add_force(promote, "promote even if the gate refused it or a scorer rejected it")
    promote.add_argument(
        "--if-better",
        action="store_true",
        help="only if models compare says that it is better than the promoted version; exit codes "
        f"as there ({CODES})",
    )
    add_window(promote)
    finish(promote, _promote)
    accept = actions.add_parser("accept", help="lift a version's rejection")
    accept.add_argument("version", metavar="vN", help="a version in the store")
    add_reason(accept, "why, required")
    finish(accept, _accept)
    _add_threshold(actions)
    rollback = actions.add_parser("rollback", help="promote the previously promoted version")
    add_force(rollback, "also to a version that the gate refused and that was promoted by force")
    finish(rollback, _roll_back)
    finish(add_challenge(actions), run_challenge)
    finish(add_compare(actions), run_compare)
    add_track(actions)


def _add_threshold(actions: Subparsers) -> None:
    threshold = actions.add_parser(
        "threshold", help="publish a version with the same model and other thresholds"
    )
    threshold.add_argument("version", metavar="vN", help="the version whose model it is")
    for name, what in (("review", "reviewed"), ("block", "blocked")):
        threshold.add_argument(
            f"--{name}", type=float, metavar="SCORE",
            help=f"transactions with this score or more are {what}; default: as in vN",
        )  # fmt: skip
    add_reason(threshold, "why, required")
    threshold.add_argument(
        "--promote", action="store_true", help="make the scorers serve it; default: publish only"
    )
    finish(threshold, _threshold)


def _threshold(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from stream_scorer.model.versions.promoting import Seen, promote_version
    from stream_scorer.model.versions.thresholds import publish_thresholds
    from trainer.commands.tracking import align_alias

    if arguments.review is None and arguments.block is None:
        raise WrongUsageError("models threshold needs --review SCORE, --block SCORE or both")
    who = read_reason(arguments, settings, "models threshold")
    store = open_store(settings)
    seen = Seen.of(store.current())
    done = publish_thresholds(
        store, settings, arguments.version, arguments.review, arguments.block, who
    )
    if not arguments.json:
        print(f"published {done.version}: the model of {done.origin}, reviews from "
              f"{done.after.review!r} and blocks from {done.after.block!r}")  # fmt: skip
    if arguments.promote:
        promote_version(store, settings, done.version, seen=seen)
        align_alias(settings.mlflow_tracking_uri, store)
    if arguments.json:
        promoted = done.version if arguments.promote else None
        print(json.dumps({**done.as_json(), "promoted": promoted}))
    elif arguments.promote:
        print(f"promoted {done.version}")
    else:
        print(f"to serve it, run fraud-trainer models promote {done.version}")
    return DONE


def _list(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from stream_scorer.model.versions.listing import list_versions
    from trainer.commands.summary import describe_versions

    lines = list(list_versions(open_store(settings)))
    if arguments.json:
        print(json.dumps([asdict(line) for line in lines]))
    elif lines:
        print("\n".join(describe_versions(lines)))
    else:
        print(f"no versions in {printable(settings.store_uri)}")
    return DONE


def _show(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from stream_scorer.model.versions.listing import fetch_metadata

    store = open_store(settings)
    metadata = fetch_metadata(store, arguments.version)
    rejection = store.rejected().get(arguments.version)
    acceptance = store.acceptances().get(arguments.version)
    promotion = last_promotion(store.history(), arguments.version)
    is_challenger = store.challenger().version == arguments.version
    told = {
        "challenger": True if is_challenger else None,
        "rejected": rejection,
        "accepted": acceptance,
        "promoted": None if promotion is None else _facts(promotion),
    }
    metadata = {**{name: value for name, value in told.items() if value is not None}, **metadata}
    if not arguments.json:  # people do not need the long tables
        for name in ("golden", "plots", "reference", "curves", "shap"):
            metadata.pop(name, None)
        for section, name in (
            ("features", "names"),
            ("thresholds", "saving_curve"),
            ("history", "stream"),
        ):
            if isinstance(found := metadata.get(section), dict):
                found.pop(name, None)
    text = json.dumps(metadata, indent=None if arguments.json else 2)
    print("\n".join(map(printable_json, text.split("\n"))))
    return DONE


def _facts(promotion: Promotion) -> dict[str, Any]:
    """A promotion as the store records it."""
    facts = {name: getattr(promotion, name) for name in ("at", "host", "previous", "is_rollback")}
    if promotion.is_forced:
        facts |= {"forced": True, "by": promotion.by, "reason": promotion.reason}
    return facts


def _promote(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from stream_scorer.model.versions.promoting import promote_version
    from trainer.commands.tracking import align_alias

    override = read_force(arguments, settings)
    store = open_store(settings)
    if arguments.if_better:
        if override is not None:
            raise WrongUsageError("--if-better and --force contradict each other")
        if code := refuse_unless_better(arguments, settings, arguments.version):
            return code
    promote_version(store, settings, arguments.version, override=override)
    align_alias(settings.mlflow_tracking_uri, store)
    _print_promoted(arguments, arguments.version)
    return DONE


def _accept(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from stream_scorer.model.versions.promoting import accept_version

    override = read_reason(arguments, settings, "models accept")
    was_rejected = accept_version(open_store(settings), arguments.version, override)
    if arguments.json:
        print(json.dumps({"accepted": arguments.version, "was_rejected": was_rejected}))
    else:
        before = "its rejection is lifted" if was_rejected else "it was not rejected"
        print(f"accepted {arguments.version} ({before}); no guard will judge it again")
    return DONE


def _roll_back(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from stream_scorer.model.versions.promoting import roll_back
    from trainer.commands.tracking import align_alias

    override = read_force(arguments, settings)
    store = open_store(settings)
    left, version = roll_back(store, settings, override)
    align_alias(settings.mlflow_tracking_uri, store)
    _print_promoted(arguments, version, f" (rolled back from {left})")
    return DONE


def _print_promoted(arguments: argparse.Namespace, version: str, more: str = "") -> None:
    print(json.dumps({"promoted": version}) if arguments.json else f"promoted {version}{more}")
