"""The flags of ``stream-scorer replay``."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, Final

from stream_scorer.cli.parsing.arguments import past_time, rate
from stream_scorer.cli.parsing.subcommands import add_command, add_json

_VERSION: Final = re.compile(r"v[1-9][0-9]{0,8}")
_ENDINGS: Final = (".csv", ".parquet")


def add_replay(commands: Any) -> None:
    """Add the command."""
    replay = add_command(
        commands,
        "replay",
        "scores a range of the input with another version, and compares",
        "stream_scorer.cli.replay:run_replay",
        "stream_scorer.settings:RescoringSettings",
        "Read-only: it joins no group, commits nothing and publishes nothing. Inputs that were\n"
        "rejected when they were to be scored are left out. Exit code 0 if inputs were compared.",
    )
    replay.add_argument(
        "--model", type=_version, required=True, metavar="VN", help="the version to score with"
    )
    replay.add_argument(
        "--against",
        type=_side,
        default="scores",
        metavar="scores|VM",
        help="compare with the published scores (the default), or with another version",
    )
    replay.add_argument(
        "--since",
        type=past_time,
        required=True,
        metavar="TIME",
        help="inputs from this time on: ISO 8601, or an age such as 36h",
    )
    replay.add_argument(
        "--until", type=past_time, metavar="TIME", help="inputs before this time (all)"
    )
    replay.add_argument(
        "--labels",
        action="store_true",
        help="compare both sides with LABELS_TOPIC: average precision, recall in the top 2%%",
    )
    replay.add_argument(
        "--out",
        type=_rows_file,
        metavar="FILE",
        help="write every row to FILE.csv or FILE.parquet",
    )
    replay.add_argument(
        "--timeout",
        type=rate,
        default=60.0,
        metavar="S",
        help="give up after S seconds without records (60)",
    )
    add_json(replay)


def _version(text: str) -> str:
    if not _VERSION.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a version such as v7")
    return text


def _side(text: str) -> str:
    return text if text == "scores" else _version(text)


def _rows_file(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in _ENDINGS:
        raise argparse.ArgumentTypeError(f"{text!r} ends with neither .csv nor .parquet")
    return path
