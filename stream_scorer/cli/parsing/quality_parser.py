"""The flags of ``stream-scorer quality``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from stream_scorer.cli.parsing.arguments import past_time, rate
from stream_scorer.cli.parsing.subcommands import add_command, add_json

_MAX_DAYS: Final = 3650.0


def add_quality(commands: Any) -> None:
    """Add the command."""
    quality = add_command(
        commands,
        "quality",
        "measures what live model versions are worth, by the labels that came in",
        "stream_scorer.cli.quality:run_quality",
        "stream_scorer.settings:QualitySettings",
        "Reads OUTPUT_TOPIC, LABELS_TOPIC, the amounts of missed fraud from INPUT_TOPIC, and the\n"
        "promised precision from the artifact store.\n"
        "Each figure names its labels: matured (reported fraud, and all else that is old enough),\n"
        "reviewed (analysts, on flagged transactions), sampled (analysts, in the random lane).\n"
        "Exit code 0 if scores were read, whatever the figures are, and 1 if there are none.",
    )
    quality.add_argument(
        "--since",
        type=past_time,
        default="30d",
        metavar="TIME",
        help="scores from this time on: ISO 8601, or an age such as 30d (the default)",
    )
    quality.add_argument(
        "--maturity-days",
        type=_days,
        default=14.0,
        metavar="N",
        help="fraud is reported within N days: older scores without a label are legitimate (14)",
    )
    quality.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        help="keep the scores in FILE, and read only new ones next time",
    )
    quality.add_argument(
        "--no-amounts",
        action="store_true",
        help="do not read the amounts of missed fraud from INPUT_TOPIC: they stay unknown",
    )
    quality.add_argument(
        "--timeout",
        type=rate,
        default=60.0,
        metavar="S",
        help="give up after S seconds without records (60)",
    )
    _add_outputs(quality)
    add_json(quality)


def _add_outputs(quality: argparse.ArgumentParser) -> None:
    """Where the result goes besides the terminal."""
    quality.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page with tables and plots to FILE"
    )
    quality.add_argument(
        "--metrics-file",
        type=Path,
        metavar="FILE",
        help="write metrics to FILE for node_exporter's textfile collector",
    )
    quality.add_argument(
        "--publish",
        action="store_true",
        help="also write the result to the artifact store, where the dashboard reads it",
    )


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days <= _MAX_DAYS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days from 0 to 3650")
    return days
