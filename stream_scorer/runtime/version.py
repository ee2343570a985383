"""The installed version, and the flag ``--version`` that prints it."""

from __future__ import annotations

import argparse
import importlib.metadata
from typing import Any, NoReturn


def installed_version() -> str:
    """The package's version; ``unknown`` in a checkout that is not installed."""
    try:
        return importlib.metadata.version("stream-scorer")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


class _Version(argparse.Action):
    """Looks up the version only when the flag is used."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        print(f"{parser.prog} {installed_version()}")  # noqa: T201
        parser.exit(0)


def add_version(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` the flag ``--version``."""
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
