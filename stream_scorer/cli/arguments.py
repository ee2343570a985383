"""Parsers of commands, and the types of their arguments, each with its own error message.

The modules and settings of commands are imported only when they are needed.
"""

from __future__ import annotations

import argparse
import importlib
from typing import Any


class Parser(argparse.ArgumentParser):
    """A parser whose help ends with the environment variables of ``settings``, loaded on demand."""

    def __init__(self, *args: Any, settings: str | None = None, **kwargs: Any) -> None:
        kwargs["formatter_class"] = argparse.RawDescriptionHelpFormatter
        super().__init__(*args, **kwargs)
        self._settings = settings

    def format_help(self) -> str:
        """The help text, followed by the environment variables."""
        if self._settings is None:
            return super().format_help()
        from stream_scorer.runtime.settings import describe_settings

        return f"{super().format_help()}\n{describe_settings(load_object(self._settings))}\n"


def add_command(
    commands: Any,
    name: str,
    summary: str,
    handler: str,
    settings: str | None = None,
    more: str = "",
) -> argparse.ArgumentParser:
    """Add a command; ``handler`` is the ``module:function`` that runs it, imported when it runs."""
    description = summary[0].upper() + summary[1:] + "."
    if more:
        description += "\n\n" + more
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=description, settings=settings
    )
    parser.set_defaults(handler=handler)
    return parser


def add_group(commands: Any, name: str, summary: str) -> Any:
    """Add a group of commands; returns the object to add its commands to."""
    parser = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:])
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the ``--json`` flag."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def load_object(name: str) -> Any:
    """Import the module of ``module:attribute`` and return the attribute."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def whole(text: str) -> int:
    """A whole number of 0 or more."""
    if not text.isascii() or not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def port(text: str) -> int:
    """A TCP port."""
    number = positive(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port number")
    return number


def rate(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def past_time(text: str) -> int:
    """Epoch milliseconds of a time, or of an age such as ``36h``."""
    from stream_scorer.cli.times import parse_time

    try:
        return parse_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def coordinates(text: str) -> tuple[int, int]:
    """Partition and offset of a record, as ``3-1207`` or ``3:1207``."""
    partition, dash, offset = text.replace(":", "-", 1).partition("-")
    if not (dash and partition.isdecimal() and offset.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not PARTITION-OFFSET, such as 3-1207")
    return int(partition), int(offset)
