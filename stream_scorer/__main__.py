"""``stream-scorer``, the command line. A command's module is imported when the command runs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells report it


def _printable(error: Exception) -> str:
    from stream_scorer.runtime.text import printable_lines

    return printable_lines(str(error))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted by Ctrl-C."""
    try:
        return _run(argv)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _execute(args: argparse.Namespace) -> int:
    from stream_scorer.cli.parsing.parser import RUN
    from stream_scorer.cli.parsing.subcommands import load_object

    if args.handler != RUN:  # the scorer configures logging itself
        from stream_scorer.cli.console import configure_command_log

        configure_command_log()
    return int(load_object(args.handler)(args))


def _run(argv: Sequence[str] | None) -> int:
    # Imported here, so that Ctrl-C while they load prints no traceback.
    from schemas.errors import UnusableFileError
    from stream_scorer.cli.parsing.parser import build_parser
    from stream_scorer.errors import EXIT_FAILED, ScorerError

    try:
        args = build_parser().parse_args(argv)
    except SystemExit as ended:  # --help, --version or wrong usage: argparse has printed it
        return EXIT_USAGE if ended.code else 0
    try:
        code = _execute(args)
        sys.stdout.flush()
        return code
    except (ScorerError, UnusableFileError) as error:
        print(f"stream-scorer: {_printable(error)}", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:
        # The reader has closed the pipe; nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
