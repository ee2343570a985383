"""Output functions that the commands share.

What came with a record (a name, a reason, a text column) may hold anything. It is made harmless for
terminals here, in one place, so that no command can forget it.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from typing import Any, Final

import orjson

from stream_scorer.kafka.driver_log import quiet_driver
from stream_scorer.runtime.logs import configure_logging
from stream_scorer.runtime.settings import LogSettings, load_settings
from stream_scorer.runtime.text import printable, printable_json

_QUIET_SECONDS: Final = 30.0
"""Longer than a command looks for a broker (METADATA_SECONDS) before it says that none answers."""


def say(line: str = "") -> None:
    """Print one line of a command's result on standard output, flushed for readers of a pipe.

    Control characters are escaped, line ends among them.
    """
    sys.stdout.write(printable(line) + "\n")
    sys.stdout.flush()


def say_json(value: Any) -> None:
    """Print a JSON value on one line of standard output, with control characters escaped."""
    try:
        text = orjson.dumps(value).decode()
    except TypeError:  # half of a surrogate pair, which UTF-8 cannot hold: it stays escaped
        text = json.dumps(value)
    say(printable_json(text))


def note(line: str) -> None:
    """Print a message for the user on standard error; it is not part of the result.

    Control characters are escaped, line ends among them.
    """
    sys.stderr.write(printable(line) + "\n")


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Rows as lines with aligned columns; the columns numbered in ``right`` are right-aligned."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def plural(noun: str, number: int) -> str:
    """The noun in the form that fits the number."""
    return noun if number == 1 else noun + "s"


def count_noun(number: int, noun: str) -> str:
    """``1 transaction``, ``1,200 transactions``."""
    return f"{number:,} {plural(noun, number)}"


def configure_command_log() -> None:
    """Configure the log of a command; with ``LOG_LEVEL=DEBUG`` it has the driver's lines too.

    A command reports its own errors, so the driver's lines are left out otherwise.
    """
    settings = load_settings(LogSettings)
    configure_logging("stream-scorer", settings)
    if settings.log_level != "DEBUG":
        (handler,) = logging.getLogger().handlers
        handler.addFilter(quiet_driver(_QUIET_SECONDS))
