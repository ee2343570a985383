"""``fraud-trainer``: trains and publishes models, and manages the versions in the store."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells report it


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    try:
        return _run(argv)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _run(argv: Sequence[str] | None) -> int:
    # Imported here, so that Ctrl-C while they load prints no traceback.
    from schemas.errors import UnusableFileError
    from stream_scorer.errors import ScorerError, SettingsError
    from stream_scorer.runtime.logs import configure_logging
    from stream_scorer.runtime.settings import load_settings
    from stream_scorer.runtime.text import printable_lines
    from trainer.commands.console import DONE, FAILED, WRONG_USAGE, Command
    from trainer.commands.parser import build_parser
    from trainer.fitting.plan import WrongUsageError
    from trainer.settings import TrainerSettings

    arguments = build_parser().parse_args(argv)
    try:
        settings = load_settings(TrainerSettings)
        configure_logging("trainer", settings)
        command: Command = arguments.run
        return command(arguments, settings)
    except (SettingsError, WrongUsageError) as error:
        print(f"fraud-trainer: {printable_lines(str(error))}", file=sys.stderr)
        return WRONG_USAGE
    except (ScorerError, UnusableFileError) as error:
        print(f"fraud-trainer: {printable_lines(str(error))}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # the reader of our output has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


if __name__ == "__main__":
    sys.exit(main())
