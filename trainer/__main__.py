"""``fraud-trainer``: trains and publishes models, and manages the versions in the store."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from schemas.errors import UnusableFileError
from stream_scorer.errors import ScorerError, SettingsError
from stream_scorer.runtime.logs import configure_logging
from stream_scorer.runtime.settings import load_settings
from stream_scorer.runtime.text import printable_lines
from trainer.commands.console import DONE, FAILED, INTERRUPTED, WRONG_USAGE, Command
from trainer.commands.parser import build_parser
from trainer.fitting.plan import WrongUsageError
from trainer.settings import TrainerSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 failed, 2 wrong usage."""
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
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


if __name__ == "__main__":
    sys.exit(main())
