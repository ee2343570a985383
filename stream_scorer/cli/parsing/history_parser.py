"""The ``history`` commands on the command line."""

from __future__ import annotations

import argparse
from typing import Any, Final

from stream_scorer.cli.parsing.arguments import past_time, signed_whole
from stream_scorer.cli.parsing.subcommands import add_command, add_group, add_json

_SETTINGS: Final = "stream_scorer.cli.history.settings:HistoryCommandSettings"

EARLIEST: Final = "earliest"
SNAPSHOTS: Final = "snapshots"
"""As in :mod:`stream_scorer.cli.history.build`, which is not imported just for ``--help``."""


def add_history(commands: Any) -> None:
    """Add the commands."""
    history = add_group(commands, "history", "shows, builds and moves card histories")
    _add_status(history)
    _add_show(history)
    _add_build(history)
    _add_rescale(history)


def _add_status(history: Any) -> None:
    status = add_command(
        history,
        "status",
        "shows what is stored of each partition's card history",
        "stream_scorer.cli.history.status:run_status",
        _SETTINGS,
        "One line a partition: the committed offset, the history that the last scores were made\n"
        "with (mark), and the newest snapshot: its offset and age, what a new owner has to replay\n"
        "after it (replay debt), its keys and bytes. Exit code 1 if the era does not fit the\n"
        "topic any more.",
    )
    _add_model(status)
    add_json(status)


def _add_show(history: Any) -> None:
    show = add_command(
        history,
        "show",
        "shows what is known about a card",
        "stream_scorer.cli.history.show:run_show",
        _SETTINGS,
        "Reads the newest snapshot of the card's partition. Inputs after it are not in it. Only\n"
        "numbers, amounts and times are stored; of texts there are only hashes.",
    )
    show.add_argument("card", type=signed_whole, metavar="CARD1", help="card1, a whole number")
    _add_model(show)
    add_json(show)


def _add_build(history: Any) -> None:
    build = add_command(
        history,
        "build",
        "computes card histories from retained inputs, and begins a new era with them",
        "stream_scorer.cli.history.build:run_build",
        _SETTINGS,
        "Run it before you promote the first version with card history, or one with other\n"
        "history features, and to begin again after a mismatch. Scorers go on meanwhile. Each\n"
        "partition is computed up to the offset that the scorers have committed, and stored; the\n"
        "era begins last, so a build that fails changes nothing. Scorers notice a new era by\n"
        "themselves. Without --seed, at least seven days of inputs are needed, or --cold.",
    )
    build.add_argument(
        "--from",
        dest="start",
        type=history_start,
        default=EARLIEST,
        metavar="WHERE",
        help=f"{EARLIEST}: the first retained input (default); a time such as 14d or 2026-01-31; "
        f"or {SNAPSHOTS}: the newest snapshots, which keeps all that is known",
    )
    build.add_argument(
        "--before",
        type=past_time,
        metavar="TIME",
        help=f"with --from {SNAPSHOTS}: only snapshots that were written before this time",
    )
    past = build.add_mutually_exclusive_group()
    past.add_argument(
        "--seed", metavar="VN", help="begin with the records of this version's training"
    )
    past.add_argument(
        "--cold",
        action="store_true",
        help="begin without a past: scores drift until the time windows have filled",
    )
    build.add_argument(
        "--follow",
        action="store_true",
        help="then store newer snapshots until scorers use the era",
    )
    build.add_argument(
        "--model",
        metavar="VN",
        help="the version whose card history it is (that of --seed, or the promoted one)",
    )
    add_json(build)


def history_start(text: str) -> str | int:
    """``earliest``, ``snapshots``, or epoch milliseconds of a time or age."""
    return text if text in (EARLIEST, SNAPSHOTS) else past_time(text)


def _add_rescale(history: Any) -> None:
    rescale = add_command(
        history,
        "rescale",
        "moves card histories to a topic that got more partitions",
        "stream_scorer.cli.history.rescale:run_rescale",
        _SETTINGS,
        "In this order: stop the producers, wait until everything is scored, stop the scorers,\n"
        "add the partitions, run this command, start scorers and producers. It refuses while\n"
        "inputs are not scored, and if the new partitions have records already. All records are\n"
        "in memory meanwhile.",
    )
    _add_model(rescale)
    add_json(rescale)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", metavar="VN", help="the version whose card history it is (the promoted one)"
    )
