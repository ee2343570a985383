"""``fraud-trainer features``, and the flags that name a feature program."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stream_scorer.model.store.opening import open_store
from trainer.commands.console import DONE, Subparsers, finish
from trainer.fitting.plan import DEFAULT_PROGRAM, FeaturePlan, WrongUsageError
from trainer.settings import TrainerSettings

if TYPE_CHECKING:
    from stream_scorer.features.program import Program

_VERSION: Final = re.compile(r"v[1-9][0-9]*")
_SUBJECT: Final = "a built-in program, a program's file, or a published version vN"


def add_program_flags(parser: argparse.ArgumentParser) -> None:
    """``--features`` and ``--without``."""
    parser.add_argument(
        "--features", default=DEFAULT_PROGRAM, metavar="NAME|FILE",
        help=f"feature program: a built-in one or a TOML file (default {DEFAULT_PROGRAM})",
    )  # fmt: skip
    parser.add_argument(
        "--without", action="append", default=[], metavar="GROUP",
        help="leave out a group of features; repeat it, or separate groups by commas",
    )  # fmt: skip


def feature_plan(arguments: argparse.Namespace) -> FeaturePlan:
    """The plan from the flags of :func:`add_program_flags`."""
    return FeaturePlan(arguments.features, split_names(arguments.without, "--without"))


def split_names(given: Iterable[str], flag: str) -> tuple[str, ...]:
    """The names of a flag that can be repeated, and whose values can have commas.

    Raises:
        WrongUsageError: a name is empty.
    """
    names = [name.strip() for value in given for name in value.split(",")]
    if not all(names):
        raise WrongUsageError(f"{flag} has an empty name in {','.join(given)!r}")
    return tuple(dict.fromkeys(names))


def add_features(commands: Subparsers) -> None:
    """``fraud-trainer features`` and its actions."""
    features = commands.add_parser("features", help="read, check and write feature programs")
    actions = features.add_subparsers(required=True, metavar="ACTION")
    finish(actions.add_parser("list", help="list the built-in programs"), _list)
    show = actions.add_parser("show", help="show each feature of a program in words")
    show.add_argument("subject", metavar="NAME|FILE|vN", help=_SUBJECT)
    show.add_argument("--group", metavar="GROUP", help="only the features of this group")
    show.add_argument(
        "--toml", action="store_true", help="print the program as a file that you can change"
    )
    finish(show, _show)
    check = actions.add_parser("check", help="check a program's file without training")
    check.add_argument("file", metavar="FILE")
    finish(check, _check)
    finish(actions.add_parser("operations", help="explain every operation"), _operations)


def _list(arguments: argparse.Namespace, _: TrainerSettings) -> int:
    from stream_scorer.features.builtin import builtin_programs
    from trainer.programs.described import describe_program
    from trainer.programs.text import list_programs

    found = [describe_program(program) for program in builtin_programs().values()]
    _print(arguments, [dict(facts) for facts in found], list_programs(found))
    return DONE


def _show(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from trainer.programs.described import describe_features, describe_program
    from trainer.programs.text import show_program
    from trainer.programs.toml import program_text

    if arguments.toml and (arguments.json or arguments.group):
        raise WrongUsageError("--toml prints a whole program: leave out --json and --group")
    version = arguments.subject if _VERSION.fullmatch(arguments.subject) else None
    program = _find(arguments.subject, version, settings)
    if arguments.toml:
        print(program_text(program), end="")
        return DONE
    facts = describe_program(program)
    features = describe_features(program, arguments.group)
    value = {**facts, "version": version, "features": features}
    _print(arguments, value, show_program(facts, features, version))
    return DONE


def _find(subject: str, version: str | None, settings: TrainerSettings) -> Program:
    from trainer.programs.chosen import choose_program

    if version is None:
        return choose_program(subject).program
    from trainer.publishing.bundles import fetch_bundle

    return fetch_bundle(open_store(settings), settings, version).features.program


def _check(arguments: argparse.Namespace, _: TrainerSettings) -> int:
    from trainer.programs.chosen import read_program_file
    from trainer.programs.described import count_fitted, describe_program
    from trainer.programs.oddities import find_oddities
    from trainer.programs.text import confirm_program

    program, digest = read_program_file(arguments.file)
    facts, oddities = describe_program(program), list(find_oddities(program))
    fitted = count_fitted(program)
    value = {**facts, "file": arguments.file, "sha256": digest, "fitted": fitted}
    lines = confirm_program(Path(arguments.file).name, facts, fitted, oddities)
    _print(arguments, {**value, "warnings": oddities}, lines)
    return DONE


def _operations(arguments: argparse.Namespace, _: TrainerSettings) -> int:
    from trainer.programs.described import describe_kinds, describe_operations
    from trainer.programs.text import list_operations

    found = describe_operations()
    _print(arguments, found, list_operations(found, describe_kinds()))
    return DONE


def _print(arguments: argparse.Namespace, value: Any, lines: Iterable[str]) -> None:
    if arguments.json:
        print(json.dumps(value))
    else:
        print("\n".join(lines))
