"""``stream-scorer drift``: what moved since the model was trained."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import orjson

from stream_scorer.cli.console import aligned, say, say_json
from stream_scorer.cli.drift.page import render_page
from stream_scorer.cli.progress import showing_progress
from stream_scorer.cli.times import format_time
from stream_scorer.drift.comparison import Shift
from stream_scorer.drift.reading.report import DriftReport
from stream_scorer.drift.reading.run import DriftOptions, measure_drift
from stream_scorer.errors import UsageError
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.by_version import BundlesByVersion, NoBundle
from stream_scorer.model.signing import parse_trusted_keys
from stream_scorer.model.store.names import DRIFT
from stream_scorer.model.store.opening import open_quality_objects, open_store
from stream_scorer.runtime.settings import load_settings
from stream_scorer.settings import RescoringSettings

_BAR_CHARS: Final = 24


def run_drift(args: argparse.Namespace) -> int:
    """``drift``: exit code 0 if rows were compared, whatever moved; 1 if none could be."""
    settings = load_settings(RescoringSettings)
    bundle = _find_bundle(settings, args.version)
    options = DriftOptions(args.since, args.until, args.rows, args.timeout)
    with showing_progress("drift", quiet=args.json) as on_progress:
        report = measure_drift(settings, bundle, options, on_progress)
    try:
        if args.html is not None:
            _write(args.html, render_page(report))
        if args.publish:
            content = orjson.dumps(report.as_json())
            open_quality_objects(settings).overwrite(DRIFT, content)
    finally:  # the result is there, whatever could not be written
        if args.json:
            say_json(report.as_json())
        else:
            for line in describe(report):
                say(line)
    return 0 if report.features or report.scores else 1


def describe(report: DriftReport) -> Iterator[str]:
    """The report as lines for a terminal."""
    yield (
        f"{report.version}: inputs from {format_time(report.since)} to {format_time(report.until)}"
    )
    sampled = "" if report.rows >= report.offsets else f" of up to {report.offsets:,}"
    yield f"{report.rows:,} rows{sampled} compared with the reference in the version's metadata"
    shifts = [*report.most_moved, *([report.scores] if report.scores else [])]
    if shifts:
        yield ""
        yield from aligned([_HEAD, *map(_row, shifts)], right=(1, 2, 4, 5))
    for shift in shifts:
        yield ""
        yield f"{shift.name}: PSI {shift.psi:.3f}, {shift.verdict}"
        yield from _bars(shift)
    if report.refused:
        yield ""
    for name, reason in sorted(report.refused.items()):
        yield f"not compared: {name}: {reason}"
    for problem in report.problems:
        yield f"problem: {problem}"


_HEAD: Final = ["moved most", "PSI", "by chance", "", "missing before", "now"]


def _row(shift: Shift) -> list[str]:
    before, now = (f"{share:.1%}" if shift.has_missing else "" for share in shift.missing)
    return [shift.name, f"{shift.psi:.3f}", f"{shift.by_chance:.3f}", shift.verdict, before, now]


def _bars(shift: Shift) -> Iterator[str]:
    highest = max(*shift.expected, *shift.found, 1e-9)
    rows = [["", "before", "", "now", ""]]
    for label, before, now in zip(shift.labels(), shift.expected, shift.found, strict=True):
        rows.append(
            [label, f"{before:.1%}", _bar(before, highest), f"{now:.1%}", _bar(now, highest)]
        )
    yield from aligned([[f"  {row[0]}", *row[1:]] for row in rows], right=(1, 3))


def _bar(share: float, highest: float) -> str:
    return ("█" * round(share / highest * _BAR_CHARS)).ljust(_BAR_CHARS)


def _find_bundle(settings: RescoringSettings, version: str | None) -> Bundle:
    store = open_store(settings)
    if version is None:
        pointer = store.current()
        if pointer is None:
            raise UsageError(
                f"no version is promoted in {store.where}: name one with --version, or train one"
            )
        version = pointer.version
    bundles = BundlesByVersion(store, parse_trusted_keys(settings.model_trusted_keys))
    found = bundles.get(version)
    if isinstance(found, NoBundle):
        known = ", ".join(bundles.versions()[-10:]) or "none"
        raise UsageError(f"{found.reason}; versions in the store: {known}")
    return found


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--html {path} cannot be written: {error.strerror}") from error
