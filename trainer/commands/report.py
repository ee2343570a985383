"""``fraud-trainer report``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from stream_scorer.model.store.opening import open_store
from trainer.commands.console import DONE, Subparsers, finish
from trainer.settings import TrainerSettings


def add_report(commands: Subparsers) -> None:
    """``fraud-trainer report``."""
    report = commands.add_parser("report", help="write a version's evaluation as an HTML page")
    report.add_argument("version", metavar="vN")
    report.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="output file (default report-vN.html)"
    )
    finish(report, _report)


def write_version_report(settings: TrainerSettings, version: str, path: Path) -> None:
    """Write the report of a version in the store.

    Raises:
        UsageError: there is no such version, or the file cannot be written.
    """
    from trainer.publishing.versions import fetch_metadata
    from trainer.report import write_report

    write_report(fetch_metadata(open_store(settings), version), path)


def _report(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    path = arguments.output or Path(f"report-{arguments.version}.html")
    write_version_report(settings, arguments.version, path)
    print(json.dumps({"report": str(path)}) if arguments.json else f"wrote {path}")
    return DONE
