"""``fraud-trainer report``."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from stream_scorer.errors import StoreError, UsageError
from stream_scorer.model.store.opening import open_store
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.runtime.json_limits import parse_object, shown
from stream_scorer.runtime.text import printable
from trainer.commands.console import DONE, Subparsers, finish
from trainer.programs.chosen import ChosenProgram
from trainer.settings import TrainerSettings

log = logging.getLogger(__name__)

ABLATION_MAX_BYTES: Final = 1024 * 1024


def add_report(commands: Subparsers) -> None:
    """``fraud-trainer report``."""
    report = commands.add_parser(
        "report",
        help="write a version's evaluation as an HTML page",
        description="Write a version's evaluation as one self-contained HTML page.",
    )
    report.add_argument("version", metavar="vN", help="a version in the store")
    report.add_argument(
        "--against", metavar="vM", help="show the figures and curves of this version beside it"
    )
    report.add_argument(
        "--ablation",
        type=Path,
        metavar="FILE",
        help='show this ablation: JSON with "rows" of "group", "difference" and "interval"',
    )
    report.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="output file (default report-vN.html, or report-vN-against-vM.html)",
    )
    finish(report, _report)


def write_version_report(
    settings: TrainerSettings,
    version: str,
    path: Path | None = None,
    against: str | None = None,
    ablation: Path | None = None,
) -> Path:
    """Write the report of a version in the store; returns the file.

    Raises:
        UsageError: there is no such version, or the file cannot be written.
    """
    from stream_scorer.model.versions.listing import fetch_metadata
    from trainer.report import write_report

    if version == against:
        raise UsageError(f"--against {against} is the version of the report: name another version")
    store = open_store(settings)
    metadata = fetch_metadata(store, version)
    other = None if against is None else fetch_metadata(store, against)
    if ablation is not None:
        metadata["ablation"] = read_ablation(ablation)
    name = f"report-{version}.html" if other is None else f"report-{version}-against-{against}.html"
    written = path or Path(name)
    write_report(metadata, written, other, _promotions(store))
    return written


def _report(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    path = write_version_report(
        settings, arguments.version, arguments.output, arguments.against, arguments.ablation
    )
    print(json.dumps({"report": str(path)}) if arguments.json else f"wrote {path}")
    return DONE


def _promotions(store: ArtifactStore) -> list[Mapping[str, Any]]:
    """The promotion history; a report without it is still a report."""
    try:
        return [asdict(promotion) for promotion in store.history()]
    except StoreError as error:
        log.warning("the report has no promotion history: %s", error)
        return []


def read_ablation_of(path: Path, chosen: ChosenProgram) -> dict[str, Any]:
    """An ablation of the program of a run, for the metadata; without its single fits.

    Raises:
        UsageError: the file cannot be read, or is an ablation of another program.
    """
    found = read_ablation(path)
    plan = found.get("plan")
    facts = plan if isinstance(plan, Mapping) else {}
    expected = {name: value for name, value in chosen.facts().items() if name != "file"}
    measured = {name: facts.get(name) for name in expected}
    if measured != expected:
        name = next(name for name in expected if measured[name] != expected[name])
        raise UsageError(
            f"--ablation {path} is of another program than this run: {name} is "
            f"{shown(measured[name])} there and {shown(expected[name])} here"
        )
    return {name: value for name, value in found.items() if name != "kept"}


def read_ablation(path: Path) -> dict[str, Any]:
    """An ablation from a file.

    Raises:
        UsageError: the file cannot be read, or is not an ablation.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(ABLATION_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read --ablation {path}: {error.strerror}") from error
    if len(content) > ABLATION_MAX_BYTES:
        raise UsageError(f"--ablation {path} is larger than {ABLATION_MAX_BYTES} bytes")
    try:
        found = parse_object(content)
    except ValueError as error:
        reason = printable(str(error))
        raise UsageError(f"--ablation {path} is not a JSON object: {reason}") from error
    rows = found.get("rows")
    if not isinstance(rows, list) or not rows:
        raise UsageError(f'--ablation {path} has no "rows"')
    for number, row in enumerate(rows, 1):
        difference = row.get("difference") if isinstance(row, dict) else None
        is_number = isinstance(difference, int | float) and not isinstance(difference, bool)
        if not is_number or not isinstance(row.get("group"), str):
            raise UsageError(
                f'--ablation {path}, row {number}: expected a "group" (text) and a "difference" '
                "(number)"
            )
    return found
