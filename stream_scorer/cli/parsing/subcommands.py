"""Parsers of commands, whose modules and settings are imported only when they are needed."""

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
