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


def _report(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from trainer.publishing.versions import fetch_metadata
    from trainer.report import write_report

    metadata = fetch_metadata(open_store(settings), arguments.version)
    path = arguments.output or Path(f"report-{arguments.version}.html")
    write_report(metadata, path)
    print(json.dumps({"report": str(path)}) if arguments.json else f"wrote {path}")
    return DONE
