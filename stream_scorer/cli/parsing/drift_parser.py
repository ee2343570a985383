"""The flags of ``stream-scorer drift``."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, Final

from stream_scorer.cli.parsing.arguments import past_time, positive, rate
from stream_scorer.cli.parsing.subcommands import add_command, add_json

_VERSION: Final = re.compile(r"v[1-9][0-9]{0,8}")


def add_drift(commands: Any) -> None:
    """Add the command."""
    drift = add_command(
        commands,
        "drift",
        "shows which features moved since the model was trained, and its scores",
        "stream_scorer.cli.drift.run:run_drift",
        "stream_scorer.settings:RescoringSettings",
        "Reads INPUT_TOPIC and OUTPUT_TOPIC, and compares them with the reference histograms in\n"
        "the metadata of the promoted version. Read-only, without Prometheus. A range with more\n"
        "records than --rows is sampled in 24 slices, evenly over the range.\n"
        "Exit code 0 if rows were compared, whatever moved, and 1 if none could be.",
    )
    drift.add_argument(
        "--since",
        type=past_time,
        default="7d",
        metavar="TIME",
        help="inputs from this time on: ISO 8601, or an age such as 7d (the default)",
    )
    drift.add_argument(
        "--until", type=past_time, metavar="TIME", help="inputs before this time (all)"
    )
    drift.add_argument(
        "--version", type=_version, metavar="VN", help="compare with VN (the promoted version)"
    )
    drift.add_argument(
        "--rows",
        type=positive,
        default=200_000,
        metavar="N",
        help="read about N inputs, and as many scores, at most (200000)",
    )
    drift.add_argument("--html", type=Path, metavar="FILE", help="write a page with plots to FILE")
    drift.add_argument(
        "--publish",
        action="store_true",
        help="also write the result to the artifact store, where the dashboard reads it",
    )
    drift.add_argument(
        "--timeout",
        type=rate,
        default=60.0,
        metavar="S",
        help="give up after S seconds without records (60)",
    )
    add_json(drift)


def _version(text: str) -> str:
    if not _VERSION.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a version such as v7")
    return text
