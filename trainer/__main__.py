"""``fraud-trainer``: trains and publishes models, and manages the versions in the store."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from schemas.errors import UnusableFileError
from stream_scorer.errors import ScorerError, SettingsError
from stream_scorer.model.store.opening import open_store
from stream_scorer.runtime.logs import configure_logging
from stream_scorer.runtime.settings import describe_settings, load_settings
from stream_scorer.runtime.text import printable_lines
from stream_scorer.runtime.version import add_version
from trainer.fitting.plan import Plan, WrongUsageError
from trainer.settings import TrainerSettings

DONE: Final = 0
FAILED: Final = 1
WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130

Command = Callable[[argparse.Namespace, TrainerSettings], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 failed, 2 wrong usage."""
    arguments = _parser().parse_args(argv)
    try:
        settings = load_settings(TrainerSettings)
        configure_logging("trainer", settings)
        command: Command = arguments.run
        return command(arguments, settings)
    except (SettingsError, WrongUsageError) as error:
        print(f"fraud-trainer: {printable_lines(str(error))}", file=sys.stderr)
        return WRONG_USAGE
    except (ScorerError, UnusableFileError) as error:
        print(f"fraud-trainer: {printable_lines(str(error))}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _train(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from trainer.cpus import available_cpus

    # OpenMP reads this when it is loaded. Without it, OpenMP uses every processor of the machine.
    os.environ.setdefault("OMP_NUM_THREADS", str(arguments.threads or available_cpus()))
    from trainer.summary import describe_run
    from trainer.train_command import train

    result = train(arguments, settings)
    if arguments.json:
        print(json.dumps(result))
    else:
        print("\n".join(describe_run(result)))
    is_refused = not result["gate"]["passed"] and not arguments.force
    if is_refused:
        for reason in result["gate"]["refusals"]:
            print(f"fraud-trainer: not promoted: {reason}", file=sys.stderr)
    return FAILED if is_refused else DONE


def _synth(arguments: argparse.Namespace, _: TrainerSettings) -> int:
    from trainer.synth import generate
    from trainer.synth.files import write_csvs

    tables = generate(arguments.rows, arguments.seed)
    paths = write_csvs(tables, arguments.directory)
    if arguments.json:
        print(json.dumps({"files": [str(p) for p in paths], "rows": arguments.rows}))
    else:
        for path, table in zip(paths, (tables.transactions, tables.identity), strict=True):
            print(f"{path}: {len(table):,} rows")
    return DONE


def _list(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from trainer.publishing.versions import list_versions
    from trainer.summary import describe_versions

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
    from trainer.publishing.versions import promote_version

    store = open_store(settings)
    promote_version(store, settings, arguments.version, is_forced=arguments.force)
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
    from trainer.publishing.versions import roll_back

    left, version = roll_back(open_store(settings), settings)
    _print_promoted(arguments, version, f" (rolled back from {left})")
    return DONE


def _print_promoted(arguments: argparse.Namespace, version: str, more: str = "") -> None:
    print(json.dumps({"promoted": version}) if arguments.json else f"promoted {version}{more}")


def _report(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from trainer.publishing.versions import fetch_metadata
    from trainer.report import write_report

    metadata = fetch_metadata(open_store(settings), arguments.version)
    path = arguments.output or Path(f"report-{arguments.version}.html")
    write_report(metadata, path)
    print(json.dumps({"report": str(path)}) if arguments.json else f"wrote {path}")
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fraud-trainer",
        description="Train fraud models, publish them, and manage the published versions.",
        epilog=describe_settings(TrainerSettings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(commands.add_parser("train", help="train, publish and promote a model"))
    synth = commands.add_parser("synth", help="write synthetic IEEE-CIS CSVs")
    synth.add_argument(
        "directory", type=Path, metavar="DIR", help="output directory; created if it is missing"
    )
    synth.add_argument(
        "--rows", type=int, default=20_000, help="number of transactions (default 20000)"
    )
    synth.add_argument(
        "--seed", type=int, default=7, help="the same seed gives the same tables (default 7)"
    )
    _finish(synth, _synth)
    models = commands.add_parser("models", help="manage the versions in the store")
    actions = models.add_subparsers(required=True, metavar="ACTION")
    _finish(actions.add_parser("list", help="list all versions and their status"), _list)
    show = actions.add_parser("show", help="print a version's metadata")
    show.add_argument("version", metavar="vN")
    _finish(show, _show)
    promote = actions.add_parser("promote", help="make the scorers serve a version")
    promote.add_argument("version", metavar="vN")
    promote.add_argument(
        "--force", action="store_true", help="promote even if a scorer rejected it; also accepts it"
    )
    _finish(promote, _promote)
    accept = actions.add_parser("accept", help="lift a version's rejection")
    accept.add_argument("version", metavar="vN")
    _finish(accept, _accept)
    _finish(
        actions.add_parser("rollback", help="promote the previously promoted version"), _roll_back
    )
    report = commands.add_parser("report", help="write a version's evaluation as an HTML page")
    report.add_argument("version", metavar="vN")
    report.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="output file (default report-vN.html)"
    )
    _finish(report, _report)
    return parser


def _finish(parser: argparse.ArgumentParser, command: Command) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON value instead")
    parser.set_defaults(run=command)


def _add_train(parser: argparse.ArgumentParser) -> None:
    plan = Plan()
    given = parser.add_mutually_exclusive_group()
    given.add_argument(
        "--transactions", metavar="CSV", help="transactions CSV: a path, file:/// or s3://"
    )
    given.add_argument("--synthetic", type=int, metavar="N", help="train on N synthetic rows")
    parser.add_argument("--identity", metavar="CSV", help="identity CSV for these transactions")
    for flag, default, meaning in (
        ("--seed", plan.model.seed, "random seed of the model and the synthetic data"),
        ("--trees", plan.model.trees, "maximum number of trees; early stopping may use fewer"),
        ("--leaves", plan.model.leaves, "maximum number of leaves per tree"),
        ("--learning-rate", plan.model.learning_rate, "a smaller rate needs more trees"),
        ("--review-budget", plan.decisions.review_budget, "share of rows that people can review"),
        ("--block-precision", plan.decisions.block_precision, "minimum precision of blocked rows"),
        (
            "--validation-share",
            plan.split.validation_share,
            "share of rows for early stopping and thresholds",
        ),
        ("--test-share", plan.split.test_share, "share of rows, the latest, for reported metrics"),
        ("--gap-days", plan.split.gap_days, "days left out between the parts"),
    ):
        metavar = "N" if isinstance(default, int) else "X"
        parser.add_argument(
            flag, type=type(default), default=default, metavar=metavar,
            help=f"{meaning} (default {default})",
        )  # fmt: skip
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads (default: the container's CPUs)"
    )
    parser.add_argument("--no-promote", action="store_true", help="publish without promoting")
    parser.add_argument(
        "--force", action="store_true", help="promote even if the gate refuses the model"
    )
    parser.add_argument(
        "--metrics-file", type=Path, metavar="FILE", help="write metrics as a Prometheus text file"
    )
    _finish(parser, _train)


if __name__ == "__main__":
    sys.exit(main())
