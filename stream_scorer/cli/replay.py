"""``stream-scorer replay``: scores a range of the input with another version, and compares."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from stream_scorer.cli.console import aligned, say, say_json
from stream_scorer.cli.progress import showing_progress
from stream_scorer.cli.times import format_time
from stream_scorer.model.by_version import BundlesByVersion
from stream_scorer.model.signing import parse_trusted_keys
from stream_scorer.model.store.opening import open_history_store, open_store
from stream_scorer.replay.columns import DECISIONS, Shown
from stream_scorer.replay.run import PUBLISHED, ReplayOptions, ReplayReport, replay
from stream_scorer.replay.summary import Move, by_number
from stream_scorer.runtime.settings import load_settings
from stream_scorer.settings import RescoringSettings
from stream_scorer.state.input_log import using_input_log
from stream_scorer.state.reader import HistoryReader

_SHOWN_REASONS: Final = 3  # of each side of a move; the JSON has all of them


def run_replay(args: argparse.Namespace) -> int:
    """``replay``: exit code 0 if scores were compared, whatever came of it."""
    settings = load_settings(RescoringSettings)
    keys = parse_trusted_keys(settings.model_trusted_keys)
    with using_input_log(settings) as log:
        options = ReplayOptions(
            model=args.model,
            bundles=BundlesByVersion(open_store(settings), keys),
            since=args.since,
            until=args.until,
            against=args.against,
            with_labels=args.labels,
            out=args.out,
            histories=HistoryReader(open_history_store(settings), log),
            stall_seconds=args.timeout,
        )
        with showing_progress("replay", quiet=args.json) as on_progress:
            report = replay(settings, options, on_progress)
    if args.json:
        say_json(report.as_json())
    else:
        print_report(report)
    return 0


def print_report(report: ReplayReport) -> None:
    """Print counts, the moved decisions, the largest moves, and what the labels say."""
    for line in _lines(report):
        say(line)


def _lines(report: ReplayReport) -> Iterator[str]:
    options, summary = report.options, report.summary
    now = options.model
    before = "published" if options.against == PUBLISHED else options.against
    until = f"to {format_time(options.until)}" if options.until is not None else "on"
    yield f"{now} and {before}, inputs from {format_time(options.since)} {until}"
    flagged = summary.flagged()
    yield from aligned(
        [
            ["inputs", f"{summary.inputs:,}", ""],
            ["compared", f"{summary.compared:,}", ""],
            *([f"  by {name}", f"{n:,}", ""] for name, n in sorted(summary.versions.items())),
            ["equal bits", f"{summary.equal:,}", _percent(summary.share(summary.equal))],
            ["other decision", f"{summary.moved:,}", _percent(summary.share(summary.moved))],
            [f"flagged, {before}", f"{flagged[0]:,}", _percent(summary.share(flagged[0]))],
            [f"flagged, {now}", f"{flagged[1]:,}", _percent(summary.share(flagged[1]))],
        ],
        right=(1, 2),
    )
    yield from aligned(
        [
            [f"{before} (rows), {now} (columns)", *DECISIONS],
            *(
                [decision, *(f"{number:,}" for number in row)]
                for decision, row in zip(DECISIONS, summary.decisions.tolist(), strict=True)
            ),
        ],
        right=(1, 2, 3),
    )
    for reason, number in by_number(report.skipped):
        yield f"{number:,} inputs not replayed: {reason}"
    for reason, number in by_number(summary.unscored):
        yield f"{number:,} inputs not compared: {reason}"
    yield from report.problems
    if summary.moves:
        yield "largest moves:"
        for move in summary.moves:
            yield from _move_lines(move, before, now)
    if report.quality is not None:
        yield from _quality_lines(report.quality, before, now)
    if options.out is not None:
        yield f"rows written to {options.out}"
    yield f"{report.seconds:.1f} s"


def _move_lines(move: Move, before: str, now: str) -> Iterator[str]:
    sides = [
        f"{score:.6g} {decision} ({version})"
        for score, decision, version in zip(move.scores, move.decisions, move.versions, strict=True)
    ]
    place = f"{move.partition}-{move.offset} transaction {move.transaction}"
    yield f"  {place}: {sides[0]}, now {sides[1]}"
    for name, reasons in zip((before, now), move.reasons, strict=True):
        if reasons:
            yield f"    {name}: {_reasons(reasons)}"


def _reasons(reasons: Sequence[Shown]) -> str:
    return ", ".join(
        f"{reason.feature} = {'missing' if reason.value is None else reason.value} "
        f"({reason.contribution:+.2f})"
        for reason in reasons[:_SHOWN_REASONS]
    )


def _quality_lines(quality: Mapping[str, Any], before: str, now: str) -> Iterator[str]:
    yield (
        f"{quality['labelled']:,} compared inputs have a label: {quality['frauds']:,} frauds, "
        f"{quality['legitimate']:,} legitimate; {quality['unsure']:,} are unsure, "
        f"{quality['without_label']:,} have none; {quality['labels_of_other_inputs']:,} labels "
        "belong to other inputs"
    )
    if not quality["frauds"]:
        yield "without a labelled fraud there is nothing to measure"
        return
    yield from aligned(
        [
            ["among labelled inputs only", before, now],
            *(
                [text, *(f"{quality[side][name]:.4f}" for side in ("before", "replayed"))]
                for text, name in (
                    ("average precision", "average_precision"),
                    (f"recall in the top {quality['top_share']:.0%} of all", "recall_in_top"),
                )
            ),
        ],
        right=(1, 2),
    )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"
