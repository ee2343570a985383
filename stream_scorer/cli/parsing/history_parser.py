"""The ``history`` commands on the command line."""

from __future__ import annotations

import argparse
from typing import Any, Final

from stream_scorer.cli.parsing.arguments import signed_whole
from stream_scorer.cli.parsing.subcommands import add_command, add_group, add_json

_SCORER: Final = "stream_scorer.settings:ScorerSettings"


def add_history(commands: Any) -> None:
    """Add the commands."""
    history = add_group(commands, "history", "shows, builds and moves card histories")
    _add_status(history)
    _add_show(history)


def _add_status(history: Any) -> None:
    status = add_command(
        history,
        "status",
        "shows what is stored of each partition's card history",
        "stream_scorer.cli.history.status:run_status",
        _SCORER,
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
        _SCORER,
        "Reads the newest snapshot of the card's partition. Inputs after it are not in it. Only\n"
        "numbers, amounts and times are stored; of texts there are only hashes.",
    )
    show.add_argument("card", type=signed_whole, metavar="CARD1", help="card1, a whole number")
    _add_model(show)
    add_json(show)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", metavar="VN", help="the version whose card history it is (the promoted one)"
    )
